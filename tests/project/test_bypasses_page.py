"""docs/bypasses.md: every way round a firewall has an answer and a test that is there, or a plain word of what is missing."""

import ast
import re

import pytest

from librespot_guard import audit
from support import ROOT

PAGE = ROOT / "docs" / "bypasses.md"
NUMBERS = ["1", "1b", "1c", "1d", *map(str, range(2, 24))]


def rows() -> list[list[str]]:
    """The cells of each row."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_each_has_a_row() -> None:
    """The 23 of them, in their order, each once."""
    assert [row[0] for row in rows()] == NUMBERS


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_a_row_names_a_test_or_what_is_missing(row: list[str]) -> None:
    """The tests of a row exist, its findings are checks, and a row without a test says that it is missing."""
    _, _, answer, shown = row
    tests = re.findall(r"`(tests/\S+)::(\w+)`", shown)

    assert tests or shown.startswith("missing"), row
    for file, name in tests:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{file}::{name}"
    findings = re.findall(r"LG\d{3}", answer)
    assert findings or "`reach" in answer or answer.startswith("missing"), row
    assert [f for f in findings if f not in audit.BY_ID] == []


def test_rows_of_packets_have_both_hosts() -> None:
    """Each row that points to the rows of test_bypasses.py has a host there that has it and one that has not."""
    source = (ROOT / "tests" / "reach" / "test_bypasses.py").read_text(encoding="utf-8")
    listed = [row[0] for row in rows() if "test_bypasses.py::test_a_bypass_and_its_cure" in row[3]]
    calls = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Row"
    ]
    opened: dict[str, set[object]] = {}
    for call in calls:
        number = ast.literal_eval(call.args[0])
        opened.setdefault(number, set()).add(next(ast.literal_eval(k.value) for k in call.keywords if k.arg == "open"))

    # "related lets nothing new in" has its open counterpart in test_bypasses_tools.py
    assert {n for n in listed if opened.get(n) != {True, False}} <= {"17"}
