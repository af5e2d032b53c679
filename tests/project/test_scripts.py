"""The scripts that set everything up: what they do on a machine that lacks something, is interrupted, or runs them twice."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support import ROOT, path_with_sbin

SCRIPTS = ("demo", "test", "generate", "picture")

# Stands in for Debian's python3 where a test must see how often, and how badly, an environment is made.
FAKE_PYTHON = """#!/bin/bash
case "$*" in
  *"-m venv "*) mkdir -p "${@: -1}/bin"; cp "$0" "${@: -1}/bin/python"; echo venv >>"$CALLS" ;;
  *"-m pip install"*) sleep 0.2; echo pip >>"$CALLS"; exit "${PIP_STATUS:-0}" ;;
  *) exec /usr/bin/env python3 "$@" ;;
esac
"""


def bash(
    script: str, home: Path, env: dict[str, str] | None = None, *, prefix: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    """Start a script that has sourced lib.sh, with a home folder of its own."""
    return subprocess.Popen(
        [*prefix, "bash", "-euo", "pipefail", "-c", f"source {ROOT}/scripts/lib.sh; {script}"],
        env={"PATH": os.environ["PATH"], "HOME": str(home), **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for a script: its exit status, stdout and stderr."""
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.fixture
def fake(tmp_path: Path) -> dict[str, str]:
    """Environment variables that make lib.sh use the stand-in."""
    program = tmp_path / "python3"
    program.write_text(FAKE_PYTHON, encoding="utf-8")
    program.chmod(0o755)
    return {"PYTHON": str(program), "CALLS": str(tmp_path / "calls")}


@pytest.mark.parametrize("name", [*SCRIPTS, "../.ci/run"])
def test_scripts_can_be_run(name: str) -> None:
    """Each script is executable and fails on the first error."""
    path = ROOT / "scripts" / name

    assert os.access(path, os.X_OK)
    assert name == "../.ci/run" or "\nset -euo pipefail\n" in path.read_text(encoding="utf-8")


def test_ci_runs_the_test_command_and_nothing_else() -> None:
    """.ci/run hands over to scripts/test in the checkout."""
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()

    assert lines[1:] == ['cd "$(dirname "${BASH_SOURCE[0]}")/.." && exec bash scripts/test']


def test_shellcheck_finds_nothing() -> None:
    """The scripts are clean by shellcheck, which scripts/test installs."""
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is missing (Debian package shellcheck)")
    files = [str(ROOT / "scripts" / name) for name in (*SCRIPTS, "lib.sh")]

    found = subprocess.run(
        ["shellcheck", "-x", *files, str(ROOT / ".ci" / "run")], capture_output=True, text=True, check=False
    )

    assert (found.stdout, found.returncode) == ("", 0)


def test_an_installed_package_is_not_asked_for_again(tmp_path: Path) -> None:
    """Only what dpkg does not know as installed is missing."""
    if shutil.which("dpkg-query") is None:
        pytest.skip("this is no Debian")

    status, out, _ = finished(bash("missing_packages bash no-such-package util-linux", tmp_path))

    assert (status, out.split()) == (0, ["no-such-package"])


def test_without_root_and_sudo_the_user_is_told_what_to_install(tmp_path: Path) -> None:
    """An ordinary user who may not use sudo gets the packages by name and exit status 3, and nothing is tried."""
    if shutil.which("apt-get") is None:
        pytest.skip("this is no Debian")
    # in a user namespace without a mapping we are nobody, and sudo cannot work

    status, _, err = finished(bash("need_packages bash no-such-package", tmp_path, prefix=("unshare", "-U")))

    assert status == 3
    assert "error: these Debian packages are missing" in err
    assert "`apt-get install no-such-package`" in err
    assert "installing" not in err


def test_sbin_is_searched(tmp_path: Path) -> None:
    """Tools that live in /usr/sbin are found with the PATH of an ordinary user."""
    status, out, _ = finished(bash("echo $PATH", tmp_path, {"PATH": "/usr/bin:/bin"}))

    assert status == 0
    assert "/usr/sbin" in out.strip().split(":")
    assert "/usr/sbin" in path_with_sbin().split(":")


def test_a_python_that_is_too_old_is_refused(tmp_path: Path) -> None:
    """A Python before 3.11 ends with its version and a way out."""
    old = tmp_path / "old"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" && exit\nexit 1\n', encoding="utf-8")
    old.chmod(0o755)

    status, _, err = finished(bash("need_venv demo", tmp_path, {"PYTHON": str(old)}))

    assert status == 3
    assert "Python 3.9.2, and 3.11 or newer is needed" in err
    assert "hint: use Debian 12 or newer" in err


def test_an_environment_that_could_not_be_filled_does_not_count(tmp_path: Path, fake: dict[str, str]) -> None:
    """After a failure of pip the next run makes the environment anew, and the one after that has nothing to do."""
    calls = Path(fake["CALLS"])

    status, _, err = finished(bash("lock; need_venv demo -e .", tmp_path, {**fake, "PIP_STATUS": "1"}))

    assert status == 3
    assert "error: pip could not" in err
    assert not list(tmp_path.glob(".cache/librespot-guard/venv-*/ready"))

    status, _, _ = finished(bash("lock; need_venv demo -e .", tmp_path, fake))

    assert status == 0
    assert calls.read_text(encoding="utf-8").split() == ["venv", "pip", "venv", "pip", "pip"]

    status, _, err = finished(bash("lock; need_venv demo -e .", tmp_path, fake))

    assert (status, err) == (0, "")
    assert calls.read_text(encoding="utf-8").split() == ["venv", "pip", "venv", "pip", "pip"]


def test_two_set_ups_at_once_make_one_environment(tmp_path: Path, fake: dict[str, str]) -> None:
    """The second waits for the first and uses what it made."""
    both = [bash("lock; need_venv demo -e .; unlock; echo $venv", tmp_path, fake) for _ in range(2)]

    results = [finished(process) for process in both]

    assert [status for status, _, _ in results] == [0, 0]
    assert results[0][1] == results[1][1] != "\n"
    assert Path(fake["CALLS"]).read_text(encoding="utf-8").split() == ["venv", "pip", "pip"]


def test_environments_of_checkouts_that_are_gone_are_removed(tmp_path: Path, fake: dict[str, str]) -> None:
    """Making one environment clears away those nobody can use any more, and no others."""
    cache = tmp_path / ".cache" / "librespot-guard"
    for name, checkout in (("venv-demo-gone", tmp_path / "gone"), ("venv-demo-other", tmp_path)):
        (cache / name).mkdir(parents=True)
        (cache / name / "checkout").write_text(f"{checkout}\n", encoding="utf-8")
        (cache / name / "ready").touch()

    status, _, _ = finished(bash("lock; need_venv demo -e .", tmp_path, fake))

    assert status == 0
    assert not (cache / "venv-demo-gone").exists()
    assert (cache / "venv-demo-other").exists()


@pytest.mark.parametrize(
    ("wanted", "given", "enough"),
    [
        ("1.85", "1.85.0", True),
        ("1.85", "1.96.0", True),
        ("1.85", "1.63.0", False),
        ("1.85", "1.9.0", False),
        ("1.85", "", False),
    ],
)
def test_versions_are_compared_as_numbers(tmp_path: Path, wanted: str, given: str, enough: bool) -> None:
    """1.9 is older than 1.85, and no version is not enough."""
    status, _, _ = finished(bash(f"version_at_least {wanted} '{given}'", tmp_path))

    assert (status == 0) == enough
