"""BPF programs on netfilter hooks and cgroups, ebtables: found, named, and counted where they matter."""

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from librespot_guard.collect.bpf import (
    NetfilterLink,
    named,
    netfilter_links,
    read_bpf_filters,
    read_cgroup_filters,
    system_call,
)
from librespot_guard.collect.otherfilters import ebtables
from librespot_guard.collect.owners import cgroup2_mount
from librespot_guard.errors import MachineError
from librespot_guard.firewall import Ruleset
from librespot_guard.lab.sandbox import Sandbox
from librespot_guard.reach.world import World
from librespot_guard.snapshot import Link, Namespace, OtherFilter

_PROG_LOAD, _LINK_CREATE, _TYPE_NETFILTER, _ATTACH_NETFILTER = 5, 28, 32, 45
_PROG_ATTACH, _TYPE_CGROUP_SKB = 8, 8
_IPV6, _OUTPUT = 10, 3
# mov r0, 1 (NF_ACCEPT); exit
_ACCEPT = bytes.fromhex("b7000000010000009500000000000000")


@contextmanager
def _attached(priority: int) -> Iterator[None]:
    """A program that accepts all on the output hook, where it is on nobody's way in: other tests see the same links."""
    code, licence = ctypes.create_string_buffer(_ACCEPT, len(_ACCEPT)), ctypes.create_string_buffer(b"GPL")
    load = struct.pack(
        "=IIQQIIQIi16sII",
        _TYPE_NETFILTER,
        2,
        ctypes.addressof(code),
        ctypes.addressof(licence),
        0,
        0,
        0,
        0,
        0,
        b"t",
        0,
        45,
    )
    program = system_call(_PROG_LOAD, ctypes.create_string_buffer(load, len(load)))
    try:
        create = struct.pack("=IIIIIIiI", program, 0, _ATTACH_NETFILTER, 0, _IPV6, _OUTPUT, priority, 0)
        link = system_call(_LINK_CREATE, ctypes.create_string_buffer(create, len(create)))
    finally:
        os.close(program)
    try:
        yield
    finally:
        os.close(link)


@pytest.mark.kernel
def test_a_program_on_a_hook_is_found() -> None:
    """A real program is listed with its family, hook and priority while it is attached, and not afterwards."""
    priority = -20_000 - os.getpid() % 10_000
    try:
        netfilter_links()
        with _attached(priority):
            found = [link for link in netfilter_links() if link.priority == priority]
    except PermissionError:
        pytest.skip("BPF programs may be attached and listed by root of the machine itself only")

    assert [(one.family, one.hook) for one in found] == [("ipv6", "output")]
    assert found[0].program > 0
    assert priority not in {link.priority for link in netfilter_links()}


@contextmanager
def _cgroups() -> Iterator[tuple[Path, str, str]]:
    """The tree of cgroups, and in it one with a program that accepts what its sockets receive, and one below that."""
    mount = cgroup2_mount()
    if mount is None or os.geteuid() or not os.access(mount, os.W_OK):
        pytest.skip("making a cgroup needs root itself and a cgroup v2 tree that may be written")
    above = mount / f"lsg-bpf-{os.getpid()}"
    below = above / "below"
    below.mkdir(parents=True)
    try:
        code, licence = ctypes.create_string_buffer(_ACCEPT, len(_ACCEPT)), ctypes.create_string_buffer(b"GPL")
        load = struct.pack("=IIQQ", _TYPE_CGROUP_SKB, 2, ctypes.addressof(code), ctypes.addressof(licence))
        try:
            program = system_call(_PROG_LOAD, ctypes.create_string_buffer(load.ljust(72, b"\0"), 72))
        except PermissionError:
            pytest.skip("BPF programs may be attached by root of the machine itself only")
        folder = os.open(above, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # the program goes with the cgroup
            system_call(_PROG_ATTACH, ctypes.create_string_buffer(struct.pack("=IIII", folder, program, 0, 0), 16))
        finally:
            os.close(folder)
            os.close(program)
        yield mount, f"/{above.name}", f"/{above.name}/below"
    finally:
        below.rmdir()
        above.rmdir()


@pytest.mark.kernel
def test_a_program_of_a_cgroup_is_found() -> None:
    """A real program is counted for its cgroup and the one below, and for none that has no such program, or is gone."""
    with _cgroups() as (mount, above, below):
        found = read_cgroup_filters([below, None, above, "/", "/gone", above], mount)
        world = World(Namespace("1", home=True), Ruleset(()), filters=found)

    assert [(f.kind, f.where) for f in found if f.where != "/"] == [("bpf-cgroup", above), ("bpf-cgroup", below)]
    assert all("bpftool cgroup show" in f.detail for f in found)
    assert not world.doubts_about("eth0", "ipv4")
    assert read_cgroup_filters([above], mount) == ()
    assert read_cgroup_filters([above], None) == ()


@pytest.mark.kernel
def test_who_may_not_look_is_told() -> None:
    """In a sandbox nobody may list BPF links: that is said, and not taken for none."""
    with Sandbox() as box:
        host = box.host("one")
        with pytest.raises(MachineError, match="only root of the machine itself"):
            host.call(read_bpf_filters)


def test_what_is_on_the_way_in_is_named() -> None:
    """A program on the input hook is named with its link; one on the way out is not."""
    links = (NetfilterLink(3, 4, "ipv4", "input", -7), NetfilterLink(5, 6, "ipv4", "output", 0))

    assert [(f.kind, f.where) for f in named(links)] == [("bpf-netfilter", "ipv4 input")]
    assert "bpftool link show id 3" in named(links)[0].detail


def test_ebtables_counts_for_bridges_with_ports() -> None:
    """A loaded table of ebtables-legacy is named for each bridge that has ports, and for no other interface."""
    links = (
        Link(2, "br0", up=True, kind="bridge"),
        Link(3, "eth0", up=True, master="br0"),
        Link(4, "br1", up=True, kind="bridge"),
    )

    assert [(f.kind, f.where) for f in ebtables(links, {"ebtable_filter", "ebtables", "bridge"})] == [
        ("ebtables", "br0")
    ]
    assert list(ebtables(links, {"ebtables", "bridge"})) == []


@pytest.mark.parametrize(
    ("other", "doubted"),
    [
        (OtherFilter("bpf-netfilter", "ipv4 input"), {("eth0", "ipv4"), ("br0", "ipv4")}),
        (OtherFilter("bpf-netfilter", "family 7 input"), {(i, f) for i in ("eth0", "br0") for f in ("ipv4", "ipv6")}),
        (OtherFilter("ebtables", "br0"), {("br0", "ipv4"), ("br0", "ipv6")}),
    ],
)
def test_answers_are_bounds_where_it_matters(other: OtherFilter, doubted: set[tuple[str, str]]) -> None:
    """A program counts for its family, ebtables for its bridge, and what is not understood for everything."""
    world = World(Namespace("1", home=True), Ruleset(()), filters=(other,))

    assert {(i, f) for i in ("eth0", "br0") for f in ("ipv4", "ipv6") if world.doubts_about(i, f)} == doubted
