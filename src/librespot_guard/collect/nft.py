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
from collections.abc import Iterator

from librespot_guard.collect.netlink import (
    ATTEMPTS,
    NETLINK_NETFILTER,
    Message,
    Netlink,
    NetlinkError,
    attributes,
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
_SET_TABLE, _SET_NAME = 1, 2  # NFTA_SET_TABLE, NFTA_SET_NAME
_ELEM_LIST_TABLE, _ELEM_LIST_SET = 1, 2  # NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_ELEM_LIST_SET
_NEWTABLE, _TABLE_NAME = _SUBSYSTEM, 1  # NFT_MSG_NEWTABLE, NFTA_TABLE_NAME
_NFGENMSG = struct.Struct("!BBH")
_NLMSGHDR = 16
_TEXT_SECONDS = 30
_IPTABLES = ("filter", "nat", "mangle", "raw", "security")

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
            if error.errno in (errno.ENOENT, errno.EINTR):  # a set went away between its listing and its elements
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
    yield from link.dump_raw(GETTABLE, everything)
    yield from link.dump_raw(GETCHAIN, everything)
    sets = link.dump_raw(GETSET, everything)
    yield from sets
    yield from link.dump_raw(GETOBJ, everything)
    yield from link.dump_raw(GETFLOWTABLE, everything)
    for _, raw in sets:
        fields = attributes(raw[_NLMSGHDR + _NFGENMSG.size :])
        yield from link.dump_raw(
            GETSETELEM,
            _NFGENMSG.pack(raw[_NLMSGHDR], 0, 0)
            + text_attribute(_ELEM_LIST_TABLE, text(fields[_SET_TABLE]))
            + text_attribute(_ELEM_LIST_SET, text(fields[_SET_NAME])),
        )
    yield from link.dump_raw(GETRULE, everything)


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
