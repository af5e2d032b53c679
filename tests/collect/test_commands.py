"""What the ExecStart= lines of a unit start in the end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.collect import commands, units

VALUES = {"OPTS": "-n 'My Var' -z 1", "PORT": "7", "EMPTY": ""}


def started(text: str, values: dict[str, str] | None = None) -> list[tuple[tuple[str, ...], dict[str, str]]]:
    """What a unit with these lines starts."""
    one = units.Unit("a@b.service", ("f",), tuple(units._lines(f"[Service]\n{text}\n", "f")))
    return list(commands.command_lines(one, VALUES if values is None else values))


@pytest.mark.parametrize(
    ("line", "argv"),
    [
        ("-/bin/b --name '%p of %i' %%", ("/bin/b", "--name", "a of b", "%")),
        ("@/opt/l radio -n x", ("/opt/l", "-n", "x")),
        ("/opt/l $OPTS -p ${PORT} $EMPTY $GONE", ("/opt/l", "-n", "My Var", "-z", "1", "-p", "7")),
        (r'/opt/l "--name=Two\x20words" -n a\x20b', ("/opt/l", "--name=Two words", "-n", "a b")),
        ("/opt/l -z 1 ; /bin/true", ("/opt/l", "-z", "1")),
        ("sleep 9", ("/usr/bin/sleep", "9")),
        (r"\x00 9", ("\0", "9")),
        ("no-such-program-x 9", ("no-such-program-x", "9")),
        ("/usr/bin/env -u A -i /opt/l -v", ("/opt/l", "-v")),
        ("/usr/bin/nice -n -5 /usr/bin/ionice -c 2 -n 0 /opt/l", ("/opt/l",)),
        ("/usr/bin/taskset -c 3 /usr/bin/timeout -k 5 100 /opt/l", ("/opt/l",)),
        ("/bin/sh -c 'cd /x && exec nice /opt/l -n \"a b\" >/dev/null'", ("cd", "/x")),
    ],
)
def test_the_program_in_the_end(line: str, argv: tuple[str, ...]) -> None:
    """Prefixes, quotes, escapes, variables, `;`, the search path, and the programs that start another one."""
    assert started(f"ExecStart={line}")[0][0] == argv


def test_every_command_of_a_shell_and_of_a_unit() -> None:
    """A shell may start several, and so may a oneshot unit; variables that are set on the way are told."""
    found = started(
        "ExecStart=/bin/mkdir /x\nExecStart=/bin/bash -ec 'sleep 1; A=1 exec /opt/l -z 2 & /opt/m'\nExecStart=/usr/bin/env B=2 C='d e' /opt/n"
    )

    assert (("/opt/l", "-z", "2"), {"A": "1"}) in found
    assert (("/opt/m",), {}) in found
    assert (("/opt/n",), {"B": "2", "C": "d e"}) in found
    assert found[0] == (("/bin/mkdir", "/x"), {})


@given(st.text(alphabet=st.sampled_from("@-:+! shenv-cABx=;&|()$\\\"'%/"), max_size=80))
def test_any_line(text: str) -> None:
    """Any line ends, and no command is without a program."""
    assert all(argv for argv, _ in started(f"ExecStart=/bin/sh -c {text}\nExecStart={text}"))
