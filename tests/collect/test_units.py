"""Units as their files say."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.collect import units
from librespot_guard.collect.commands import command_lines


def write(folder: Path, name: str, text: str) -> None:
    """Write a file with its folders."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def command(unit: units.Unit) -> tuple[str, ...]:
    """The first command of a unit, () if it has none."""
    return next((argv for argv, _ in command_lines(unit, {})), ())


def test_drop_ins(tmp_path: Path) -> None:
    """The unit file that wins, changed by drop-ins in the order of their names; a drop-in of a higher folder hides its namesake."""
    high, low = tmp_path / "etc", tmp_path / "lib"
    where = [str(high), str(low)]
    write(low, "x@.service", "[Service]\nRestart=always\nExecStart=/bin/a %i %%\n")
    write(
        low,
        "x@a.service.d/20.conf",
        "[Service]\nRestart = on-failure\nExecStart=\nExecStart=-/bin/b \\\n  --name '%p of %i'\n",
    )
    one = units.load("x@a.service", where)

    assert one is not None
    assert (one.last("Restart"), command(one)) == ("on-failure", ("/bin/b", "--name", "x of a"))
    assert one.all("ExecStart")[0].origin == f"{low}/x@a.service.d/20.conf:4"
    write(high, "x@a.service.d/20.conf", "[Service]\nRestartSec=1\n")
    two = units.load("x@a.service", where)
    assert two is not None
    assert (two.last("Restart"), command(two)) == ("always", ("/bin/a", "a", "%"))
    write(high, "x@a.service", "")
    assert units.load("x@a.service", where) is None  # masked
    assert units.load("gone.service", where) is None
    assert units.load("../x.service", where) is None


DROP_INS = (
    "etc/a-.service.d/10.conf",
    "etc/a-b-.service.d/10.conf",
    "etc/a-b-.service.d/zzz.conf",
    "etc/a-b-c.service.d/20.conf",
    "etc/a-b-c.service.d/override.conf",
    "etc/a-b-c.service.d/zz-librespot-guard-x.conf",
    "etc/service.d/30.conf",
    "etc/a-c-.service.d/99.conf",
    "etc/a-.service.d/40.conf",
    "lib/a-b-c.service.d/40.conf",
    "lib/a-b-c.service.d/50.conf",
)


def with_drop_ins(folder: Path) -> list[str]:
    """A unit with drop-ins in folders of every kind, each with a line that systemd complains of."""
    write(folder, "etc/a-b-c.service", "[Service]\nExecStart=/bin/true\n")
    for name in DROP_INS:
        write(folder, name, "[Service]\nNonsense=1\n")
    one = units.load("a-b-c.service", [f"{folder}/etc", f"{folder}/lib"])
    assert one is not None
    return [line.origin.removeprefix(f"{folder}/") for line in one.all("Nonsense")]


def test_drop_ins_of_all_units_with_a_prefix(tmp_path: Path) -> None:
    """What stands in `a-.service.d` holds for `a-b-c.service`, in the order of names with all others; a higher or nearer folder hides namesakes."""
    read = [origin.partition(".conf")[0] for origin in with_drop_ins(tmp_path)]

    assert read == [
        "etc/a-b-.service.d/10",
        "etc/a-b-c.service.d/20",
        "etc/service.d/30",
        "etc/a-.service.d/40",
        "lib/a-b-c.service.d/50",
        "etc/a-b-c.service.d/override",
        "etc/a-b-c.service.d/zz-librespot-guard-x",
        "etc/a-b-.service.d/zzz",
    ]


def test_systemd_reads_drop_ins_in_the_same_order(tmp_path: Path) -> None:
    """The real systemd complains of each file as it reads it: the very files, in the very order."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no `systemd-analyze` here: install systemd")
    ours = with_drop_ins(tmp_path)
    said = subprocess.run(
        [analyze, "verify", f"{tmp_path}/etc/a-b-c.service"],
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}/etc:{tmp_path}/lib", "PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    ).stderr
    found = re.findall(rf"^{re.escape(str(tmp_path))}/(\S+:\d+): Unknown key", said, re.MULTILINE)

    assert found == ours, said


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("[Unit]\nStartLimitBurst=3\nStartLimitIntervalSec=60\n", "3 in 60"),
        ("[Service]\nStartLimitBurst=4\nStartLimitInterval=60s\n", "4 in 60s"),
        ("[Unit]\nStartLimitIntervalSec=0\n", "none"),
        ("[Unit]\nStartLimitBurst=7\n", "7 in 10s"),
        ("[Service]\nRestart=always\n", None),
    ],
)
def test_start_limit(tmp_path: Path, text: str, limit: str | None) -> None:
    """After how many starts it stays down is read where new and old systemd have it."""
    write(tmp_path, "a.service", text)
    one = units.load("a.service", [str(tmp_path)])

    assert one is not None
    assert one.start_limit == limit


def test_environment(tmp_path: Path) -> None:
    """Environment= and over it the files, each value with its line; what is malformed is named and costs nothing else."""
    write(tmp_path, "conf", "A=file\n\nLIBRESPOT_QUIET=off\n")
    write(tmp_path, "bad", "B='open\n")
    write(
        tmp_path,
        "a.service",
        f'[Service]\nEnvironment=A=unit "C=%N x"\nEnvironmentFile=-{tmp_path}/conf\nEnvironmentFile={tmp_path}/bad\nEnvironmentFile=-/gone\n',
    )
    one = units.load("a.service", [str(tmp_path)])
    assert one is not None
    found = units.environment_of(one)

    assert found.values == {
        "A": ("file", f"{tmp_path}/conf:1"),
        "C": ("a x", f"{tmp_path}/a.service:2"),
        "LIBRESPOT_QUIET": ("off", f"{tmp_path}/conf:3"),
    }
    assert [(g.what, "malformed" in g.why) for g in found.gaps] == [(f"the configuration file {tmp_path}/bad", True)]


def test_patterns_of_environment_files_and_variables_that_are_taken_away(tmp_path: Path) -> None:
    """The files of a pattern are read in the order of their names; UnsetEnvironment= has the last word."""
    write(tmp_path, "conf/20.conf", "A=two\r\nB=2\r\n")
    write(tmp_path, "conf/10.conf", "A=one\nC=3")
    write(tmp_path, "conf/30.txt", "A=no\n")
    write(
        tmp_path,
        "a.service",
        f"[Service]\nEnvironment=D=off E=5 F=6\nEnvironmentFile={tmp_path}/conf/*.conf\nUnsetEnvironment=D E=5 F=7 C\n",
    )
    one = units.load("a.service", [str(tmp_path)])
    assert one is not None

    assert {name: value for name, (value, _) in units.environment_of(one).values.items()} == {
        "A": "two",
        "B": "2",
        "F": "6",
    }


def test_which_units_there_are(tmp_path: Path) -> None:
    """Services and the instances that something wants; templates alone are none, nor is another name of a service."""
    write(tmp_path, "a.service", "x")
    write(tmp_path, "b@.service", "x")
    write(tmp_path, "multi-user.target.wants/b@one.service", "x")
    (tmp_path / "alias.service").symlink_to("a.service")
    (tmp_path / "multi-user.target.wants/alias.service").symlink_to("../a.service")
    (tmp_path / "multi-user.target.wants/c@two.service").symlink_to("../b@.service")
    (tmp_path / "linked.service").symlink_to(tmp_path / "opt/linked.service")
    (tmp_path / "masked.service").symlink_to("/dev/null")

    assert units.names_in([str(tmp_path), "/gone"]) == [
        "a.service",
        "linked.service",
        "masked.service",
        "b@one.service",
        "c@two.service",
    ]


@given(st.text(alphabet=st.sampled_from("[]Service=\nExecStart%$\\\"' a/-"), max_size=200))
def test_any_text(text: str) -> None:
    """Any text makes a unit, and asking it anything never fails."""
    one = units.Unit("a.service", ("f",), tuple(units._lines(text, "f")))
    command(one)
    one.last("Restart")
    _ = one.start_limit
    units.environment_of(one)
