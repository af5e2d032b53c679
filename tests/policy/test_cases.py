"""The corpus of policies: each file of `cases` with the exact messages it must give, by either YAML loader.

NAME.expected holds the faults of NAME.yaml, NAME.warnings the warnings of one that is valid.
"""

import re
from pathlib import Path

import pytest
import yaml

from librespot_guard.errors import InputError
from librespot_guard.policy import load, read

CASES = sorted((Path(__file__).parent / "cases").glob("*.yaml"))


def content(case: Path) -> str:
    """The text of a case, with its line ends as they are."""
    return case.read_bytes().decode("utf-8")


@pytest.mark.parametrize("loader", [None, yaml.SafeLoader], ids=["default", "pure"])
@pytest.mark.parametrize("case", CASES, ids=lambda p: p.stem)
def test_messages(case: Path, loader: type | None) -> None:
    """A policy gives exactly the messages beside it, all at once, in the order of the file."""
    expected, warnings = case.with_suffix(".expected"), case.with_suffix(".warnings")

    reading = read(content(case), file=case.name, loader=loader)

    assert expected.exists() != warnings.exists()
    if expected.exists():
        assert reading.policy is None
        assert [str(fault) for fault in reading.errors] == expected.read_text(encoding="utf-8").splitlines()
    else:
        assert reading.errors == ()
        assert [str(fault) for fault in reading.warnings] == warnings.read_text(encoding="utf-8").splitlines()


def test_the_corpus_is_whole() -> None:
    """Each file of messages belongs to a policy, and there is a good number of them."""
    names = {case.stem for case in CASES}

    assert {p.stem for p in CASES[0].parent.iterdir()} == names
    assert len(names) >= 40


@pytest.mark.parametrize("case", [c for c in CASES if c.with_suffix(".expected").exists()], ids=lambda p: p.stem)
def test_load_raises_every_fault_in_one_error(case: Path) -> None:
    """`load` raises an InputError with a line for each fault, and each line begins with its place."""
    with pytest.raises(InputError) as caught:
        load(content(case), file=case.name)

    assert str(caught.value) + "\n" == case.with_suffix(".expected").read_text(encoding="utf-8")
    assert all(re.match(rf"{re.escape(case.name)}:[0-9]+:[0-9]+: \S", line) for line in str(caught.value).splitlines())


@pytest.mark.parametrize("case", CASES, ids=lambda p: p.stem)
def test_places_are_in_the_file(case: Path) -> None:
    """Each fault and warning points at a character of the file, or at its end."""
    lines = content(case).replace("\r\n", "\n").split("\n")
    reading = read(content(case), file=case.name)

    for fault in (*reading.errors, *reading.warnings):
        assert 1 <= fault.where.line <= len(lines)
        assert 1 <= fault.where.column <= len(lines[fault.where.line - 1]) + 1
