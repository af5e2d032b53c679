"""docs/policy.md: its examples load, and it speaks of every key, word and surface of the format."""

import re

import pytest

from librespot_guard.policy import FLAVOURS, SURFACES, load, read
from librespot_guard.policy.schema import ALLOW, DOORS, EGRESS, MATCH, POLICY, SERVICE, SOURCE, TAKEOVERS
from support import ROOT

DOCUMENT = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_load(number: int) -> None:
    """Each YAML block is a whole policy without a fault, that names only what it uses."""
    reading = read(EXAMPLES[number], file="example")

    assert reading.errors == ()
    assert [w.text for w in reading.warnings if not w.text.startswith("no `")] == []


def test_there_are_examples_of_every_key() -> None:
    """Each key of each mapping stands in a table of the document and in an example."""
    examples = "\n".join(EXAMPLES)
    keys = {key for mapping in (POLICY, SOURCE, MATCH, SERVICE, ALLOW) for key in mapping.known}

    assert len(EXAMPLES) >= 5
    assert [key for key in keys if f"`{key}`" not in DOCUMENT] == []
    assert [key for key in keys if not re.search(rf"\b{key}:", examples)] == []


def test_every_word_is_named() -> None:
    """Flavours, surfaces and the words of later keys are all there."""
    words = (*FLAVOURS, *SURFACES, *TAKEOVERS, *DOORS, *EGRESS)

    assert [word for word in words if f"`{word}`" not in DOCUMENT] == []


def test_the_faults_it_shows_are_real() -> None:
    """The messages of the document are the ones that its kind of file gives."""
    policy = (
        "policy: 1\ntitle: x\nowner: x\nreview: every week\nsources:\n"
        "  home:\n      networks: [192.168.10.5/24]\n      why: x\n"
        "services:\n  a:\n    match: {name: a}\n    allow:\n      conect: [home]\n      connect: [hom]\n"
    )
    shown = re.findall(r"^policy\.yaml:(\d+:\d+: .*)$", DOCUMENT, re.MULTILINE)

    assert [str(f).removeprefix("policy.yaml:") for f in read(policy, file="policy.yaml").errors] == shown


def test_short_and_long_form_mean_the_same() -> None:
    """A list of sources and `from` with that list are one thing, as the document says."""
    text = "policy: 1\nsources: {home: {interface: eth0, why: x}}\nservices: {a: {match: {port: 1}, allow: {connect: %s}}}\n"
    short, long = (load(text % form, file="p") for form in ("[home]", "{from: [home]}"))

    assert short.services["a"].allow == long.services["a"].allow
