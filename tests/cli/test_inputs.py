"""What is read from files: far too large, nested without end, or from a pipe, which can be read once only."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from apply.stage import Stage, stage
from support import Guard


@pytest.mark.parametrize(
    "words",
    [
        ["check", "FILE"],
        ["plan", "FILE"],
        ["verify", "FILE"],
        ["reach", "--prove", "FILE"],
        ["scan", "--snapshot", "FILE"],
        ["trace", "--packets", "FILE"],
        ["snapshot", "import", "--nft-json", "FILE"],
    ],
    ids=" ".join,
)
def test_a_file_without_end_is_refused(words: list[str], guard: Guard, tmp_path: Path) -> None:
    """A file is read up to what it can be, whatever its size: status 2, and not the memory of the machine."""
    file = tmp_path / "large"
    with file.open("wb") as sparse:
        sparse.truncate(1 << 33)

    done = guard(*(str(file) if word == "FILE" else word for word in words), prefix=("prlimit", "--as=1500000000"))

    assert done.returncode == 2
    assert "larger than" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000], ids=["lists", "objects"])
def test_a_saved_plan_without_end_is_refused(text: str, guard: Guard, tmp_path: Path) -> None:
    """`apply --plan` of a document that is nested without end is wrong input."""
    (tmp_path / "plan.json").write_text(text, encoding="utf-8")
    (tmp_path / "policy.yaml").write_text("policy: 1\nservices: {}\n", encoding="utf-8")

    done = guard("apply", tmp_path / "policy.yaml", "--plan", tmp_path / "plan.json", "--yes")

    assert done.returncode == 2
    assert "not a whole JSON document" in done.stderr


@pytest.fixture
def on(tmp_path: Path) -> Iterator[Stage]:
    """A speaker with a stand-in for librespot, and a phone."""
    with stage(tmp_path) as ready:
        yield ready


@pytest.mark.kernel
def test_a_policy_from_a_pipe_is_applied(on: Stage) -> None:
    """`apply` reads the policy once, as `check` and `plan` do: from standard input or a pipe it is not empty."""
    policy = on.policy("192.168.10.0/25")
    command = f"{sys.executable} -m librespot_guard apply - --yes --no-wait < {policy}"

    done = on.speaker.run(["sh", "-c", command], env=on.environment(), cwd=str(on.folder))

    assert done.returncode == 0, done.stderr
    assert on.guard("rollback").returncode == 0
