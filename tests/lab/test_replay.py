"""Rules loaded again from a dump are the rules that were dumped, whatever is in them."""

from dataclasses import replace

import pytest

from librespot_guard import firewall
from librespot_guard.collect import read_nft
from librespot_guard.errors import InputError, MachineError
from librespot_guard.firewall.model import Ruleset, Table
from librespot_guard.lab import replay
from librespot_guard.lab.sandbox import Host, Sandbox
from librespot_guard.snapshot import NftDump
from librespot_guard.targets.compare import canonical

RULES = r"""
table inet off {
  flags dormant
  chain input { type filter hook input priority 5; policy drop; }
}
table inet big {
  counter c1 { packets 3 bytes 4; }
  limit l1 { rate 5/minute; }
  set tmo { type ipv4_addr; flags timeout, dynamic; timeout 1h; elements = { 192.0.2.4 timeout 5m expires 3m, 192.0.2.8 }; }
  set iv { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.168.0.0/16, 172.16.0.5-172.16.0.9, 255.255.255.0/24, 0.0.0.0/8 }; }
  set iv6 { type ipv6_addr; flags interval, timeout; elements = { fd00::/8 timeout 10s, ::/16 }; }
  set cc { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0/8 . 80-90, 192.0.2.4 . 22 }; }
  map gate { type nf_proto : verdict; flags timeout; elements = { ipv4 timeout 30s : goto pol }; }
  map ports { type inet_service : ipv4_addr; elements = { 80 : 192.0.2.4 }; }
  map counters { type ipv4_addr : counter; elements = { 192.0.2.1 : "c1" }; }
  chain pol {
    tcp dport { 80, 443 } ip saddr @iv accept comment "web"
    tcp dport vmap { 22 : accept, 23-25 : drop }
    jump {
      udp dport 53 drop
    }
    ct state established,related accept
    ct count over 5 drop
    limit rate 5/second accept
    log prefix "x" group 2
    fib saddr . iif oif missing drop
    iif lo accept
    iifname "eth*" accept
    meta mark set 0x5
    ip saddr . tcp dport @cc drop
    update @tmo { ip saddr limit rate 5/second }
    counter name "c1"
    counter name ip saddr map @counters
    limit name "l1" drop
    tcp flags & (syn|rst) == syn reject with tcp reset
    reject with icmpx admin-prohibited
    ip6 saddr @iv6 drop
    numgen random mod 2 0 drop
    ether saddr 00:11:22:33:44:55 drop
  }
  chain input {
    type filter hook input priority 0; policy drop;
    meta nfproto vmap @gate
  }
  chain raw {
    type filter hook prerouting priority raw;
    notrack
  }
  chain forward {
    type filter hook forward priority 0;
    tcp option maxseg size set rt mtu
  }
  chain nat {
    type nat hook prerouting priority dstnat;
    ip daddr 192.0.2.4 dnat ip to tcp dport map @ports
    tcp dport 8080 redirect to :80
  }
}
table netdev early {
  chain ingress {
    type filter hook ingress device "eth0" priority 0;
    ip saddr 192.0.2.9 drop
  }
}
"""


def _host(box: Sandbox, name: str) -> Host:
    host = box.host(name)
    host.ip("link add eth0 type veth peer name far", "link set eth0 up")
    return host


def _dump(host: Host) -> NftDump:
    return host.call(lambda: read_nft(texts=False))


def _rules(dump: NftDump) -> list[Table]:
    decoded: Ruleset = firewall.decode(dump, byteorder="little")
    assert decoded.incomplete == ()
    return [canonical(table) for table in decoded.tables]


@pytest.mark.kernel
def test_rules_come_back_the_same() -> None:
    """Every kind of set, map, object, chain and expression that nft 1.0.6 writes is loaded as it was."""
    with Sandbox() as box:
        one, other = _host(box, "one"), _host(box, "other")
        one.run(["nft", "-f", "-"], input=RULES, check=True)
        dump = _dump(one)
        other.call(lambda: replay.load(dump, byteorder="little"))
        assert len(_rules(dump)) == 3
        assert _rules(_dump(other)) == _rules(dump)


@pytest.mark.kernel
def test_iptables_rules_come_back_the_same() -> None:
    """Xt matches and targets, which need the protocol that a dump leaves out, are accepted by the kernel again."""
    commands = [
        "-A INPUT -p tcp -m multiport --dports 80,443 -m conntrack --ctstate NEW -j ACCEPT",
        "-A INPUT -p udp -m udp --sport 53 -m comment --comment hi -j LOG",
        "-A INPUT -p tcp --tcp-flags SYN,RST SYN -j REJECT --reject-with tcp-reset",
        "-A INPUT -m limit --limit 5/min -j ACCEPT",
        "-A INPUT -p tcp -m tcp --tcp-option 5 -j DROP",
        "-t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 8080",
        "-P INPUT DROP",
    ]
    with Sandbox() as box:
        one, other = _host(box, "one"), _host(box, "other")
        if one.run(["sh", "-c", "command -v iptables-nft"]).returncode != 0:
            pytest.skip("iptables-nft is missing (Debian package iptables)")
        for command in commands:
            one.run(["iptables-nft", *command.split()], check=True)
        dump = _dump(one)
        other.call(lambda: replay.load(dump, byteorder="little"))
        assert _rules(_dump(other)) == _rules(dump)


@pytest.mark.kernel
def test_running_elements_do_not_end_meanwhile() -> None:
    """An element that has a second left stands in the copy for as long as packets may take."""
    rules = "table inet t {\n set s { type ipv4_addr; flags timeout; elements = { 192.0.2.1 timeout 2s }; }\n}\n"
    with Sandbox() as box:
        one, other = _host(box, "one"), _host(box, "other")
        one.run(["nft", "-f", "-"], input=rules, check=True)
        dump = _dump(one)
        other.call(lambda: replay.load(dump, byteorder="little"))
        assert "192.0.2.1 timeout 1h" in other.run(["nft", "-s", "list", "ruleset"]).stdout


@pytest.mark.kernel
def test_what_the_kernel_refuses_is_named_and_nothing_is_loaded() -> None:
    """An expression that this kernel lacks is refused by table and chain, and no other table is left behind."""
    rules = "table inet a {\n}\ntable inet t {\n chain c {\n  counter accept\n }\n}\n"
    with Sandbox() as box:
        one, other = _host(box, "one"), _host(box, "other")
        one.run(["nft", "-f", "-"], input=rules, check=True)
        dump = _dump(one)
        strange = replace(dump, data=dump.data.replace(b"counter\0", b"mystery\0"))
        with pytest.raises(MachineError, match="refused a rule of chain c in table t"):
            other.call(lambda: replay.load(strange, byteorder="little"))
        assert _dump(other).data == b""


def test_another_byte_order_is_refused() -> None:
    """Rules of a machine of the other byte order can't be loaded here, and that is said."""
    with pytest.raises(MachineError, match="byte order"):
        replay.load(NftDump(1, b""), byteorder="big")


@pytest.mark.kernel
def test_a_cut_dump_is_an_input_error() -> None:
    """A dump that ends within a message is refused before anything is loaded."""
    with Sandbox() as box:
        one = _host(box, "one")
        one.run(["nft", "add", "table", "inet", "t"], check=True)
        dump = _dump(one)
    with pytest.raises(InputError, match="cut"):
        replay.requests(replace(dump, data=dump.data[:-4]))
