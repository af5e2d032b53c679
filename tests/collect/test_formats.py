"""Configuration files: what each format says, in which line, and that no text makes a reader fail in another way than by saying so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.collect.formats import Entry, MalformedError, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\n# B=2\n;C=3\n\nD = x y \n", [Entry("A", "1", 1), Entry("D", "x y", 5)]),
        ("A=\"q 'x' \\\" y\"\nB='a\\b'\n", [Entry("A", "q 'x' \" y", 1), Entry("B", "a\\b", 2)]),
        ("A=one\\\ntwo\nB=3", [Entry("A", "onetwo", 1), Entry("B", "3", 3)]),
        ('A="two\nlines"\nB=1\n', [Entry("A", "two\nlines", 1), Entry("B", "1", 3)]),
        ("export A=1\nnot a setting\n1A=2\nLIBRESPOT_QUIET=\n", [Entry("LIBRESPOT_QUIET", "", 4)]),
        ('A=5000\r\n\r\nB="x y"\r\nC=\r\n', [Entry("A", "5000", 1), Entry("B", "x y", 3), Entry("C", "", 4)]),
        ("# it's a comment\nA=1\n", [Entry("A", "1", 2)]),
        ("A=x # no comment here\n", [Entry("A", "x # no comment here", 1)]),
    ],
)
def test_environment_files(text: str, expected: list[Entry]) -> None:
    """Environment files are read as systemd reads them: quotes, continued lines, comments, and no shell."""
    assert parse(text, "env") == expected


def test_ini() -> None:
    """Sections, comments, and a key that is there twice, in the order of the file."""
    text = "[stream]\nsource = pipe:///a?b=c\n#source = x\nsource = librespot:///l\n[http]\n port=1780\nfree\n"

    assert parse(text, "ini") == [
        Entry("stream.source", "pipe:///a?b=c", 2),
        Entry("stream.source", "librespot:///l", 4),
        Entry("http.port", "1780", 6),
    ]


def test_a_section_with_a_comment_behind_it_begins_none() -> None:
    """As snapserver reads it: what follows belongs to the section before."""
    text = "[stream] \nport = 1\n[http] # web\nport = 2\n"

    assert parse(text, "ini") == [Entry("stream.port", "1", 2), Entry("stream.port", "2", 4)]


def test_libconfuse() -> None:
    """owntone.conf: sections, quoted texts, lists in one line and in several."""
    text = (
        'general {\n\t# bind_address = "x"\n\tbind_address = "::1"\n\ttrusted_networks = { "lan" }\n}\n\nlibrary {\n\tport = 3689\n'
        '\tdirectories = {\n\t\t"/a=b",\n\t}\n\tname = "x"\n}\n'
    )

    assert [e for e in parse(text, "braces") if "directories" not in e.key] == [
        Entry("general.bind_address", "::1", 3),
        Entry("general.trusted_networks", "lan", 4),
        Entry("library.port", "3689", 8),
        Entry("library.name", "x", 12),
    ]


def test_toml() -> None:
    """Tables, dotted and quoted keys, truth, lists; each in its line."""
    text = '# x\n[global]\nzeroconf_port = 1_234\n"use_mpris" = false\na.b = "c"\n[x]\nlist = ["p", "q"]\n'

    assert parse(text, "toml") == [
        Entry("global.zeroconf_port", "1234", 3),
        Entry("global.use_mpris", "false", 4),
        Entry("global.a.b", "c", 5),
        Entry("x.list", "p, q", 7),
    ]


def test_yaml() -> None:
    """Nested mappings, lists, truth as YAML writes it; each in its line."""
    text = "server:\n  enabled: yes\n  port: 3678\n  address: '0.0.0.0'\nzeroconf_interfaces_to_advertise:\n- eth0\n- wlan0\n"

    assert parse(text, "yaml") == [
        Entry("server.enabled", "true", 2),
        Entry("server.port", "3678", 3),
        Entry("server.address", "0.0.0.0", 4),
        Entry("zeroconf_interfaces_to_advertise", "eth0, wlan0", 6),
    ]
    assert parse("", "yaml") == []


BOMB = "a: &a [x, x]\n" + "".join(
    f"{c}: &{c} {{p: *{p}, q: *{p}, r: *{p}, s: *{p}}}\n" for p, c in zip("abcdefghijkl", "bcdefghijklm", strict=True)
)


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        ("env", "A='never closed\n", "never closed"),
        ("ini", "[stream\nx=1\n", "line 1"),
        ("toml", "[global]\nzeroconf_port = \n", "line 2"),
        ("yaml", "a: [1, 2\nb: 3\n", "line 2"),
        ("yaml", "- a\n- b\n", "no mapping"),
        ("yaml", "a: &x\n  b: *x\n", "nested too deeply"),
        ("yaml", BOMB, "aliases multiply"),
        ("yaml", "{a: " * 30 + "1" + "}" * 30, "nested too deeply"),
        ("yaml", "{a: " * 30000, "nested too deeply"),
        ("yaml", "a: \x00", "not allowed"),
        ("toml", "x = " + "[" * 30000, "nested too deeply"),
        ("ini", "a=1\n" * 3000, "more than 2000"),
    ],
)
def test_malformed(kind: str, text: str, says: str) -> None:
    """A text that is half written, endless, or nested beyond reason is an error that says why, at once."""
    with pytest.raises(MalformedError, match=says):
        parse(text, kind)


@pytest.mark.parametrize("kind", ["env", "ini", "toml", "yaml"])
@given(st.text(alphabet=st.sampled_from("ab=[]{}\"'\\#;:-&* \n\t.!|>%@é\x1b1"), max_size=120))
def test_any_text(kind: str, text: str) -> None:
    """Any text is read, or is malformed; lines are those of the text."""
    try:
        found = parse(text, kind)
    except MalformedError:
        return
    assert all(1 <= e.line <= text.count("\n") + 1 + len(text.splitlines()) for e in found)
