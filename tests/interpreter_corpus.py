"""Rulesets and packets for the comparison of the interpreter with the kernel: every expression it supports, at the boundaries.

They stand in `reach/corpus/*.nft`, in nft's own language, with what else a case needs in comments::

    ### name of the case
    #? tcp4 src=192.168.10.8 flags=syn,ack    a packet besides the common pool (pool.txt); what is not said is as in `DEFAULTS`
    #! only these packets                     the pool is not sent
    #! trails open                            the trail depends on what no question holds
    #! net.ipv4.ip_forward = 0                a sysctl
    #$ iptables-nft -A INPUT …                a command, run after the rules are loaded
    table inet t { …
"""

from pathlib import Path

from kernel_judge import Case
from librespot_guard.reach.packet import Packet, packet_from_json

FOLDER = Path(__file__).parent / "reach" / "corpus"
_FOUR = {"iface": "eth0", "src": "192.168.10.9", "dst": "192.168.10.2"}
_SIX = {"iface": "eth0", "src": "fd00:10::9", "dst": "fd00:10::2"}
DEFAULTS: dict[str, dict[str, str | int]] = {
    "tcp4": {**_FOUR, "proto": "tcp", "dport": 3678},
    "tcp6": {**_SIX, "proto": "tcp", "dport": 3678},
    "udp4": {**_FOUR, "proto": "udp", "dport": 5353},
    "udp6": {**_SIX, "proto": "udp", "dport": 5353},
    "icmp4": {**_FOUR, "proto": "icmp"},
    "icmp6": {**_SIX, "proto": "icmpv6"},
}


def packet(text: str) -> Packet:
    """The packet that a line describes; `flags=none` is a TCP packet without any flag."""
    kind, *words = text.split()
    given = dict(word.split("=", 1) for word in words)
    if given.get("flags") == "none":
        given["flags"] = ""
    values = {key: int(value) if value.isdecimal() else value for key, value in given.items()}
    return packet_from_json({**DEFAULTS[kind], **values}, where=text)


POOL = tuple(
    packet(line) for line in (FOLDER / "pool.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
)


def case(block: str) -> Case:
    """One case of a file."""
    name, *lines = block.splitlines()
    packets = list(POOL)
    trails = True
    sysctls: dict[str, str] = {}
    commands: list[str] = []
    rules: list[str] = []
    for line in lines:
        mark, rest = line[:2], line[3:]
        if mark == "#?":
            packets.append(packet(rest))
        elif mark == "#$":
            commands.append(rest)
        elif line == "#! only these packets":
            packets = []
        elif line == "#! trails open":
            trails = False
        elif mark == "#!":
            key, value = rest.split(" = ")
            sysctls[key] = value
        else:
            rules.append(line)
    return Case(name.strip(), "\n".join(rules), packets, sysctls, trails, tuple(commands))


def read(file: Path) -> list[Case]:
    """The cases of a file."""
    return [case(block) for block in file.read_text(encoding="utf-8").split("### ")[1:]]


CASES = tuple(c for file in sorted(FOLDER.glob("*.nft")) if file.stem not in ("iptables", "xt") for c in read(file))
# only where iptables-nft is installed
IPTABLES = tuple(read(FOLDER / "iptables.nft"))
# only where iptables-nft, iptables-legacy and ipset are installed
XT = tuple(read(FOLDER / "xt.nft"))
