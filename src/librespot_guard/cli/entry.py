"""The entry point: short ways for what must start fast, and one place where errors become messages and exit statuses."""

import errno
import os
import sys
from contextlib import suppress

# what a full disk or quota, or a device that fails, says
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main(argv: list[str] | None = None) -> int:
    """Run one command line; returns the exit status (also raised by the console script as SystemExit)."""
    arguments = sys.argv[1:] if argv is None else argv
    _streams()
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except BrokenPipeError:
        # the reader of our output (`| head`) is gone: that is no fault; keep the interpreter from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        with suppress(OSError):
            sys.stderr.write(f"error: the output could not be written: {error.strerror}\n")
        return 3
    return status


def _streams() -> None:
    """Python has no stream where a descriptor is closed (`>&-`): what is written there is to go nowhere, and no fault."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115, PTH123 - open until the end


def _run(arguments: list[str]) -> int:
    if arguments in (["--version"], ["-V"]):
        from librespot_guard import __version__  # noqa: PLC0415 - this way imports nothing else

        sys.stdout.write(f"librespot-guard, version {__version__}\n")
        return 0
    if arguments in (["--help"], ["-h"]):
        from librespot_guard.cli import overview  # noqa: PLC0415 - this way imports nothing else

        if help_text := overview.text(overview.columns()):
            sys.stdout.write(help_text)
            return 0
    from librespot_guard.errors import GuardError  # noqa: PLC0415

    try:
        if arguments[:1] in (["confirm"], ["status"]) and "COMPLETE" not in "".join(os.environ):
            from librespot_guard.apply import quick  # noqa: PLC0415 - the way back starts without click

            status = (quick.confirm if arguments[0] == "confirm" else quick.status)(arguments[1:])
            if status is not None:
                return status
        from librespot_guard.cli.main import main as group  # noqa: PLC0415

        return _click(group, arguments)
    except GuardError as error:
        from librespot_guard.cli._errors import show_error  # noqa: PLC0415

        with suppress(OSError):
            show_error(error)
        return error.status


def _click(group: object, arguments: list[str]) -> int:
    import click  # noqa: PLC0415

    try:
        result = group.main(args=arguments, prog_name="librespot-guard", standalone_mode=False)  # type: ignore[attr-defined]
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        sys.stderr.write("interrupted\n")
        return 130
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    sys.exit(main())
