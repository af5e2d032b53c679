"""No secret of a command line or an environment survives, whatever form it has; what is no secret stays."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librespot_guard import catalog
from librespot_guard.collect.redact import (
    HIDDEN,
    options_of,
    redact_argv,
    redact_environment,
    redact_text,
    values_of,
)
from librespot_guard.snapshot import Secret

LIBRESPOT = catalog.load().flavour("librespot")
OPTIONS = options_of(LIBRESPOT)

# a secret that can't be part of anything else on the line
secrets = st.text(st.sampled_from("XYZ0189+/=_-.~"), min_size=4, max_size=30).map(lambda s: f"Q{s}Q")
plain = st.lists(
    st.sampled_from(["-n", "Küche", "-v", "--backend", "pipe", "-c", "/cache", "--zeroconf-port", "37001", "-j", "-B"]),
    max_size=6,
)
forms = st.sampled_from(
    [
        ("--access-token", "{}"),
        ("--access-token={}",),
        ("-k", "{}"),
        ("-k{}",),
        ("-k={}",),
        ("-vk", "{}"),
        ("-vqk{}",),
        ("--password", "{}"),
        ("-p{}",),
        ("--spotify-token={}",),
        ("--client_secret={}",),
        ("--proxy", "http://user:{}@proxy:3128"),
        ("-xhttp://{}@proxy:3128",),
        ("librespot:///usr/bin/librespot?name=a&username=u&password={}",),
        ("librespot:///usr/bin/librespot?name=a&password=a b;c#{}&x=1",),
        ("process:///usr/bin/spotifyd?name=a&params=--zeroconf-port%206014%20--password%20{}",),
        ("--stream.source=librespot:///librespot?params=-n%20x%20-p%20{}&name=x",),
        ("librespot:///librespot?params=--access-token '{} a b'",),
        ("sh", "-c", "exec librespot --name x --password {} -z 5"),
        ("sh", "-c", "LIBRESPOT_PASSWORD='{} x' librespot"),
        ("env", "LIBRESPOT_ACCESS_TOKEN={}", "librespot"),
        ("--password-cmd", "echo {}"),
    ]
)


@given(plain, forms, secrets, plain)
def test_no_form_lets_a_secret_through(before: list[str], form: tuple[str, ...], secret: str, after: list[str]) -> None:
    """In every form of option and URL the secret is gone, is counted, and the length of the command line stays."""
    argv = ["librespot", *before, *(part.format(secret) for part in form), *after]
    ready, found = redact_argv(argv, OPTIONS)

    assert secret not in "\0".join(ready)
    assert HIDDEN in "\0".join(ready)
    assert found
    assert len(ready) == len(argv)


@pytest.mark.parametrize(
    "part",
    [
        "x",
        "a-",
        "a://",
        "://",
        "@",
        "?password=",
        "--password ",
        "%20-p",
        "; ",
        ";a",
        "=-",
        "&",
        "password\n",
        "'\"",
        "auth=",
    ],
)
@pytest.mark.parametrize("before", ["", "a://?password=", "-"])
def test_a_long_argument_takes_no_long_time(before: str, part: str) -> None:
    """Anybody on the host may start a program with an argument of 128 KiB: to look at it costs in proportion, not its square."""
    argument = before + part * (131_000 // len(part))
    began = time.process_time()
    redact_argv(["librespot", argument, f"--{argument}"], OPTIONS)

    assert time.process_time() - began < 2


@given(st.lists(st.text(max_size=30), max_size=8))
def test_redaction_ends_where_it_ends(argv: list[str]) -> None:
    """Any command line can be redacted, keeps its length, and redacting twice changes nothing more."""
    once, _ = redact_argv(argv, OPTIONS)

    assert len(once) == len(argv)
    assert redact_argv(once, OPTIONS)[0] == once


@given(plain)
def test_what_is_no_secret_stays(arguments: list[str]) -> None:
    """A command line without secrets is kept word for word, and nothing is reported."""
    assert redact_argv(["librespot", *arguments], OPTIONS) == (("librespot", *arguments), ())


@pytest.mark.parametrize(
    ("argv", "expected", "name"),
    [
        (["l", "--access-token", "abc", "-v"], ("l", "--access-token", "***", "-v"), "--access-token"),
        (["l", "--access-token=abc"], ("l", "--access-token=***"), "--access-token"),
        (["l", "-kabc"], ("l", "-k***"), "-k"),
        (["l", "-k", "-v"], ("l", "-k", "***"), "-k"),
        (["l", "-x", "http://u:p@h:1/"], ("l", "-x", "http://***@h:1/"), "URL"),
        (["l", "--proxy=http://u:p@h:1"], ("l", "--proxy=http://***@h:1"), "--proxy"),
    ],
)
def test_the_forms_one_by_one(argv: list[str], expected: tuple[str, ...], name: str) -> None:
    """The secret is named by its option, and only its value is hidden."""
    assert redact_argv(argv, OPTIONS) == (expected, (Secret("argv", name),))


@pytest.mark.parametrize(
    "argv",
    [
        ["l", "--disable-credential-cache", "-v"],
        ["l", "--username", "alice"],
        ["l", "-u", "alice"],
        ["l", "--name", "my token", "-n", "user@host"],
        ["l", "--access-token"],
        ["l", "--onevent", "/usr/bin/hook --verbose"],
    ],
)
def test_names_that_only_sound_like_secrets(argv: list[str]) -> None:
    """Flags, user names and values are no secrets by the sound of their words."""
    assert redact_argv(argv, OPTIONS) == (tuple(argv), ())


def test_the_environment_keeps_what_matters_and_no_secret() -> None:
    """Settings of the family and proxies stay, their secrets hidden; everything else is left out, and our own settings too."""
    kept, found = redact_environment(
        {
            "LIBRESPOT_NAME": "Küche",
            "LIBRESPOT_ACCESS_TOKEN": "abc",
            "LIBRESPOT_PROXY": "http://u:p@h:1",
            "LIBRESPOT_PASSWORD": "",
            "LIBRESPOT_GUARD_STATE": "/x",
            "https_proxy": "http://h:1",
            "ALL_PROXY": "socks5://u:p@h",
            "HOME": "/root",
            "AWS_SECRET_ACCESS_KEY": "abc",
        },
        LIBRESPOT,
    )

    assert kept == {
        "LIBRESPOT_NAME": "Küche",
        "LIBRESPOT_ACCESS_TOKEN": HIDDEN,
        "LIBRESPOT_PROXY": "http://***@h:1",
        "LIBRESPOT_PASSWORD": "",
        "https_proxy": "http://h:1",
        "ALL_PROXY": "socks5://***@h",
    }
    assert {s.name for s in found} == {"LIBRESPOT_ACCESS_TOKEN", "LIBRESPOT_PROXY", "ALL_PROXY"}


@given(st.text(max_size=60))
def test_text_without_a_url_stays(text: str) -> None:
    """Nothing but URLs is touched in free text."""
    assert redact_text(text) == text or "://" in text or "=" in text


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["l", "--zeroconf-port", "1"], [("--zeroconf-port", "1")]),
        (["l", "--zeroconf-port=1"], [("--zeroconf-port", "1")]),
        (["l", "-z", "1"], [("-z", "1")]),
        (["l", "-z1"], [("-z", "1")]),
        (["l", "-vz1"], [("-z", "1")]),
        (["l", "-nz1"], []),
        (["l", "--zeroconf-port-x=1"], []),
        (["l", "--zeroconf-port"], []),
        (["l", "--", "-z1"], []),
        (["l", "-z1", "-z2"], [("-z", "1"), ("-z", "2")]),
    ],
)
def test_values_of_an_option(argv: list[str], expected: list[tuple[str, str]]) -> None:
    """All forms of getopt are read; a letter inside another option's value is none."""
    assert values_of(argv, ["zeroconf-port", "z"], LIBRESPOT.arguments.flags) == expected
