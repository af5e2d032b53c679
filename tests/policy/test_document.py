"""YAML to plain values: the core schema of YAML 1.2, places, limits, and both loaders of PyYAML."""

import math
import re
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from librespot_guard.policy.document import LOADERS, MAX_DEPTH, MAX_SIZE, Document, parse
from librespot_guard.policy.model import Where
from policy.factory import calm

needs_libyaml = pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML has no libyaml here")


def value(text: str) -> Any:
    """The value of a document without faults."""
    document = parse(text, file="f")
    assert document.faults == ()
    return document.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((t, None) for t in ("null", "Null", "NULL", "~", "")),
        *((t, True) for t in ("true", "True", "TRUE")),
        *((t, False) for t in ("false", "False", "FALSE")),
        ("0", 0), ("010", 10), ("-7", -7), ("+7", 7), ("0o17", 15), ("0x1F", 31),
        ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("-1.", -1.0), (".inf", math.inf), ("-.INF", -math.inf),
        *((t, t) for t in ("yes", "no", "on", "off", "y", "N", "tRue", "nULL", "0b11", "1_000", "12:30", "190:20:30", "2027-06-30")),
        *((t, t) for t in ("2027-06-30 12:00:00", "0o8", "0x", "1e", ".", "-", "1.2.3.4", "10.0.0.0/8", "fd00::1", "<", "=")),
    ],
)  # fmt: skip
def test_scalars_follow_the_core_schema(text: str, expected: Any) -> None:
    """Only the words and numbers of YAML 1.2 are not text."""
    found = value(f"- {text}\n")[0] if text != "-" else value("['-']")[0]

    assert (found, type(found)) == (expected, type(expected))


def test_quotes_make_text() -> None:
    """What is quoted or a block is text, whatever it looks like."""
    assert value("['true', \"12\", '~']\n") == ["true", "12", "~"]
    assert value("a: |\n  12\nb: >-\n  null\n") == {"a": "12\n", "b": "null"}


def test_not_a_number() -> None:
    """`.nan` is the one value that equals nothing."""
    assert math.isnan(value("[.nan]")[0])


@pytest.mark.parametrize("loader", LOADERS)
def test_places(loader: Any) -> None:
    """Each value is known by its path, with the place of its key and its own; nothing stands where its key does."""
    document = parse("# first\na:\n  - b: [1, x]\nc:\n", file="f", loader=loader)

    def at(*path: str | int) -> tuple[Where, Where]:
        place = document.places[path]
        return place.key, place.value

    assert document.value == {"a": [{"b": [1, "x"]}], "c": None}
    assert at() == (Where("f", 2, 1), Where("f", 2, 1))
    assert at("a") == (Where("f", 2, 1), Where("f", 3, 3))
    assert at("a", 0, "b") == (Where("f", 3, 5), Where("f", 3, 8))
    assert at("a", 0, "b", 1) == (Where("f", 3, 12), Where("f", 3, 12))
    assert at("c") == (Where("f", 4, 1), Where("f", 4, 1))


def test_a_byte_order_mark_and_line_ends_of_other_systems() -> None:
    """A file from Windows reads like any other, and its places are the same."""
    document = parse("\ufeffa: 1\r\nb: 2\r\n", file="f")

    assert document.value == {"a": 1, "b": 2}
    assert document.places["b",].key == Where("f", 2, 1)


def test_the_first_of_two_equal_keys_is_kept() -> None:
    """A duplicate key is a fault, and what it holds is read for its faults only."""
    document = parse("a: {b: 1}\na: {b: 2, c: &x 3}\n", file="f")

    assert document.value == {"a": {"b": 1}}
    assert [(f.where.line, f.text.split(" ")[0]) for f in document.faults] == [(2, "`a`"), (2, "anchors")]
    assert document.places["a", "b"].value == Where("f", 1, 8)


def test_an_alias_is_never_expanded() -> None:
    """A billion laughs cost nothing: what an alias stands for is not looked up."""
    text = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(20)
    )
    document = parse(text, file="f")

    assert document.value["c"] == [None] * 9
    assert ("c", 0) in document.broken
    assert sum("aliases" in f.text for f in document.faults) == 180


@pytest.mark.parametrize("loader", LOADERS)
def test_limits(loader: Any) -> None:
    """50 levels and 1 MiB are read, and nothing beyond."""
    fits = parse("[" * MAX_DEPTH + "]" * MAX_DEPTH, file="f", loader=loader)
    deep = parse("- " * (MAX_DEPTH + 1) + "x", file="f", loader=loader)
    large = parse("#" + " " * (MAX_SIZE - 1), file="f", loader=loader)
    larger = parse("#" + " " * MAX_SIZE, file="f", loader=loader)

    assert (fits.whole, fits.faults) == (True, ())
    assert (deep.whole, len(deep.faults)) == (False, 1)
    assert f"more than {MAX_DEPTH} levels" in deep.faults[0].text
    assert (large.whole, large.value) == (True, None)
    assert (larger.whole, larger.faults[0].text.split(" (")[0]) == (False, "larger than 1 MiB")


# pieces of which a policy is made, and what goes wrong with them
PIECES = st.sampled_from(
    [*"abc:-,[]{}#&*!|>'\"%@`?~ \n\t=<.0123456789\\", ": ", "- ", "\n  ", "\n    ", "a: ", "<<: ", "---\n", "...\n", "&a ", "*a ", "!!str ", "fd00::", "\\u00e9", "é", "🎵", "\r\n"]
)  # fmt: skip
MESSY = st.lists(PIECES, max_size=40).map("".join)


@calm
@given(MESSY)
@example("- ? b\n  : c\n")
@example("[a: b, c: ]")
@example("a: b\t# a tab behind a value")
@example("a: |#x")
@example("---\n ")
@example("{a: fd00::, b: c}")
@example("a: '\\ud83d'\nb: \"\\ud83d\"")
def test_a_document_means_the_same_on_every_machine(text: str) -> None:
    """Values, places and faults are those of the pure loader, whether or not PyYAML has libyaml here."""
    assert parse(text, file="f") == parse(text, file="f", loader=yaml.SafeLoader)


@needs_libyaml
@calm
@given(MESSY.filter(lambda t: not set("\t?#") & set(t)))
def test_both_loaders_read_the_same(text: str) -> None:
    """Without tabs, `?` and comments, what both loaders take without a fault has the same values and places."""
    fast, pure = (parse(text, file="f", loader=loader) for loader in LOADERS)

    assert (fast.whole and not fast.faults) == (pure.whole and not pure.faults)
    if fast.whole and not fast.faults:
        assert repr(fast.value) == repr(pure.value)
        assert fast.places == pure.places


# PyYAML writes a text such as 0E0 without quotes: by YAML 1.1 that is no number, by YAML 1.2 it is
TEXTS = st.text(max_size=20).filter(lambda text: not re.fullmatch(r"[-+]?\d+[eE][-+]?\d+", text))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@calm
@given(VALUES, st.booleans())
def test_what_another_writer_writes_is_read_back(content: Any, flow: bool) -> None:
    """Values that PyYAML writes come back the same by every loader, except for numbers it writes as YAML 1.1 does."""
    text = yaml.safe_dump(content, default_flow_style=flow, allow_unicode=True, width=1000)
    documents: list[Document] = [parse(text, file="f", loader=loader) for loader in LOADERS]

    if not documents[0].faults:
        assert all(document.value == content for document in documents)
    else:
        # a character that we refuse, or a key that is no text
        assert all("U+" in f.text or "a key" in f.text for f in documents[0].faults)


@calm
@given(st.text() | MESSY)
def test_any_text_is_read_or_has_a_fault(text: str) -> None:
    """Nothing but faults comes out of nonsense, by any loader, and each has a place and words."""
    for loader in (None, *LOADERS):
        document = parse(text, file="f", loader=loader)

        assert document.whole or document.faults
        assert all(f.where.line >= 1 and f.where.column >= 1 and f.text for f in document.faults)
        assert () in document.places
