"""What a bridge makes of packets for the host itself, and what of interfaces is not known where only their names were given."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from librespot_guard.reach import Packet, Worlds
from librespot_guard.reach.interpreter import trace
from librespot_guard.snapshot import NftDump, OtherFilter
from reach.places import PORT, agree, place
from support import Guard

GIVEN = ("--address", "br0=192.168.10.2/24", "--address", "eth1=10.9.0.2/24")


@pytest.mark.kernel
def test_the_port_by_which_a_packet_came_into_a_bridge() -> None:
    """`-m physdev --physdev-in` holds of packets that a bridge takes in: never "dropped" for certain, as on an interface that is no bridge."""
    with place() as stage:
        far = stage.later["br7"] = stage.sandbox.host("far")
        stage.sandbox.link(stage.host, "port7", far, "p")
        stage.host.ip("link add br7 type bridge", "link set br7 up", "link set port7 master br7")
        for rule in (
            "-P INPUT DROP",
            "-A INPUT -m physdev --physdev-in port7 -j ACCEPT",
            "-A INPUT -s 192.0.2.0/24 -m physdev --physdev-is-bridged -j ACCEPT",
        ):
            done = stage.host.run(["iptables-nft", *rule.split()])
            assert done.returncode == 0, done.stderr
        for iface, source, arrives, said in (
            ("br7", "192.168.10.9", True, "undecided"),
            ("eth0", "192.168.10.9", False, "dropped"),
            ("eth0", "192.0.2.9", False, "dropped"),
        ):
            packet = Packet(iface, source, "192.168.10.2", "udp", dport=PORT)
            assert stage.arrives(packet) == arrives
            assert trace(next(iter(stage.worlds().values())), packet).verdict == said


@pytest.mark.kernel
def test_what_an_interface_lies_on() -> None:
    """A frame goes through the hooks of the device below its own: of a macvlan (or VLAN) what is filtered there is a doubt, not "exact"."""
    with place() as stage:
        stage.later["mv0"] = stage.guest
        stage.host.ip("link add mv0 link eth1 type macvlan mode bridge", "link set mv0 up")
        stage.host.address("mv0", "10.8.0.2/24")
        packet = Packet("mv0", "10.8.0.9", "10.8.0.2", "udp", dport=PORT)
        assert agree(stage, packet)
        chain = "type filter hook ingress device eth1 priority 0; policy accept; udp dport 1 drop"
        stage.load(f"table netdev n {{ chain e {{ {chain} }} }}")
        assert stage.arrives(packet)
        found = trace(next(iter(stage.worlds().values())), packet)
        assert found.verdict == "undecided"
        assert found.because == ("netdev n e: what happens on `eth1`, on which `mv0` lies, is not analysed",)
        snapshot = stage.snapshot()
        programs = (OtherFilter("xdp", "eth1", "program 7"),)
        home = replace(snapshot.home, other_filters=programs, nft=NftDump(0, b""), texts=())
        with_xdp = Worlds(replace(snapshot, namespaces=(home,)))[home.id]
        assert trace(with_xdp, packet).because == ("xdp eth1: this kind of packet filter is not analysed",)


@pytest.mark.parametrize(
    "condition",
    [
        {"match": {"op": "==", "left": {"meta": {"key": "iifkind"}}, "right": "bridge"}},
        {"match": {"op": "==", "left": {"meta": {"key": "iifgroup"}}, "right": 5}},
    ],
    ids=["kind", "group"],
)
def test_only_the_name_of_an_interface_is_known(guard: Guard, tmp_path: Path, condition: object) -> None:
    """Kind and group of an interface are in no listing: rules that ask for them are bounds of an imported host, for both commands."""
    path = tmp_path / "s.json"
    at = {"family": "inet", "table": "f"}
    hook = {"type": "filter", "hook": "input", "prio": 0, "policy": "drop"}
    listing = [
        {"metainfo": {"version": "1.1.5"}},
        {"table": {"family": "inet", "name": "f", "handle": 1}},
        {"chain": {**at, "name": "i", "handle": 1, **hook}},
        {"rule": {**at, "chain": "i", "handle": 2, "expr": [condition, {"accept": None}]}},
    ]
    done = guard("snapshot", "import", "-o", path, "--nft-json", "-", *GIVEN, stdin=json.dumps({"nftables": listing}))
    assert done.returncode == 0, done.stderr
    done = guard("reach", "--snapshot", path, "--to", "tcp/3678", "--format", "json")
    (answer,) = [a for a in json.loads(done.stdout)["answers"] if a["interface"] == "br0" and a["family"] == "ipv4"]
    assert (answer["exact"], answer["may"], answer["must"]) == (False, ["0.0.0.0/0"], [])
    packet = ("--iface", "br0", "--from", "192.168.10.9", "--to", "tcp/3678@192.168.10.2")
    done = guard("trace", "--snapshot", path, *packet, "--format", "jsonl")
    assert json.loads(done.stdout)["verdict"] == "undecided"
