"""Single values of a policy: what is taken, and what is refused with a better proposal."""

from collections.abc import Callable
from datetime import date
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librespot_guard.policy import values
from policy.factory import NETWORKS, calm


@calm
@given(NETWORKS)
def test_every_true_network_is_read(network: object) -> None:
    """A network is read as itself, unless it is IPv4 in IPv6 form or multicast."""
    given_text = str(network)
    expected = ip_network(given_text)
    mapped = expected.version == 6 and expected.subnet_of(ip_network("::ffff:0:0/96"))  # type: ignore[arg-type]
    if mapped or (expected.is_multicast and expected.prefixlen > 0):
        with pytest.raises(ValueError, match=r"IPv6 form|multicast"):
            values.network(given_text)
    else:
        assert values.network(given_text) == expected


@calm
@given(st.ip_addresses(), st.integers(0, 128))
def test_host_bits_are_refused_with_the_network_that_was_meant(address: object, length: int) -> None:
    """An address with a prefix length that leaves host bits set is refused, and the message holds the true network."""
    parsed = ip_address(str(address))
    length = min(length, parsed.max_prefixlen)
    around = ip_network(f"{parsed}/{length}", strict=False)
    if around.network_address != parsed and getattr(parsed, "ipv4_mapped", None) is None:
        with pytest.raises(ValueError, match="has host bits set") as caught:
            values.network(f"{parsed}/{length}")
        assert f"the network is `{around}`" in str(caught.value)


@calm
@given(st.text(max_size=30) | st.from_regex(r"[0-9a-f:./%]{1,20}", fullmatch=True))
def test_no_text_breaks_a_reader(text: str) -> None:
    """Each reader returns a value or raises ValueError with words, whatever the text is."""
    for read in (
        values.host,
        values.network,
        values.interface,
        values.day,
        values.interval,
        values.rate,
        values.unit,
        values.label,
        values.sentence,
    ):
        try:
            read(text)
        except ValueError as error:
            assert len(str(error)) > 10  # noqa: PT017 - most texts are refused, some are not


@calm
@given(st.ip_addresses())
def test_hosts_are_networks_of_one_address(address: object) -> None:
    """A host is a /32 or a /128 of exactly this address."""
    try:
        found = values.host(str(address))
    except ValueError:
        parsed = ip_address(str(address))
        unusual = parsed.is_multicast or parsed.is_unspecified or getattr(parsed, "ipv4_mapped", None) is not None
        assert unusual or str(parsed) == "255.255.255.255"
    else:
        assert found.prefixlen == found.max_prefixlen
        assert found.network_address == ip_address(str(address))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("every 3 months", (3, "month")),
        ("every month", (1, "month")),
        ("every 1 year", (1, "year")),
        (" every  2   weeks ", (2, "week")),
        ("every 10 days", (10, "day")),
    ],
)
def test_intervals(text: str, expected: tuple[int, str]) -> None:
    """A review interval is a number and a unit."""
    assert values.interval(text) == expected


@pytest.mark.parametrize(
    "text", ["3 months", "every 0 days", "every -1 days", "every 1.5 weeks", "every 3 hours", "daily", ""]
)
def test_what_is_no_interval(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="no interval"):
        values.interval(text)


@pytest.mark.parametrize("name", ["eth0", "wlan0.20", "br-lan", "enp3s0f1np1", "wg_home", "a" * 15])
def test_interface_names(name: str) -> None:
    """What the kernel and nft take is taken."""
    assert values.interface(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a b", "eth0:1", "eth*", "eth+", 'e"', "e\\", "a" * 16, "ü", "\x7f"]
)
def test_what_is_no_interface(name: str) -> None:
    """What the kernel refuses, nft can't write, or means a pattern elsewhere, is refused."""
    with pytest.raises(ValueError, match=r"no interface name|is a pattern"):
        values.interface(name)


def test_units() -> None:
    """A unit without a suffix is a service, as for systemctl; a dot alone is no suffix."""
    assert values.unit("raspotify") == "raspotify.service"
    assert values.unit("librespot@living.service") == "librespot@living.service"
    assert values.unit("my.player") == "my.player.service"
    assert values.day("2028-02-29") == date(2028, 2, 29)


@pytest.mark.parametrize("check", [values.word, values.unit])
@pytest.mark.parametrize("text", ["x\x1b[31m", "a\u202eb", "a\nb", "\u2028x", "\x9b1m"])
def test_a_name_does_not_play_with_the_terminal(check: Callable[[str], str], text: str) -> None:
    """What a service is matched by is printed as it is, so control characters are refused; letters of any script are not."""
    with pytest.raises(ValueError, match=r"can't be printed|is no unit name"):
        check(text)
    assert values.word("Küche\u00a0日本 😀") == "Küche\u00a0日本 😀"
