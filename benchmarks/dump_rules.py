"""Rules of a busy host in the words of its tools: ufw's chains, bans, one chain for each tenant, ipsets, and Docker's published ports.

The chains and the order of their rules are those that ufw 0.36, fail2ban and Docker load; sources, ports and verdicts are random with a
fixed seed. `iptables-restore` loads them, and the dump that is analysed is what `iptables-save` then prints.
"""

from dataclasses import dataclass
from random import Random

ADDRESSES = {"eth0": "192.168.10.2/24", "eth1": "10.20.0.2/16"}
_CHAINS = (
    "before-logging-input", "before-input", "after-input", "after-logging-input", "reject-input", "track-input", "not-local", "user-input",
    "logging-deny", "skip-to-policy-input", "user-limit-accept",
)  # fmt: skip
_BEFORE = """\
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j ufw-logging-deny
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -p icmp -m icmp --icmp-type 3 -j ACCEPT
-A ufw-before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT
-A ufw-before-input -j ufw-not-local
-A ufw-before-input -d 224.0.0.251/32 -p udp -m udp --dport 5353 -j ACCEPT
-A ufw-before-input -j ufw-user-input
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN
-A ufw-not-local -m addrtype --dst-type BROADCAST -j RETURN
-A ufw-not-local -j DROP
-A ufw-logging-deny -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
-A ufw-after-input -p udp -m udp --dport 137 -j ufw-skip-to-policy-input
-A ufw-after-input -p tcp -m tcp --dport 445 -j ufw-skip-to-policy-input
-A ufw-after-input -m addrtype --dst-type BROADCAST -j ufw-skip-to-policy-input
-A ufw-after-logging-input -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
-A ufw-skip-to-policy-input -j DROP
-A ufw-user-limit-accept -j ACCEPT"""
_PUBLISHED, _JAILS, _BANS, _TENANTS, _GUESTS, _BLOCKED = 120, 12, 80, 40, 15, 2_000


@dataclass(frozen=True, slots=True)
class Busy:
    """The host: what `ipset restore` and `iptables-restore` load, and its services as (protocol, port)."""

    ipsets: str
    rules: str
    services: tuple[tuple[str, int], ...]


def busy(number: int, services: int, *, seed: int = 1) -> Busy:
    """So many rules in all tables together, for so many services; the same ones each time."""
    random = Random(seed)
    ports = random.sample(range(1024, 32768), services + _PUBLISHED)
    asked = tuple(("udp" if n % 5 == 4 else "tcp", port) for n, port in enumerate(ports[:services]))
    published = ports[services:]
    filters, nat = _docker(random, published)
    filters += _jails(random, asked) + _BEFORE.splitlines() + _tenants(random, asked)
    filters += [f"-A INPUT -j ufw-{name}" for name in _CHAINS[:6]]
    filters += [f"-A ufw-user-input {_user(random, asked)}" for _ in range(number - len(filters) - len(nat))]
    chains = dict.fromkeys(r.split()[1] for r in filters) | dict.fromkeys(f"ufw-{c}" for c in _CHAINS)
    own = [c for c in chains if c not in ("INPUT", "FORWARD")]
    text = [
        "*filter", ":INPUT DROP [0:0]", ":FORWARD DROP [0:0]", ":OUTPUT ACCEPT [0:0]", *(f":{c} - [0:0]" for c in own), *filters,
        "COMMIT", "*nat", ":PREROUTING ACCEPT [0:0]", ":DOCKER - [0:0]", *nat, "COMMIT", "",
    ]  # fmt: skip
    return Busy(_sets(random), "\n".join(text), asked)


def _source(random: Random) -> str:
    """A prefix of /16 to /32 in some of the private and documentation networks."""
    length = random.choice([16, 20, 24, 24, 24, 28, 32, 32, 32, 32])
    base = random.choice([10 << 24, 10 << 24, 172 << 24 | 16 << 16, 100 << 24 | 64 << 16])
    number = base | random.getrandbits(20)
    number = number >> 32 - length << 32 - length
    return f"{'.'.join(str(number >> s & 255) for s in (24, 16, 8, 0))}/{length}"


def _sets(random: Random) -> str:
    """A large block list with exceptions, hosts of the administrators, and pairs of host and port."""
    out = ["create blocklist hash:net", "create admins hash:ip", "create partners hash:ip,port"]
    blocked = dict.fromkeys(_source(random) for _ in range(_BLOCKED))
    out += [f"add blocklist {s}{' nomatch' if random.random() < 0.05 else ''}" for s in blocked]
    out += [f"add admins 10.0.{n}.{random.randrange(1, 255)}" for n in range(50)]
    out += [f"add partners 10.1.{n}.{random.randrange(1, 255)},tcp:{random.randrange(1024, 32768)}" for n in range(100)]
    return "\n".join([*out, ""])


def _jails(random: Random, asked: tuple[tuple[str, int], ...]) -> list[str]:
    """The front of INPUT: fail2ban's chains, then the sets."""
    out = []
    for number in range(_JAILS):
        ports = ",".join(str(port) for proto, port in random.sample(asked, 8) if proto == "tcp")
        out.append(f"-A INPUT -p tcp -m multiport --dports {ports} -j f2b-jail{number}")
        for _ in range(_BANS):
            host = _source(random).partition("/")[0]
            out.append(f"-A f2b-jail{number} -s {host}/32 -j REJECT --reject-with icmp-port-unreachable")
        out.append(f"-A f2b-jail{number} -j RETURN")
    return [
        *out,
        "-A INPUT -m set --match-set admins src -j ACCEPT",
        "-A INPUT -m set --match-set blocklist src -j DROP",
        "-A INPUT -p tcp -m set --match-set partners src,dst -j ACCEPT",
    ]


def _tenants(random: Random, asked: tuple[tuple[str, int], ...]) -> list[str]:
    """One chain for each of some ports, which ends in DROP or goes back."""
    out = []
    for proto, port in asked[:_TENANTS]:
        out.append(f"-A ufw-user-input -p {proto} -m {proto} --dport {port} -j tenant-{port}")
        out += [
            f"-A tenant-{port} -s {_source(random)} -j {random.choice(['ACCEPT', 'ACCEPT', 'DROP'])}"
            for _ in range(_GUESTS)
        ]
        out.append(f"-A tenant-{port} -j {random.choice(['DROP', 'RETURN'])}")
    return out


def _user(random: Random, asked: tuple[tuple[str, int], ...]) -> str:
    """A rule as `ufw allow` and `ufw deny` write them."""
    kind = random.random()
    verdict = random.choice(["ACCEPT", "ACCEPT", "DROP", "REJECT --reject-with icmp-port-unreachable"])
    if kind < 0.1:
        return f"-s {_source(random)} -j DROP"
    proto, port = random.choice(asked)
    if kind < 0.2:
        same = [str(p) for q, p in random.sample(asked, 6) if q == proto] or [str(port)]
        return f"-s {_source(random)} -p {proto} -m multiport --dports {','.join(same)} -j {verdict}"
    if kind < 0.3:
        return f"-i eth{random.randrange(2)} -s {_source(random)} -p {proto} -m {proto} --dport {port} -j {verdict}"
    if kind < 0.35:
        return f"-s {_source(random)} -p {proto} -m {proto} --dport {port}:{min(port + 500, 65535)} -j {verdict}"
    if kind < 0.4:
        return f"-s {_source(random)} -p {proto} -m {proto} --dport {port} -m conntrack --ctstate NEW -j {verdict}"
    return f"-s {_source(random)} -p {proto} -m {proto} --dport {port} -j {verdict}"


def _docker(random: Random, published: list[int]) -> tuple[list[str], list[str]]:
    """Docker's chains for published ports: rules of the tables filter and nat."""
    filters = [
        "-A FORWARD -j DOCKER-USER",
        "-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A FORWARD -o docker0 -j DOCKER",
        "-A FORWARD -i docker0 ! -o docker0 -j ACCEPT",
        "-A DOCKER-USER -j RETURN",
    ]
    nat = [
        "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
        "-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
        "-A DOCKER -i docker0 -j RETURN",
    ]
    for number, port in enumerate(published):
        inside, behind = f"172.17.{number >> 6}.{2 + (number & 63)}", random.choice([80, 443, 3000, 5432])
        filters.append(f"-A DOCKER -d {inside}/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport {behind} -j ACCEPT")
        nat.append(f"-A POSTROUTING -s {inside}/32 -d {inside}/32 -p tcp -m tcp --dport {behind} -j MASQUERADE")
        nat.append(f"-A DOCKER ! -i docker0 -p tcp -m tcp --dport {port} -j DNAT --to-destination {inside}:{behind}")
    return filters, nat
