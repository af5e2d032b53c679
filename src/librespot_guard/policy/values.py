"""The single values of a policy file: addresses, networks, interfaces, days, intervals.

Each function takes the text of the file and returns the value, or raises ValueError with what is wrong and, in brackets, what to do.
"""

import re
from datetime import date
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network
from unicodedata import category

from librespot_guard.policy.faults import quote
from librespot_guard.policy.model import Network

_UNITS = ("service", "socket", "slice", "scope", "target", "timer", "mount", "path", "device", "swap", "automount")
# include/linux/if.h IFNAMSIZ, less the final NUL
_MAX_INTERFACE = 15
MAX_NAME = 64


def sentence(text: str) -> str:
    """Words for people on one line: title, why, owner."""
    plain = " ".join(text.split())
    if not plain:
        raise ValueError("is empty (say it in a few words)")
    if not plain.isprintable():
        raise ValueError("holds a character that can't be printed (take it out)")
    return plain


def word(text: str) -> str:
    """A name that is compared exactly."""
    if not text.strip():
        raise ValueError("is empty (leave the key out, or say which)")
    # a space that does not break may be in an announced name; what plays with a terminal is in none
    if any(category(c).startswith("C") or category(c) in ("Zl", "Zp") for c in text):
        raise ValueError("holds a character that can't be printed (take it out)")
    return text


def label(text: str) -> str:
    """The name of a source or of an entry of `services`."""
    if not text or text != text.strip() or not text.isprintable() or len(text) > MAX_NAME:
        raise ValueError(f"can't be a name (1 to {MAX_NAME} printable characters, no space at either end)")
    return text


def unit(text: str) -> str:
    """A systemd unit; without a suffix it is a service, as for systemctl(1)."""
    word(text)
    if "/" in text or any(c.isspace() for c in text):
        raise ValueError(f"{quote(text)} is no unit name (write it as `systemctl` does, such as `raspotify.service`)")
    return text if text.rpartition(".")[2] in _UNITS else f"{text}.service"


def host(text: str) -> Network:
    """One address, as a network of one address."""
    address = _address(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        raise ValueError(f"{quote(text)} is an IPv4 address in IPv6 form (write {quote(str(address.ipv4_mapped))})")
    if address.is_multicast or address.is_unspecified or address == IPv4Address("255.255.255.255"):
        raise ValueError(
            f'{quote(text)} can\'t be the source of a packet (everybody is `networks: [0.0.0.0/0, "::/0"]`)'
        )
    return ip_network(address)


def _address(text: str) -> IPv4Address | IPv6Address:
    if "%" in text:
        bare = text.partition("%")
        raise ValueError(
            f"{quote(text)} names an interface (write {quote(bare[0])}, and `interface: {bare[2] or 'eth0'}` beside it)"
        )
    try:
        return ip_address(text)
    except ValueError:
        pass
    try:
        network = ip_interface(text).network
    except ValueError:
        raise ValueError(_no_address(text)) from None
    raise ValueError(f"{quote(text)} is a network, not a host (write {quote(str(network))} under `networks`)")


def _no_address(text: str) -> str:
    if re.fullmatch(r"[0-9.]+", text):
        return f"{quote(text)} is no address (four numbers from 0 to 255 without leading zeros, such as 192.168.10.9)"
    if re.fullmatch(r"(?=.*[a-zA-Z])[a-zA-Z0-9_.-]+", text):
        return f"{quote(text)} is no address (DNS names are for a later version: write the addresses it stands for)"
    return f'{quote(text)} is no address (such as 192.168.10.9 or "fd00:10::9")'


def network(text: str) -> Network:
    """A true network: no host bit is set."""
    head, slash, length = text.partition("/")
    if "%" in head:
        raise ValueError(f"{quote(text)} names an interface (write the network alone, and `interface:` beside it)")
    try:
        address = ip_address(head)
    except ValueError:
        if re.fullmatch(r"(?=.*[g-zG-Z])[a-zA-Z0-9_.-]+", head):
            raise ValueError(_no_address(head)) from None
        raise ValueError(f'{quote(text)} is no network (such as 192.168.10.0/24 or "fd00:10::/64")') from None
    if not slash:
        wide = "24" if address.version == 4 else "64"
        raise ValueError(
            f"{quote(text)} has no prefix length (a network is {quote(f'{address}/{wide}')}, one address goes under `hosts`)"
        )
    if not re.fullmatch(r"0|[1-9][0-9]{0,2}", length) or int(length) > address.max_prefixlen:
        raise ValueError(
            f"{quote(text)} is no network (the part after `/` is a number from 0 to {address.max_prefixlen}{_mask(head, length)})"
        )
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        raise ValueError(f"{quote(text)} is an IPv4 network in IPv6 form (write it as IPv4)")
    around = ip_network(text, strict=False)
    if around.network_address != address:
        raise ValueError(
            f"{quote(text)} has host bits set (the network is {quote(str(around))}; the single host is `hosts: [{yaml_address(address)}]`)"
        )
    if around.is_multicast and around.prefixlen > 0:
        raise ValueError(f"{quote(text)} is multicast: no packet comes from there (name the senders)")
    return around


def _mask(head: str, mask: str) -> str:
    """The network meant by a netmask such as 255.255.255.0."""
    try:
        meant = ip_network(f"{head}/{mask}", strict=False)
    except ValueError:
        return ""
    return f"; you probably mean {quote(str(meant))}"


def yaml_address(address: object) -> str:
    """An address or network as it is safe in a YAML list."""
    text = str(address)
    return f'"{text}"' if ":" in text else text


def interface(text: str) -> str:
    """The name of a network interface (net/core/dev.c dev_valid_name), as nft can write it exactly."""
    if "*" in text or "+" in text[-1:]:
        raise ValueError(f"{quote(text)} is a pattern (name one interface; make a source for each)")
    valid = 0 < len(text.encode("utf-8", "replace")) <= _MAX_INTERFACE and text not in (".", "..")
    if not valid or not text.isascii() or any(c.isspace() or not c.isprintable() or c in '/:"\\' for c in text):
        raise ValueError(f"{quote(text)} is no interface name (`ip -br link` lists them)")
    return text


def day(text: str) -> date:
    """A day as ISO 8601 writes it."""
    wrong = f"{quote(text)} is no day (write year-month-day, such as 2027-06-30)"
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise ValueError(wrong)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(wrong) from None


def interval(text: str) -> tuple[int, str]:
    """How often: (3, "month") for "every 3 months", (1, "week") for "every week"."""
    found = re.fullmatch(r"every (?:([1-9][0-9]{0,2}) )?(day|week|month|year)s?", " ".join(text.split()))
    if not found:
        raise ValueError(f"{quote(text)} is no interval (write `every N days`, `weeks`, `months` or `years`)")
    return int(found[1] or 1), found[2]


def review(text: str) -> str:
    """An interval as text, e.g. "every 3 months"."""
    interval(text)
    return " ".join(text.split())


def rate(text: str) -> str:
    """A limit such as "5/minute per source"."""
    plain = " ".join(text.split())
    if not re.fullmatch(r"[1-9][0-9]{0,5}/(second|minute|hour|day)( per source)?", plain):
        raise ValueError(f"{quote(text)} is no rate (such as `5/minute per source`)")
    return plain
