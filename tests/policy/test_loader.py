"""A policy file to values: the example of the design, defaults, places, warnings, and bounded time."""

import time
from datetime import date
from ipaddress import ip_network
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.errors import InputError
from librespot_guard.policy import Match, Where, load, read
from librespot_guard.policy.document import LOADERS
from policy.factory import calm

DESIGN = """\
policy: 1
title: Living-room speaker
owner: ops@example.org
review: every 3 months

sources:
  home:    {networks: [192.168.10.0/24, "fd00:10::/64"], interface: eth0, why: family phones}
  app:     {hosts: [192.168.20.5], why: the booking application drives playback, expires: 2027-06-30}
  vpn:     {interface: wg0, why: administrators}

services:
  living-room:
    match: {flavour: go-librespot, unit: go-librespot.service}
    allow:
      discovery: [home]
      connect:   {from: [home], accounts: [alice, bob], takeover: when-idle}
      api:       {from: [app, vpn], through: gateway}
    bind:   {api: localhost, connect: eth0}
    egress: spotify
    limits: {connect: 5/minute per source}
"""
SMALL = """\
policy: 1
services:
  speaker:
    match: {flavour: librespot}
"""


def test_the_example_of_the_design() -> None:
    """Every key of the format is read into its place."""
    policy = load(DESIGN, file="policy.yaml")
    home, app, vpn = policy.sources.values()
    entry = policy.services["living-room"]

    assert (policy.title, policy.owner, policy.review) == ("Living-room speaker", "ops@example.org", "every 3 months")
    assert home.networks == (ip_network("192.168.10.0/24"), ip_network("fd00:10::/64"))
    assert (home.interface, home.why, home.expires, home.owner) == ("eth0", "family phones", None, None)
    assert (app.networks, app.interface, app.expires) == ((ip_network("192.168.20.5/32"),), None, date(2027, 6, 30))
    assert (vpn.networks, vpn.interface) == ((), "wg0")
    assert entry.match == Match(flavour="go-librespot", unit="go-librespot.service")
    assert entry.allow == {"discovery": ("home",), "connect": ("home",), "api": ("app", "vpn")}
    assert (home.where, entry.where) == (Where("policy.yaml", 7, 3), Where("policy.yaml", 12, 3))
    assert policy.warnings == ()


def test_what_nothing_enforces_is_kept_with_its_place() -> None:
    """Keys that no target can hold are recorded, each where it stands, so that a plan can refuse."""
    entry = load(DESIGN, file="p").services["living-room"]

    assert [(key, at.line, at.column) for key, at in entry.unenforced] == [
        ("accounts", 16, 33),
        ("takeover", 16, 57),
        ("through", 17, 37),
        ("bind", 18, 5),
        ("egress", 19, 5),
        ("limits", 20, 5),
    ]


def test_a_small_policy_denies() -> None:
    """What is left out is nobody; the title is then the file, and the warnings say what is missing."""
    policy = load(SMALL, file="p.yaml")

    assert policy.services["speaker"].allow == {}
    assert policy.services["speaker"].unenforced == ()
    assert (policy.title, policy.owner, policy.review, policy.sources) == ("p.yaml", "", "", {})
    assert [w.split(" (")[0] for w in policy.warnings] == [
        "p.yaml:1:1: no `title`",
        "p.yaml:1:1: no `owner`",
        "p.yaml:1:1: no `review`",
    ]


def test_text_is_tidied() -> None:
    """A folded text is one line; a unit without a suffix is a service."""
    policy = load(
        "policy: 1\ntitle: >\n  Living\n  room\nreview: every  2 weeks\n"
        "services: {a: {match: {unit: raspotify, port: 010}}}\n",
        file="p",
    )

    assert (policy.title, policy.review) == ("Living room", "every 2 weeks")
    assert policy.services["a"].match == Match(unit="raspotify.service", port=10)


def test_the_same_source_twice_counts_once() -> None:
    """A host that is named twice, and a source that is allowed twice, stand in the policy once."""
    policy = load(
        "policy: 1\nsources: {a: {hosts: [10.0.0.1, 10.0.0.1], networks: [10.0.0.1/32], why: x}}\n"
        "services: {s: {match: {port: 1}, allow: {api: [a, a]}}}\n",
        file="p",
    )

    assert policy.sources["a"].networks == (ip_network("10.0.0.1/32"),)
    assert policy.services["s"].allow == {"api": ("a",)}


def lines(text: str) -> list[str]:
    """Every way to take one line out of a policy."""
    every = text.splitlines(keepends=True)
    return ["".join(every[:n] + every[n + 1 :]) for n in range(len(every))]


@pytest.mark.parametrize("text", lines(DESIGN))
def test_losing_a_line_never_lets_more_in(text: str) -> None:
    """A policy from which a line is lost is a fault, or allows no source and no address more than before."""
    whole = load(DESIGN, file="p")
    part = read(text, file="p").policy
    if part is None:
        return
    for name, entry in part.services.items():
        for surface, sources in entry.allow.items():
            assert set(sources) <= set(whole.services[name].allow[surface])
    for name, source in part.sources.items():
        assert source == source.__class__(
            **{
                **{f: getattr(whole.sources[name], f) for f in source.__dataclass_fields__},
                "where": source.where,
            }
        )


KEYS = st.sampled_from(
    ["policy", "title", "owner", "review", "sources", "services", "hosts", "networks", "interface", "why", "expires", "names", "match", "allow",
     "flavour", "unit", "name", "container", "port", "discovery", "connect", "api", "from", "accounts", "takeover", "through", "bind", "egress", "limits", "home", "x"]
)  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers(-1, 70000) | st.floats(allow_nan=False) | st.text(max_size=8) | KEYS
    | st.sampled_from(["10.0.0.0/8", "10.0.0.1", "fd00::/8", "eth0", "2027-06-30", "every 3 months", "librespot", "5/minute"])
)  # fmt: skip
ANYTHING = st.recursive(LEAVES, lambda i: st.lists(i, max_size=3) | st.dictionaries(KEYS, i, max_size=5), max_leaves=25)


@calm
@given(ANYTHING, ANYTHING, ANYTHING)
def test_any_shape_is_a_policy_or_faults(sources: Any, services: Any, more: Any) -> None:
    """Values of every shape in every place end as a policy or as faults with places, never as another error."""
    top = more if isinstance(more, dict) else {}
    text = yaml.safe_dump({"policy": 1, "sources": sources, "services": services, **top}, width=1000)
    reading = read(text, file="p")

    assert (reading.policy is None) == bool(reading.errors)
    assert all(f.where.line >= 1 and (f.text[0].islower() or f.text[0] == "`") for f in reading.errors)


@calm
@given(st.text() | st.text(st.sampled_from("policy: 1\nsorechmat{}[]-#'\"&*!|>%@")))
def test_any_text_is_a_policy_or_an_input_error(text: str) -> None:
    """Nonsense raises InputError with at least one place, and nothing else."""
    try:
        load(text, file="p")
    except InputError as error:
        assert str(error).startswith("p:")  # noqa: PT017 - a text may be a policy


HUGE = {
    "items": "- a\n" * 14000,
    "keys": "".join(f"k{i}: 1\n" for i in range(6000)),
    "brackets": "[" * 60000,
    "dashes": "- " * 30000,
    "open quote": 'a: "' + "x\n" * 28000,
    "anchors": "- &a x\n" * 8000,
    "documents": "---\n" * 14000,
    "unknown sources": "policy: 1\nsources:\n"
    + "".join(f"  source{i}: {{interface: e, why: x}}\n" for i in range(400))
    + "services:\n  a:\n    match: {name: a}\n    allow:\n      api:\n"
    + "".join(f"        - sorce{i}\n" for i in range(2000)),
}


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("text", HUGE.values(), ids=HUGE)
def test_hostile_text_takes_bounded_time(text: str, loader: Any) -> None:
    """64 kB of the worst text is refused within seconds of processor time, by either loader."""
    start = time.process_time()
    reading = read(text, file="p", loader=loader)

    assert reading.errors
    assert time.process_time() - start < 10


@calm
@given(st.integers(2, 60))
def test_a_large_policy_loads(count: int) -> None:
    """Policies with many sources and services load whole."""
    text = "policy: 1\nsources:\n"
    text += "".join(f"  s{i}: {{hosts: [10.0.{i}.1], why: number {i}}}\n" for i in range(count))
    text += "services:\n" + "".join(
        f"  e{i}: {{match: {{name: n{i}}}, allow: {{api: [s{i}]}}}}\n" for i in range(count)
    )
    policy = load(text, file="p")

    assert len(policy.sources) == len(policy.services) == count
    assert all(e.allow == {"api": (f"s{i}",)} for i, e in enumerate(policy.services.values()))
