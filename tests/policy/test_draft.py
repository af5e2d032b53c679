"""The policy of `init`: it loads whatever the host is, speaks of every service, and lets in the local networks only."""

import dataclasses
import re
from collections.abc import Sequence

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.policy import Policy, assign, draft, load, matching, read, unmatched
from librespot_guard.policy._yaml_text import comment, text
from librespot_guard.policy.document import LOADERS, parse
from librespot_guard.snapshot import Address, Link, Namespace, Service, Snapshot
from policy.factory import ETH0, HOME, LO, SERVICES, calm, host, listening, service

UNIT = service("living-room", unit="librespot.service", listeners=[listening(pinned=True)])


def loaded(snapshot: Snapshot) -> Policy:
    """The draft for a host, read back."""
    return load(draft(snapshot), file="draft")


def network(*links: tuple[Link, Sequence[Address]]) -> Namespace:
    """A namespace of these interfaces with their addresses, after loopback."""
    return Namespace(
        "1",
        home=True,
        links=(LO, *(link for link, _ in links)),
        addresses=tuple(a for _, addresses in links for a in addresses),
    )


def four(dev: str, address: str, length: int = 24) -> Address:
    """An IPv4 address."""
    return Address("ipv4", address, length, dev)


def six(dev: str, address: str, length: int = 64) -> Address:
    """An IPv6 address."""
    return Address("ipv6", address, length, dev)


def link(
    name: str, index: int = 7, *, up: bool = True, kind: str | None = None, arp_type: int = 1, master: str | None = None
) -> Link:
    """An interface."""
    return Link(index, name, up, arp_type, kind=kind, master=master)


def uncommented(text_: str) -> str:
    """The draft with the sources that were only shown taken into use."""
    out = re.sub(r"^  # (?=([\w\"-]+:$|  ))", "  ", text_, flags=re.MULTILINE)
    return (
        out.replace("sources: {}", "sources:")
        if re.search(r"^  [\w-]+:$", out.split("services:")[0], re.MULTILINE)
        else out
    )


def test_the_draft_of_a_small_host() -> None:
    """One service, one network: one source, one entry with a lasting match, open to the network and to nobody else."""
    policy = loaded(host(UNIT))
    lan, entry = policy.sources["lan"], policy.services["living-room"]

    assert [str(n) for n in lan.networks] == ["192.168.10.0/24", "fd00:10::/64", "fe80::/64"]
    assert (lan.interface, lan.why) == ("eth0", "everybody on this network: narrow it")
    assert (entry.match.flavour, entry.match.unit, entry.match.name) == ("librespot", "librespot.service", None)
    assert entry.allow == {"discovery": ("lan",), "connect": ("lan",)}
    assert policy.warnings == ()
    assert (policy.title, policy.review) == ("Spotify Connect on speaker", "every 3 months")


def test_it_explains_itself() -> None:
    """Each key of the format that works today is explained, and what denying a surface means."""
    written = draft(host(service(listeners=[listening(3678, "api"), listening(5353, "discovery", proto="udp")])))

    for key in ("hosts", "networks", "interface", "why", "expires", "owner", "match", "allow"):
        assert re.search(rf"^#   {key}  ", written, re.MULTILINE)
    for surface in ("discovery", "connect", "api"):
        assert re.search(rf"^      # {surface}: .*\.", written, re.MULTILINE)
    assert written.count("Denied:") == 3
    assert "TODO" not in written
    assert max(map(len, written.splitlines())) <= 120


def test_other_surfaces_are_closed() -> None:
    """A control API that was found is named, and nobody may reach it until somebody is written down."""
    policy = loaded(host(service(listeners=[listening(3678, "api"), listening(9999, "unknown")])))

    assert policy.services["living-room"].allow == {"discovery": ("lan",), "connect": ("lan",), "api": ()}


def test_without_a_service() -> None:
    """No service: the policy loads with a warning, and the entry it shows loads when it is used."""
    written = draft(host())
    policy = load(written, file="draft")
    head, _, tail = written.partition("services: {}")
    used = load(f"{head}services:{re.sub('^# (?=  )', '', tail, flags=re.MULTILINE)}", file="draft")

    assert policy.services == {}
    assert any("nothing is guarded" in w for w in policy.warnings)
    assert used.services["living-room"].allow == {"discovery": ("lan",), "connect": ("lan",)}


@pytest.mark.parametrize(
    ("interface", "addresses", "expected"),
    [
        (link("wlan0"), [four("wlan0", "10.0.0.7", 16)], {"lan": True}),
        (link("br0", kind="bridge"), [four("br0", "10.0.0.7")], {"containers": False}),
        (link("docker0", kind="bridge"), [four("docker0", "172.17.0.1", 16)], {"containers": False}),
        (link("virbr0", kind="bridge"), [four("virbr0", "192.168.122.1")], {"containers": False}),
        (link("veth12ab34c", kind="veth"), [four("veth12ab34c", "10.1.0.1")], {"containers": False}),
        (link("eth0", kind="veth"), [four("eth0", "172.17.0.2", 16)], {"lan": True}),
        (link("wg0", arp_type=65534), [four("wg0", "10.8.0.1")], {"vpn": False}),
        (link("tun0", kind="tun"), [], {"vpn": False}),
        (link("office", kind="wireguard"), [], {"vpn": False}),
        (link("eth0", up=False), [four("eth0", "10.0.0.7")], {"lan": False}),
        (link("eth0"), [four("eth0", "203.0.113.7"), six("eth0", "2001:db8::7")], {"lan": True}),
        (link("eth0"), [six("eth0", "2001:db8::7")], {"lan": True}),
        (link("eth0"), [four("eth0", "10.0.0.7", 32), six("eth0", "2001:db8::7", 128)], {}),
        (link("eth0"), [six("eth0", "fe80::7"), four("eth0", "169.254.3.4", 16)], {}),
        (link("eth0"), [], {}),
        (LO, [four("lo", "127.0.0.1", 8)], {}),
        (link('e"th'), [four('e"th', "10.0.0.7")], {}),
    ],
)  # fmt: skip
def test_what_an_interface_suggests(interface: Link, addresses: Sequence[Address], expected: dict[str, bool]) -> None:
    """Local networks are proposed; tunnels and containers are shown as comments; the rest suggests nothing."""
    written = draft(host(UNIT, namespaces=[network((interface, addresses))]))
    active = load(written, file="draft").sources
    shown = load(uncommented(written), file="draft").sources

    assert {name: name in active for name in shown} == expected


def test_a_bridge_with_a_cable_is_a_local_network() -> None:
    """A bridge that a physical interface is part of is no bridge of containers."""
    namespace = network((link("br0", kind="bridge"), [four("br0", "10.0.0.7")]), (link("enp1s0", 8, master="br0"), []))

    assert loaded(host(UNIT, namespaces=[namespace])).sources["lan"].interface == "br0"


def test_beside_a_private_network_a_public_one_is_left_to_the_user() -> None:
    """A router's side towards the internet is shown, and not let in."""
    namespace = network((link("wan0"), [four("wan0", "203.0.113.7")]), (link("lan0", 8), [four("lan0", "192.168.1.1")]))
    written = draft(host(UNIT, namespaces=[namespace]))

    assert {s.interface for s in load(written, file="d").sources.values()} == {"lan0"}
    assert {s.interface for s in load(uncommented(written), file="d").sources.values()} == {"lan0", "wan0"}
    assert "may be strangers" in written


def test_several_networks_get_names_of_their_own() -> None:
    """Two local networks are two sources, named by their interfaces, and both are let in."""
    namespace = network((ETH0, [four("eth0", "192.168.10.2")]), (link("wlan0.20"), [four("wlan0.20", "10.0.0.2")]))
    policy = loaded(host(UNIT, namespaces=[namespace]))

    assert list(policy.sources) == ["lan-eth0", "lan-wlan0-20"]
    assert policy.services["living-room"].allow["connect"] == ("lan-eth0", "lan-wlan0-20")


def test_a_service_in_another_namespace_gets_its_own_networks() -> None:
    """Who may reach a container's service comes in over the interfaces of the container's namespace."""
    inside = dataclasses.replace(network((ETH0, [four("eth0", "172.17.0.2", 16)])), id="2", home=False)
    policy = loaded(host(UNIT, service("kitchen", netns="2"), namespaces=[HOME, inside]))
    networks = {
        name: [str(n) for n in policy.sources[name].networks] for name in policy.services["kitchen"].allow["connect"]
    }

    assert networks == {"lan-eth0-2": ["172.17.0.0/16"]}
    assert policy.services["living-room"].allow["connect"] == ("lan-eth0",)


@pytest.mark.parametrize(
    ("services", "expected"),
    [
        # a unit lasts longest
        ([UNIT], [{"unit": "librespot.service"}]),
        # a name the service announces, but not the one it has for want of a better
        ([service("kitchen")], [{"name": "kitchen"}]),
        ([service("librespot")], [{}]),
        ([service("librespot", title="librespot")], [{"name": "librespot"}]),
        # a name that counts the order of starts is none
        ([service("kitchen"), service("kitchen-2", pid=2)], [{}]),
        ([service("kitchen", listeners=[listening(1, pinned=True)]), service("kitchen-2", pid=2, listeners=[listening(2, pinned=True)])],
         [{"port": 1}, {"port": 2}]),
        # one unit that runs two
        ([dataclasses.replace(UNIT, name="a"), dataclasses.replace(UNIT, name="b", pid=2)], [{"name": "a"}, {"name": "b"}]),
        # a container's name lasts, its id does not
        ([service("librespot", container="speaker")], [{"container": "speaker"}]),
        ([service("kitchen", container="0123456789ab")], [{"name": "kitchen"}]),
        # two containers with nothing else
        ([service("librespot", container="0123456789ab"), service("librespot-2", container="ba9876543210", pid=2)],
         [{"container": "0123456789ab"}, {"container": "ba9876543210"}]),
        # what one entry can't leave out is part of it
        ([UNIT, service("librespot", pid=2)], [{}]),
        ([service("a", unit="user@1000.service")], [{"name": "a"}]),
    ],
)  # fmt: skip
def test_a_match_survives_a_restart(services: Sequence[Service], expected: Sequence[dict[str, object]]) -> None:
    """Beside the flavour, the match has what lasts longest and tells the services apart; never a pid, never a random port."""
    matches = [e.match for e in loaded(host(*services)).services.values()]
    keys = ("unit", "name", "container", "port")

    assert [{k: getattr(m, k) for k in keys if getattr(m, k) is not None} for m in matches] == expected
    assert {m.flavour for m in matches} == {"librespot"}


def test_a_family_member_that_is_not_known() -> None:
    """A flavour that a policy can't name is matched by what else is known; where nothing is, the draft says so."""
    named = host(service("kitchen", "newcomer"))
    nameless = host(service("newcomer", "newcomer"), UNIT)

    assert [a.entry.match.name for a in assign(loaded(named), named)] == ["kitchen"]
    assert "fix it in its settings" in draft(named)
    assert [a.service.name for a in assign(loaded(nameless), nameless)] == ["living-room"]
    assert "1 service can't be named in a policy" in draft(nameless)


def test_a_random_port_is_pointed_out() -> None:
    """Where a port changes with each restart, the draft says how to fix the one that is in use."""
    assert "--zeroconf-port 37123" in draft(host(service()))
    assert "after each restart" not in draft(host(UNIT))


@calm
@given(st.lists(SERVICES, max_size=6), st.text(max_size=10))
def test_every_draft_loads_and_speaks_of_every_service(services: Sequence[Service], hostname: str) -> None:
    """For any host: no fault by either loader, every service has exactly one entry, and every entry has a service."""
    snapshot = host(*services, hostname=hostname)
    written = draft(snapshot)
    for loader in LOADERS:
        assert read(written, file="draft", loader=loader).errors == ()
    policy = load(written, file="draft")

    assert [a.service for a in assign(policy, snapshot)] == list(snapshot.services)
    assert all(len(matching(policy, s)) == 1 for s in services)
    assert unmatched(policy, snapshot) == ()


@calm
@given(
    st.text() | st.sampled_from(["no", "Yes", "12", "1e3", "0o7", "null", "~", "12:30", "a: b", "a #b", "-", "", " x"])
)
def test_text_that_is_written_is_read_back(value: str) -> None:
    """Any text is the same after writing and reading, also by a reader of YAML 1.1."""
    written = f"- {text(value)}\n"

    assert all(parse(written, file="f", loader=loader).value == [value] for loader in LOADERS)
    assert yaml.safe_load(written) == [value]


def test_what_yaml_cannot_write_is_refused() -> None:
    """Half a character can't be written."""
    with pytest.raises(ValueError, match="not Unicode"):
        text("\ud800")


@calm
@given(st.text(), st.integers(0, 8))
def test_a_comment_stays_a_comment(words: str, indent: int) -> None:
    """Whatever a comment holds, each of its lines is one."""
    lines = comment(words, indent=indent)

    assert all(line.startswith(" " * indent + "# ") and line.isprintable() for line in lines)
    assert parse("\n".join(lines), file="f").value is None
    assert parse("\n".join(lines), file="f").faults == ()
