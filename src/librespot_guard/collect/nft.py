"""The nf_tables ruleset as the kernel holds it, over nfnetlink.

Encodes include/uapi/linux/netfilter/nf_tables.h. The generation counter is read before and after: a ruleset that moved
meanwhile is read again (kernel commit "netfilter: nf_tables: add generation mask to tables" makes that sufficient).
The text of the rules, for people only, comes from `nft` if it is there.
"""

import errno
import os
import re
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator

from librespot_guard.collect.netlink import (
    ATTEMPTS,
    NETLINK_NETFILTER,
    Message,
    Netlink,
    NetlinkError,
    attributes,
    iterate_attributes,
    split,
    text,
    text_attribute,
)
from librespot_guard.errors import MachineError
from librespot_guard.snapshot import FilterText, NftDump, RuleText

_SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
GETTABLE, GETCHAIN, GETRULE, GETSET, GETSETELEM, GETGEN, GETOBJ, GETFLOWTABLE = (
    _SUBSYSTEM | n for n in (1, 4, 7, 10, 13, 16, 19, 23)
)
_GEN_ID = 1  # NFTA_GEN_ID
_SET_TABLE, _SET_NAME, _SET_FLAGS = 1, 2, 3  # NFTA_SET_TABLE, NFTA_SET_NAME, NFTA_SET_FLAGS
_INTERVAL = 4  # NFT_SET_INTERVAL: such a set is no hash table
_ELEM_LIST_TABLE, _ELEM_LIST_SET, _ELEM_LIST_ELEMENTS = 1, 2, 3  # NFTA_SET_ELEM_LIST_*
_NEWTABLE, _TABLE_NAME = _SUBSYSTEM, 1  # NFT_MSG_NEWTABLE, NFTA_TABLE_NAME
_NFGENMSG = struct.Struct("!BBH")
_NLMSGHDR = 16
_TEXT_SECONDS = 30
_IPTABLES = ("filter", "nat", "mangle", "raw", "security")
_REHASH_SECONDS = 0.02

_TABLE = re.compile(r"^table (\S+) (.+?) \{(?: # handle \d+)?$")
_CHAIN = re.compile(r"^\tchain (.+?) \{(?: # handle \d+)?$")
_RULE = re.compile(r"^\t\t(.*\S) # handle (\d+)$")


def read_nft(*, texts: bool = True) -> NftDump:
    """The ruleset of the calling thread's network namespace.

    A kernel without nf_tables has no rules: the dump is empty and its generation 0. `texts` also asks `nft` how it prints
    each rule; a missing or failing `nft` is no error.

    Raises:
        MachineError: no privilege (CAP_NET_ADMIN), or the ruleset never stood still.
    """
    try:
        with Netlink(NETLINK_NETFILTER) as link:
            generation, data = _read(link)
    except NetlinkError as error:
        if error.errno in (errno.EINVAL, errno.EPROTONOSUPPORT):  # no such subsystem, no such protocol
            return NftDump(0, b"")
        if error.errno in (errno.EPERM, errno.EACCES):
            raise MachineError(
                "the packet filter (nf_tables) may only be read with CAP_NET_ADMIN in its network namespace",
                hint="run it with `sudo`",
            ) from None
        raise
    return NftDump(generation, data, read_texts() if texts and data else ())


def _read(link: Netlink) -> tuple[int, bytes]:
    for _ in range(ATTEMPTS):
        before = _generation(link)
        try:
            data = b"".join(raw for _, raw in _dump_all(link))
        except NetlinkError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):  # a set went away, or a dump was interrupted
                continue
            raise
        if _generation(link) == before:
            return before, data
    raise MachineError(
        f"the packet filter changed during each of {ATTEMPTS} attempts to read it",
        hint="try again when whatever reloads it has calmed down",
    )


def _generation(link: Netlink) -> int:
    (_, payload), *_ = link.request(GETGEN, _NFGENMSG.pack(0, 0, 0), flags=0)
    (generation,) = struct.unpack("!I", attributes(payload[4:])[_GEN_ID])
    return int(generation)


def _dump_all(link: Netlink) -> Iterator[Message]:
    everything = _NFGENMSG.pack(0, 0, 0)
    yield from _dump(link, GETTABLE, everything)
    yield from _dump(link, GETCHAIN, everything)
    sets = _dump(link, GETSET, everything)
    yield from sets
    yield from _dump(link, GETOBJ, everything)
    yield from _dump(link, GETFLOWTABLE, everything)
    for _, raw in sets:
        fields = attributes(raw[_NLMSGHDR + _NFGENMSG.size :])
        elements = _dump(
            link,
            GETSETELEM,
            _NFGENMSG.pack(raw[_NLMSGHDR], 0, 0)
            + text_attribute(_ELEM_LIST_TABLE, text(fields[_SET_TABLE]))
            + text_attribute(_ELEM_LIST_SET, text(fields[_SET_NAME])),
        )
        if not _whole(fields, elements):
            time.sleep(_REHASH_SECONDS)
            raise NetlinkError(f"the set `{text(fields[_SET_NAME])}` moved while it was read", errno.EINTR)
        yield from elements
    yield from _dump(link, GETRULE, everything)


def _dump(link: Netlink, message_type: int, payload: bytes) -> list[Message]:
    # what interrupts a dump of nf_tables is a new generation: then everything has to be read again, not this alone
    return link.dump_raw(message_type, payload, attempts=1)


def _whole(fields: dict[int, bytes], messages: list[Message]) -> bool:
    """Whether a dump of elements has each of them once.

    A hash table that grows moves its elements, in a work queue and without a new generation (lib/rhashtable.c). A dump that goes on
    with its next message at the same number then repeats some elements and leaves as many out (nft_rhash_walk).
    """
    if len(messages) < 2 or int.from_bytes(fields.get(_SET_FLAGS, b""), "big") & _INTERVAL:
        return True
    keys: list[bytes] = []
    for _, raw in messages:
        block = attributes(raw[_NLMSGHDR + _NFGENMSG.size :]).get(_ELEM_LIST_ELEMENTS, b"")
        keys += [
            next((key for kind, key in iterate_attributes(item) if kind == 1), b"")
            for _, item in iterate_attributes(block)
        ]
    return len(set(keys)) == len(keys)


def read_listing(generation: int) -> str | None:
    """What `nft -j` prints about the rules of the calling thread's network namespace, without counters and elements of sets.

    None if nft is missing or fails, or if the rules are no longer those of `generation`: then the two can't be compared.
    """
    program = shutil.which("nft") or shutil.which("nft", path="/usr/sbin:/sbin")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "-j", "-s", "-t", "list", "ruleset"], capture_output=True, timeout=_TEXT_SECONDS, check=False
        )
        with Netlink(NETLINK_NETFILTER) as link:
            unchanged = _generation(link) == generation
    except (OSError, subprocess.TimeoutExpired, MachineError):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 and unchanged else None


def read_saves(dump: NftDump) -> tuple[FilterText, ...]:
    """What `iptables-nft-save` and `ip6tables-nft-save` print, where there are tables of iptables; nothing of a tool that is missing.

    They say less than the kernel where a table holds what iptables did not write, and their exit status does not tell.
    """
    families = {family for family, name in _tables(dump.data) if name in _IPTABLES}
    found = []
    for family, kind in (("ip", "iptables-save"), ("ip6", "ip6tables-save")):
        program = shutil.which(f"{family}tables-nft-save", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
        if family not in families or program is None:
            continue
        try:
            done = subprocess.run([program], capture_output=True, timeout=_TEXT_SECONDS, check=False)
            with Netlink(NETLINK_NETFILTER) as link:
                unchanged = _generation(link) == dump.generation
        except (OSError, subprocess.TimeoutExpired, MachineError):
            continue
        if unchanged and done.stdout:
            found.append(FilterText(kind, f"{family}tables-nft-save", done.stdout.decode("utf-8", "replace")))
    return tuple(found)


def _tables(data: bytes) -> Iterator[tuple[str, str]]:
    """The tables of a dump that iptables may have: family ("ip" or "ip6") and name."""
    for kind, _, _, raw in split(data):
        family = {int(socket.AF_INET): "ip", int(socket.AF_INET6): "ip6"}.get(raw[_NLMSGHDR])
        if kind == _NEWTABLE and family:
            yield family, text(attributes(raw[_NLMSGHDR + _NFGENMSG.size :])[_TABLE_NAME])


def read_texts() -> tuple[RuleText, ...]:
    """How `nft` prints the rules of the calling thread's network namespace; empty if it is missing or fails."""
    program = shutil.which("nft") or shutil.which("nft", path="/usr/sbin:/sbin")
    if program is None:
        return ()
    try:
        # the child inherits the network namespace of the thread that starts it
        done = subprocess.run(
            [program, "-a", "-s", "list", "ruleset"], capture_output=True, timeout=_TEXT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(parse_texts(done.stdout.decode("utf-8", "replace"))) if done.returncode == 0 else ()


def parse_texts(listing: str) -> Iterator[RuleText]:
    """The rules of what `nft -a list ruleset` prints, with their table, chain and handle."""
    family = table = chain = None
    for line in listing.splitlines():
        if found := _TABLE.match(line):
            family, table, chain = found[1], found[2], None
        elif found := _CHAIN.match(line):
            chain = found[1]
        elif line == "\t}":
            chain = None
        elif family and table and chain and (found := _RULE.match(line)):
            yield RuleText(family, table, chain, int(found[2]), found[1])
