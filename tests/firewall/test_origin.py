"""Whose rule it is: names and texts as ufw 0.36, firewalld 1.3, Docker and others left them in the kernel."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.firewall.origin import OWN_TABLE, origin


@pytest.mark.parametrize(
    ("family", "chain", "text", "words"),
    [
        ("ip", "ufw-user-input", "tcp dport 22 counter packets 0 bytes 0 accept", "ufw allow 22/tcp"),
        (
            "ip",
            "ufw-user-input",
            "ip saddr 192.168.10.0/24 tcp dport 3678 counter packets 0 bytes 0 accept",
            "ufw allow from 192.168.10.0/24 to any port 3678 proto tcp",
        ),
        (
            "ip",
            "ufw-user-input",
            "udp dport 5353 counter packets 1 bytes 2 jump ufw-user-limit-accept",
            "ufw limit 5353/udp",
        ),
        (
            "ip",
            "ufw-user-input",
            "ip saddr 203.0.113.0/24 counter packets 0 bytes 0 drop",
            "ufw deny from 203.0.113.0/24",
        ),
        ("ip6", "ufw6-user-input", "tcp dport 22 counter packets 0 bytes 0 accept", "ufw allow 22/tcp"),
        (
            "ip",
            "ufw-user-forward",
            'iifname "wlan0" ip daddr 172.17.0.2 tcp dport 80 counter accept',
            "ufw route allow in on wlan0 from any to 172.17.0.2 port 80 proto tcp",
        ),
        ("ip", "ufw-user-input", "tcp dport 6000-6007 counter reject", "ufw reject 6000:6007/tcp"),
        ("ip", "ufw-user-input", "udp dport 5353 ct state new xt match recent counter packets 0 bytes 0", ""),
        ("ip", "ufw-user-input", "", ""),
    ],
)
def test_the_command_that_made_a_rule_of_ufw(family: str, chain: str, text: str, words: str) -> None:
    """A rule in a user chain is told in ufw's own words, where it is one that its simple syntax makes; else not at all."""
    found = origin(family, "filter", chain, text=text)
    assert (found.manager, found.words) == ("ufw", words)
    assert (f"`ufw delete {words[4:]}`" if words else "ufw status numbered") in found.change


@pytest.mark.parametrize(
    ("chain", "says"),
    [
        ("ufw-before-input", "/etc/ufw/before.rules"),
        ("ufw6-after-input", "/etc/ufw/after6.rules"),
        ("ufw-skip-to-policy-input", "ufw default"),
    ],
)
def test_what_ufw_brings_along(chain: str, says: str) -> None:
    """Rules of its files and of its frame are told from those that were given to it."""
    assert says in origin("ip", "filter", chain, text="drop").change


@pytest.mark.parametrize(
    ("chain", "text", "place", "words"),
    [
        (
            "filter_IN_public_allow",
            "tcp dport 3678 accept",
            "zone public (allow)",
            "firewall-cmd --zone=public --add-port=3678/tcp",
        ),
        (
            "filter_IN_home_allow",
            "ip saddr 192.168.10.0/25 tcp dport 4070 accept",
            "zone home (allow)",
            "firewall-cmd --zone=home --add-rich-rule='rule family=ipv4 source address=192.168.10.0/25 port port=4070 protocol=tcp accept'",
        ),
        ("filter_IN_home_allow", 'udp dport 137 ct helper set "x"', "zone home (allow)", ""),
        ("filter_FWD_policy_allow-host-ipv6_deny", "drop", "policy allow-host-ipv6 (deny)", ""),
        ("filter_INPUT", "ct state invalid drop", "own frame (filter_INPUT)", ""),
    ],
)
def test_firewalld_in_its_words(chain: str, text: str, place: str, words: str) -> None:
    """Zone, policy and part are read from the chain; a port and a rich rule from the text."""
    found = origin("inet", "firewalld", chain, text=text)
    assert found.manager == "firewalld"
    assert place in found.place
    assert found.words == words


@pytest.mark.parametrize(
    ("family", "table", "chain", "manager"),
    [
        ("ip", "nat", "DOCKER", "Docker"),
        ("ip", "filter", "DOCKER-USER", "Docker"),
        ("ip", "docker-bridges", "filter-forward-in__docker0", "Docker"),
        ("ip", "nat", "NETAVARK-DN-1", "Podman"),
        ("ip", "filter", "LIBVIRT_INP", "libvirt"),
        ("ip", "filter", "f2b-sshd", "fail2ban"),
        ("ip", "filter", "INPUT", "iptables"),
        ("ip6", "mangle", "PREROUTING", "iptables"),
        ("inet", "filter", "input", "nftables"),
        ("inet", OWN_TABLE, "policy_1", "librespot-guard"),
        ("ip", "filter", "DOCKERED", "iptables"),
    ],
)
def test_who_it_is(family: str, table: str, chain: str, manager: str) -> None:
    """The program is told by the names of table and chain."""
    assert origin(family, table, chain).manager == manager


def test_what_to_do_names_the_rule() -> None:
    """A native rule is removed by its handle, an iptables rule by its number, each with the file that brings it back at boot."""
    assert "nft delete rule inet filter input handle 7" in origin("inet", "filter", "input", handle=7).change
    assert "iptables-legacy -t filter -D INPUT" in origin("ip", "filter (legacy)", "INPUT").change
    assert "ip6tables -t filter -D INPUT" in origin("ip6", "filter", "INPUT").change


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=200))
def test_any_name_has_an_origin(table: str, chain: str, text: str) -> None:
    """Whatever the names are, there is an answer."""
    assert origin("inet", table, chain, text=text).change
