"""The test run itself: what could not be tested is said in its last lines, and fails where everything is demanded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import container_stage
from support import ROOT

GAP = """
import pytest

@pytest.mark.family
def test_a_daemon():
    pytest.skip("spotifyd: no recipe")

def test_something_optional():
    pytest.skip("a remark")

def test_something():
    pass
"""


def run(folder: Path, **environment: str) -> tuple[int, list[str]]:
    """Run a small suite with the project's conftest and configuration: exit status and lines."""
    (folder / "test_gap.py").write_text(GAP, encoding="utf-8")
    own = {
        k: v
        for k, v in os.environ.items()
        if k not in ("CI", "LIBRESPOT_GUARD_DEMAND_ALL") and not k.startswith("PYTEST")
    }
    paths = [str(ROOT / "tests"), str(ROOT / "src")]
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-c",
            str(ROOT / "pyproject.toml"),
            "-p",
            "conftest",
            "-p",
            "no:cacheprovider",
            str(folder),
        ],
        env={**own, "PYTHONPATH": os.pathsep.join(paths), **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.stderr == ""
    return result.returncode, result.stdout.splitlines()


def test_the_last_lines_name_what_was_not_tested(tmp_path: Path) -> None:
    """On a developer's machine a gap is a remark, after pytest's own summary."""
    status, lines = run(tmp_path)

    assert status == 0
    assert lines[-3].startswith("1 passed, 2 skipped")
    assert lines[-2:] == ["not tested: a remark (1 test)", "not tested: spotifyd: no recipe (1 test)"]


@pytest.mark.parametrize("variable", [{"CI": "true"}, {"LIBRESPOT_GUARD_DEMAND_ALL": "1"}])
def test_a_gap_fails_where_everything_is_demanded(tmp_path: Path, variable: dict[str, str]) -> None:
    """In CI a test that needs a daemon or the kernel may not be skipped; other skips stay what they are."""
    status, lines = run(tmp_path, **variable)

    assert status == 1
    assert lines[-1] == "not tested: a remark (1 test)"
    assert lines[-2].startswith("1 failed, 1 passed, 1 skipped")
    assert any("not tested, and everything is demanded here: spotifyd: no recipe" in line for line in lines)


@pytest.mark.kernel
@pytest.mark.parametrize("demanded", [False, True])
def test_a_container_engine_that_is_not_to_be_had_is_named(demanded: bool) -> None:
    """Without root itself no engine runs: the last lines say so, and where everything is demanded that fails."""
    paths = os.pathsep.join([str(ROOT / "tests"), str(ROOT / "src")])
    own = {k: v for k, v in os.environ.items() if k not in ("CI", "LIBRESPOT_GUARD_DEMAND_ALL")}
    command = ["unshare", "-Ur", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-k", "a_real_engine", str(ROOT / "tests" / "collect" / "test_engines.py")],
        env={**own, "PYTHONPATH": paths, **({"CI": "true"} if demanded else {})},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    lines = done.stdout.splitlines()
    if demanded:
        assert done.returncode == 1
        assert sum("everything is demanded here: containers of" in line for line in lines) >= len(container_stage.NEEDS)
    else:
        assert done.returncode == 0
        assert [line.partition(":")[0] for line in lines[-len(container_stage.NEEDS) :]] == ["not tested", "not tested"]
        for engine in container_stage.NEEDS:
            assert any(line.startswith(f"not tested: containers of {engine}: ") for line in lines)


def test_ci_installs_every_container_engine() -> None:
    """What the tests of containers need is what scripts/test installs in CI."""
    script = (ROOT / "scripts" / "test").read_text(encoding="utf-8")
    words = {word for line in script.splitlines() if "need_packages" in line for word in line.split()}

    assert {package for needs in container_stage.NEEDS.values() for package in needs.values()} <= words
