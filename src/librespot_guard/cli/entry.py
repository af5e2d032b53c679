"""The entry point: short ways for what must start fast, and one place where errors become messages and exit statuses."""

import os
import sys

from librespot_guard.cli import _streams


def main(argv: list[str] | None = None) -> int:
    """Run one command line; returns the exit status (also raised by the console script as SystemExit)."""
    arguments = sys.argv[1:] if argv is None else argv
    _streams.prepare()
    try:
        status = _run(arguments)
        _streams.flush()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except BrokenPipeError as error:
        # the reader of our output (`| head`) is gone: that is no fault; keep the interpreter from complaining at exit
        _streams.discard(sys.stdout)
        _streams.lost(error)
        return 141
    except OSError as error:
        lost = _streams.lost(error)
        if lost is None:
            raise
        return _unwritten(arguments, *lost)
    else:
        return status


def _unwritten(arguments: list[str], name: str, error: OSError) -> int:
    """Say that an answer could not be written, for instance because the disk is full."""
    from librespot_guard.cli._errors import show_error  # noqa: PLC0415
    from librespot_guard.errors import MachineError  # noqa: PLC0415

    changes = arguments[:1] in (["apply"], ["confirm"], ["rollback"])
    hint = (
        "`librespot-guard status` tells what was done"
        if changes
        else "the answer is not whole: write it to another place"
    )
    show_error(MachineError(f"{name} can't be written to: {error.strerror or error}", hint=hint))
    return MachineError.status


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

        show_error(error)
        return error.status


def _click(group: object, arguments: list[str]) -> int:
    import click  # noqa: PLC0415

    # click asks only whether it is a terminal (https://no-color.org: present and not empty)
    plain = {"color": False} if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else {}
    try:
        result = group.main(args=arguments, prog_name="librespot-guard", standalone_mode=False, **plain)  # type: ignore[attr-defined]
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SystemExit as stop:
        # click's own answer to a reader that is gone, which would read as "the answer is no"
        raise BrokenPipeError from stop
    except click.Abort:
        sys.stderr.write("interrupted\n")
        return 130
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    sys.exit(main())
