"""`explain` on the command line."""

import json
import re
import shlex

import click
import pytest

from librespot_guard import audit
from librespot_guard.audit.concepts import CONCEPTS
from librespot_guard.cli.main import main
from support import Guard, Schema

PROMISED = ("gate", "surface", "reach", "may-must", "grade", "exit-status", "discovery")


@pytest.mark.parametrize("page", audit.all_explanations(), ids=lambda p: p.name)
def test_every_page_is_whole(page: audit.Explanation, schema: Schema) -> None:
    """Each check and concept says what it is and why it matters; a check also how to fix and how to check it, and its threat."""
    from librespot_guard.report.explain import to_json, to_lines  # noqa: PLC0415
    from librespot_guard.report.text import plain  # noqa: PLC0415

    schema("explain").validate(to_json(page))
    text = plain(to_lines(page))
    headings = ["What", "Why it matters"] + (["How to fix", "How to check", "Threat"] if page.severity else [])
    assert [h for h in headings if f"\n{h}\n" not in text] == []
    assert text.startswith(f"{page.name}: {page.title}")


def test_the_texts_are_those_of_the_check(guard: Guard) -> None:
    """One source: what `explain` prints is what findings carry."""
    document = json.loads(guard("explain", "lg101", "--format", "json").stdout)
    check = audit.BY_ID["LG101"]

    assert document["what"] == [check.what]
    assert document["why"] == [check.why]
    assert document["fix"] == list(check.fix)
    assert document["severity"] == check.severity


def test_without_argument_everything_is_listed(guard: Guard, schema: Schema) -> None:
    """Every id and concept stands in the list, in both formats."""
    text = guard("explain")
    document = json.loads(guard("explain", "--format", "json").stdout)

    assert (text.returncode, text.stderr) == (0, "")
    names = {row.split()[0] for row in text.stdout.splitlines() if row.startswith("  ")}
    assert names == {p.name for p in audit.all_explanations()}
    schema("explain").validate(document)
    assert {e["name"] for e in (*document["checks"], *document["concepts"])} == names


def test_promised_concepts_exist() -> None:
    """The words that other texts of the tool refer to are explained."""
    assert set(PROMISED) <= set(CONCEPTS)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("LG1O1", "LG101"), ("maymust", "may-must"), ("gates", "gate"), ("surfaces", "surface"), ("exit", "exit-status")],
)
def test_a_typing_error_gets_a_suggestion(guard: Guard, name: str, meant: str) -> None:
    """Status 2, and the nearest name."""
    done = guard("explain", name)

    assert (done.returncode, done.stdout) == (2, "")
    assert f"there is no check and no concept `{name}`" in done.stderr
    assert f"did you mean `{meant}`" in done.stderr


def test_nonsense_gets_the_list(guard: Guard) -> None:
    """Where nothing is near, the hint says how to list all."""
    done = guard("explain", "zzzzzz")

    assert done.returncode == 2
    assert "did you mean" not in done.stderr
    assert "`librespot-guard explain` lists all" in done.stderr


def commands_in(page: audit.Explanation) -> list[str]:
    """Every command of this tool that a page tells to type."""
    inline = re.findall(r"`librespot-guard ([a-z][^`]*)`", "\n".join((*page.what, *page.why, *page.fix)))
    return [*inline, *(c.removeprefix("librespot-guard ") for c in page.check if c.startswith("librespot-guard "))]


@pytest.mark.parametrize("page", [p for p in audit.all_explanations() if commands_in(p)], ids=lambda p: p.name)
def test_commands_in_texts_are_real(page: audit.Explanation) -> None:
    """What a page tells to type are commands and options that exist."""
    for text in commands_in(page):
        name, *words = shlex.split(text)
        context = click.Context(main, info_name="librespot-guard")
        command = main.get_command(context, name)
        assert command is not None, text
        command.make_parser(click.Context(command, parent=context, info_name=name)).parse_args(args=words)
