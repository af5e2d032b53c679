"""Editing configuration files: one line changes, every other byte stays, and what is not understood is refused."""

import contextlib
import json
import time
import tomllib
from dataclasses import asdict

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from librespot_guard.errors import Refused
from librespot_guard.targets.settings import Wanted, difference, edited, steps, value_of
from librespot_guard.targets.steps import from_json, to_json

RASPOTIFY = b"""# raspotify\r\n
LIBRESPOT_QUIET=
# Fixed port
#LIBRESPOT_ZEROCONF_PORT="5354"

  LIBRESPOT_NAME="Wohnk\xc3\xbcche"
"""

CASES = [
    # format, before, key, value, kind, after
    ("env", b"A=1\nB=2", "C", "3", "text", b"A=1\nB=2\nC=3\n"),
    ("env", b"A=1\r\nB=2\r\n", "A", "9", "port", b"A=9\r\nB=2\r\n"),
    ("env", b"A=1\r\nB=2\r\n", "C", "9", "port", b"A=1\r\nB=2\r\nC=9\r\n"),
    ("env", b"A='1'  \n", "A", "9", "port", b"A='9'  \n"),
    ("env", b'export A="1"\nA=2\n', "A", "9", "port", b'export A="1"\nA=9\n'),
    ("env", b"export A=1\nB=2\n", "A", "9", "port", b"export A=1\nB=2\nA=9\n"),
    ("env", b"A = 1\nB=2\n", "A", "9", "port", b"A = 9\nB=2\n"),
    ("env", b"#A=1\nB=2\n", "A", "9", "port", b"#A=1\nA=9\nB=2\n"),
    ("env", b'B="x\nA=3\n"\n', "A", "9", "port", b'B="x\nA=3\n"\nA=9\n'),
    ("env", b"", "A", "", "flag", b"A=\n"),
    ("env", b"\xff\xfe=\n", "A", "9", "port", b"\xff\xfe=\nA=9\n"),
    ("ini", b"[http]\n# bind_to_address = ::\nport = 1780\n\n[tcp]\n", "http.bind_to_address", "127.0.0.1", "address",
     b"[http]\n# bind_to_address = ::\nbind_to_address = 127.0.0.1\nport = 1780\n\n[tcp]\n"),
    ("ini", b"[http]\nport=1780 \n", "http.port", "80", "port", b"[http]\nport=80 \n"),
    ("ini", b"[http]\nport = 1780", "tcp.enabled", "false", "switch", b"[http]\nport = 1780\n\n[tcp]\nenabled = false\n"),
    ("ini", b"[tcp]\n[http]\n", "tcp.enabled", "false", "switch", b"[tcp]\nenabled = false\n[http]\n"),
    ("toml", b'[global]\nbackend = "alsa" # x\n', "global.zeroconf_port", "37878", "port",
     b'[global]\nbackend = "alsa" # x\nzeroconf_port = 37878\n'),
    ("toml", b"[global]\nzeroconf_port  =  1 # one\n", "global.zeroconf_port", "2", "port", b"[global]\nzeroconf_port  =  2 # one\n"),
    ("toml", b'[auth]\n\tstrategy = "ZEROCONF"#s\n[api]\n', "auth.strategy", "STORED", "text", b'[auth]\n\tstrategy = "STORED"#s\n[api]\n'),
    ("toml", b'auth.strategy = "A"\n', "auth.strategy", "B", "text", b'auth.strategy = "B"\n'),
    ("toml", b"[api]\nport = 1\n", "zeroconf.listenPort", "7", "port", b"[api]\nport = 1\n\n[zeroconf]\nlistenPort = 7\n"),
    ("toml", b"", "global.disable_discovery", "true", "switch", b"[global]\ndisable_discovery = true\n"),
    ("yaml", b"device_name: x # y\nserver:\n  enabled: true\n  port: 3678\nbitrate: 160\n", "server.address", "localhost", "address",
     b"device_name: x # y\nserver:\n  enabled: true\n  port: 3678\n  address: localhost\nbitrate: 160\n"),
    ("yaml", b'server:\n    address: "0.0.0.0"   # all\n', "server.address", "localhost", "address", b"server:\n    address: localhost   # all\n"),
    ("yaml", b"zeroconf_enabled: true\n", "zeroconf_enabled", "false", "switch", b"zeroconf_enabled: false\n"),
    ("yaml", b"---\n# zeroconf_port: 0\na: 1\n", "zeroconf_port", "37878", "port", b"---\n# zeroconf_port: 0\nzeroconf_port: 37878\na: 1\n"),
    ("yaml", b"a: |\n  zeroconf_port: 1\n", "zeroconf_port", "2", "port", b"a: |\n  zeroconf_port: 1\nzeroconf_port: 2\n"),
    ("yaml", b"a: 1", "server.enabled", "false", "switch", b"a: 1\nserver:\n  enabled: false\n"),
    ("yaml", b"server:\n  address:\n", "server.address", "127.0.0.1", "address", b'server:\n  address: "127.0.0.1"\n'),
    ("yaml", b"", "zeroconf_port", "2", "port", b"zeroconf_port: 2\n"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "before", "key", "value", "kind", "after"), CASES)
def test_an_edit_is_what_a_careful_hand_would_do(
    form: str, before: bytes, key: str, value: str, kind: str, after: bytes
) -> None:
    """The line of the key changes, or one is added where it belongs; comments, quotes, endings and order stay."""
    assert edited(before, form, Wanted(key, value, kind)) == after
    assert value_of(after, form, key) == value
    assert edited(after, form, Wanted(key, value, kind)) == after


REFUSED = [
    ("braces", b"general {\n}\n", "general.x", "not edited here"),
    ("env", b"A=1 # one\n", "A", "comment behind it"),
    ("env", b"A='1' '2'\n", "A", "more than one quoted text"),
    ("env", b'A="1\n2"\n', "A", "over several lines"),
    ("env", b"A=$B\n", "A", "no plain value"),
    ("env", b'B="\n', "A", "has no end"),
    ("env", b"A=1\rB=2\r", "A", "old Macintosh"),
    ("env", b"\0", "A", "NUL"),
    ("ini", b"[s]\nk = 1\nk = 2\n", "s.k", "there 2 times"),
    ("ini", b"[s]\n[s]\n", "s.k", "there 2 times"),
    ("ini", b"[s]\nk = 1 # x\n", "s.k", "may be a comment"),
    ("toml", b"a = [\n", "s.k", "not TOML"),
    ("toml", b"s = {k = 1}\n", "s.k", "by hand"),
    ("toml", b'[s]\nk = """\n1"""\n', "s.k", "no plain one"),
    ("toml", b'x = """\n[s]\nk = 1\n"""\n', "s.k", "by hand"),
    ("toml", b"s = 1\n", "s.k", "`s` is no table"),
    ("toml", b"\xff = 1\n", "s.k", "not UTF-8"),
    ("yaml", b"s: {k: 1}\n", "s.k", "no block of keys"),
    ("yaml", b"{s: 1}\n", "s.k", "no plain key"),
    ("yaml", b"s:\n  k: 1\n  k: 2\n", "s.k", "there twice"),
    ("yaml", b"s:\n\tk: 1\n", "s.k", "a tab"),
    ("yaml", b"a: 1\n---\nb: 1\n", "s.k", "more than one document"),
    ("yaml", b"s:\n  k: &x 1\n", "s.k", "no plain one"),
    ("yaml", b"s:\n  k: |\n    1\n", "s.k", "no plain one"),
    ("yaml", b"s: *x\n", "s.k", "no block of keys"),
    ("yaml", b"- 1\n", "s.k", "no plain key"),
]


@pytest.mark.parametrize(("form", "before", "key", "says"), REFUSED)
def test_what_is_not_understood_is_refused(form: str, before: bytes, key: str, says: str) -> None:
    """Half-understood files are left to their owner, with the reason."""
    with pytest.raises(Refused, match=says):
        edited(before, form, Wanted(key, "9", "port"))


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 100_000,
        " " * 100_000,
        "a" * 100_000,
        "\\\n" * 50_000,
        "'" * 100_001,
        "a.b" * 30_000,
        "\n" * 100_000,
        "[a]\n" * 30_000,
    ],
    ids=range(8),
)
@pytest.mark.parametrize("form", ["env", "ini", "toml", "yaml"])
def test_any_file_is_read_in_bounded_time(form: str, text: str) -> None:
    """Deep, long and open without end: an answer or a refusal, and soon."""
    began = time.process_time()
    with contextlib.suppress(Refused):
        edited(text.encode(), form, Wanted("server.port" if form != "env" else "A", "9", "port"))

    assert time.process_time() - began < 5


def test_values_that_could_break_out_are_refused() -> None:
    """No value with quotes, backslashes or line breaks is ever written."""
    for value in ('a"b', "a'b", "a\\b", "a\nb"):
        with pytest.raises(Refused):
            edited(b"", "env", Wanted("A", value))


def test_the_step_holds_no_text_of_the_file() -> None:
    """What goes into the journal is the new text alone: a file may hold secrets."""
    before = b'[global]\npassword = "hunter2"\nzeroconf_port = 1\n'
    after = edited(before, "toml", Wanted("global.zeroconf_port", "2", "port"))

    there, back = steps("/etc/spotifyd.conf", before, after, "why")
    text = json.dumps([to_json(there), to_json(back)]) + difference("/etc/spotifyd.conf", before, after)

    assert "hunter2" not in text
    assert from_json(asdict(there)) == there
    assert before[: there.at] + there.put.encode() + before[there.at + there.cut :] == after


def test_several_edits_hold_no_text_between_them() -> None:
    """What stands between two places of a file is neither in the step nor in what is shown, and the edits give the whole."""
    before = b"[http]\nenabled = true\n[stream]\nsource = librespot:///l?password=hunter2\n[tcp]\nport = 1"
    one = edited(before, "ini", Wanted("http.bind_to_address", "127.0.0.1", "address"))
    two = edited(one, "ini", Wanted("tcp.bind_to_address", "127.0.0.1", "address"))

    there, back = steps("/etc/snapserver.conf", before, two, "why", between=[one])
    text = json.dumps([to_json(there), to_json(back)])
    shown = difference("/x", before, one) + difference("/x", one, two)

    assert "hunter2" not in text + shown
    assert from_json(json.loads(json.dumps(to_json(there)))) == there
    made = before
    for at, cut, put in ((there.at, there.cut, there.put), *there.more):
        made = made[:at] + put.encode() + made[at + cut :]
    assert made == two


def test_nothing_of_a_file_plays_with_the_terminal() -> None:
    """Neither its name nor its lines."""
    shown = difference("/x\x1b[2J\n/y", b"a=1 # \x1b]0;x\x07\n", b"a=2 # \x1b]0;x\x07\n")

    assert shown == "@@ /x\\x1b[2J\\n/y:1\n-a=1 # \\x1b]0;x\\x07\n+a=2 # \\x1b]0;x\\x07"


def test_a_last_line_that_gets_an_end_is_not_shown() -> None:
    """It is the same line: it may hold a secret."""
    before = b"[stream]\nsource = librespot:///l?password=hunter2"
    after = edited(before, "ini", Wanted("stream.bind_to_address", "127.0.0.1", "address"))

    assert difference("/x", before, after) == "@@ /x:3\n+bind_to_address = 127.0.0.1"


LINES = st.lists(
    st.sampled_from(
        ["", "# note", "a: 1", "b: 'x'", "server:", "  enabled: true", "  address: here # x", "    deep: 1", "list:", "- 1",
         "zeroconf_port: 4", "text: |", "  zeroconf_port: 1", "[server]", "port = 1", "[global]", "enabled = true", "x.y = 'a'",
         'A="1"', "B=2", "#B=3", "C='ü'", "D=a b", "[[server]]", "server = {}"]
    ),
    max_size=12,
)  # fmt: skip


@given(LINES, st.sampled_from(["\n", "\r\n"]), st.booleans())
@example(["server:", "# address: here"], "\n", True)
@example(["text: |", "  enabled: true"], "\n", False)
@example(["server:", "  enabled: true", "  list:", "  # address:", "    deep: 1"], "\n", True)
@example(["text: |", "  enabled: true"], "\n", False)
def test_yaml_says_the_same_but_for_the_key(lines: list[str], ending: str, last: bool) -> None:
    """Whatever the file: PyYAML reads the edited one as the old one with that key changed, or the edit was refused."""
    text = ending.join(lines) + (ending if last and lines else "")
    try:
        old = yaml.safe_load(text)
        new = edited(text.encode(), "yaml", Wanted("server.address", "localhost", "address"))
    except (yaml.YAMLError, Refused):
        return
    assert isinstance(old, dict) or old is None
    wanted = old or {}
    wanted["server"] = {**(wanted.get("server") or {}), "address": "localhost"}
    assert yaml.safe_load(new.decode()) == wanted
    assert _kept(text, new.decode())


@given(LINES, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_toml_says_the_same_but_for_the_key(lines: list[str], ending: str, last: bool) -> None:
    """Whatever the file: it parses as the old one with that key changed, or the edit was refused."""
    text = ending.join(lines) + (ending if last and lines else "")
    try:
        old = tomllib.loads(text)
        new = edited(text.encode(), "toml", Wanted("server.port", "37878", "port"))
    except (tomllib.TOMLDecodeError, Refused):
        return
    old["server"] = {**old.get("server", {}), "port": 37878}
    assert tomllib.loads(new.decode()) == old
    assert _kept(text, new.decode())


@given(LINES, st.sampled_from(["env", "ini"]), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_every_other_line_stays(lines: list[str], form: str, ending: str, last: bool) -> None:
    """At most one line goes, at most three come, and the rest is as it was."""
    text = ending.join(lines) + (ending if last and lines else "")
    key = "B" if form == "env" else "server.port"
    try:
        new = edited(text.encode(), form, Wanted(key, "37878", "port"))
    except Refused:
        return
    assert value_of(new, form, key) == "37878"
    assert _kept(text, new.decode())


def _kept(old: str, new: str) -> bool:
    """Whether the new text is the old one with at most one line gone and at most three new ones."""
    before, after = old.splitlines(), new.splitlines()
    if ("\r\n" in old) != ("\r\n" in new) and "\n" in old:
        return False
    start = next(
        (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after))
    )
    tail = 0
    while tail < min(len(before), len(after)) - start and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    return len(before) - tail - start <= 1 and len(after) - tail - start <= 3
