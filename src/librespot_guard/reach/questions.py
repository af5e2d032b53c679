"""Which questions to ask about a listener: every way a packet can come to it.

Linux delivers a packet to any local address over any interface (the weak host model), so each interface is asked with each of
the host's addresses; `surplus` marks those that are not the interface's own, and those of everybody (`_beside`).
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from librespot_guard.reach import choose, routing
from librespot_guard.reach._beside import beside, is_here, on_link
from librespot_guard.reach._onward import answerable, broadcasts
from librespot_guard.reach.answer import Answer
from librespot_guard.reach.engine import Engine
from librespot_guard.reach.intervals import IntervalSet, cidrs
from librespot_guard.reach.packet import Packet, chosen_extensions
from librespot_guard.reach.world import World
from librespot_guard.snapshot import Listener

MDNS = {"ipv4": "224.0.0.251", "ipv6": "ff02::fb"}
MDNS_PORT = 5353


@dataclass(frozen=True, slots=True)
class Question:
    """One way to a listener: in over `iface`, to the address `dst`. `surplus`: the address is not one of the interface's own.

    `beside`: it is no address of the host at all, but what is sent there is taken in. `through` is the id of the namespace by which packets come if the listener is in one behind it (a container), and `port` the
    port that is then asked for at `dst`: that of the listener, or one published by address translation.
    """

    iface: str
    family: str
    dst: str
    surplus: bool = False
    through: str | None = None
    port: int | None = None
    beside: bool = False


@dataclass(frozen=True, slots=True)
class Reached:
    """A question with its answer.

    `routable` are those of `may` to whom the way back leads out of the interface they came in by; the others can only pretend to
    be somebody else (`spoofable`), which is enough for one packet and no conversation. `engine` is the one that was
    asked, `by` says which gave the answer ("intervals" or "bdd").
    """

    question: Question
    answer: Answer
    routable: IntervalSet = field(default_factory=IntervalSet)
    engine: Engine | None = None
    proto: str = "tcp"
    by: str = choose.INTERVALS

    @property
    def shown_routable(self) -> IntervalSet:
        """`routable` as people are shown it: with what routing refuses in the midst of it (see `Answer`)."""
        if not self.routable or self.engine is None:
            return self.routable
        nobody = self.answer.martian | broadcasts(self.engine.world, self.question.family)
        edges = IntervalSet.of([(max(self.routable.lowest() - 1, 0), self.routable.pairs[-1][1] + 1)])
        return self.routable | (nobody & self.answer.shown_may & edges)

    @property
    def spoofable(self) -> IntervalSet:
        """The sources that may get a packet through but get no answer by the interface they came in by."""
        return self.answer.may - self.routable


def families(listener: Listener) -> tuple[str, ...]:
    """The families whose packets a listener receives: an IPv6 wildcard without v6only takes IPv4 too."""
    if listener.family == "ipv4":
        return ("ipv4",)
    if listener.address.startswith("::ffff:"):
        return ("ipv4",)
    # v6only unknown: claiming less than both would be a guess
    return ("ipv6",) if listener.v6only or listener.address != "::" else ("ipv4", "ipv6")


def questions(world: World, listener: Listener) -> list[Question]:
    """Every (interface, family, destination) that can lead to a listener, in a stable order.

    Ports of a bridge or bond are asked through their master. Link-local addresses are reachable over their own interface only.
    """
    out = []
    namespace = world.namespace
    wildcard = listener.address in ("0.0.0.0", "::")  # noqa: S104 - the address of a listener, not a bind of ours
    fixed = listener.address.removeprefix("::ffff:")
    for family in families(listener):
        own = [a for a in namespace.addresses if a.family == family]
        for link in namespace.links:
            if not link.up or link.master is not None or (listener.device not in (None, link.name)):
                continue
            others: list[str] = []
            if wildcard:
                here = [a.address for a in own if a.dev == link.name]
                elsewhere = [
                    a.address
                    for a in own
                    if a.dev != link.name and _routable(family, a.address, loopback=link.loopback)
                ]
                targets = [(a, False) for a in here] + [(a, True) for a in elsewhere]
                if listener.proto == "udp" and listener.port == MDNS_PORT and not link.loopback:
                    targets.append((MDNS[family], False))
                asked = {dst for dst, _ in targets}
                others = [dst for dst in beside(world, listener, family, link) if dst not in asked]
            elif is_here(world, listener):
                mine = on_link(world, fixed, link.name)
                if link.loopback or mine or _routable(family, fixed, loopback=False) or ip_address(fixed).is_loopback:
                    targets = [(fixed, not mine)]
                else:
                    targets = []
            else:
                targets = []
            out += [Question(link.name, family, dst, surplus) for dst, surplus in targets]
            out += [Question(link.name, family, dst, surplus=True, beside=True) for dst in others]
    return out


def _routable(family: str, address: str, *, loopback: bool) -> bool:
    """Whether an address of one interface can be reached over another."""
    parsed = ip_address(address)
    if family == "ipv6" and parsed.is_link_local:
        return loopback
    # 127.0.0.0/8 over a wire: routing refuses it unless route_localnet is on (see `beside`)
    return not parsed.is_loopback or loopback


def answers(world: World, listener: Listener, over: Collection[str] | None = None) -> list[Reached]:
    """Every question about a listener with its answer; first those of its own namespace, then those through other ones.

    With `over`, only those of its own namespace that come in over these interfaces.
    """
    out = []
    for question in questions(world, listener):
        if over is not None and question.iface not in over:
            continue
        engine = _engine(world, question, listener.proto)
        answer, by = choose.ask(engine, routing.number(question.dst), listener.port)
        out.append(replace(_reached(engine, question, answer), by=by))
    return out if over is not None else out + _through_others(world, listener)


def telling_ways(found: list[Reached]) -> list[Reached]:
    """Leave out the ways over other addresses than the interface's own that let in nobody more than those do."""
    out = []
    for reached in found:
        if reached.question.surplus:
            same = [
                r
                for r in found
                if (r.question.iface, r.question.family) == (reached.question.iface, reached.question.family)
            ]
            own = [r for r in same if not r.question.surplus]
            # as shown: a packet from 0.0.0.0, which only a broadcast may be sent with, makes no way worth telling
            if any(not reached.answer.shown_may - r.answer.shown_may for r in own) or not (own or reached.answer.may):
                continue
            if reached.question.iface == "lo" or not reached.answer.may:
                continue
        out.append(reached)
    return out


def example(question: Question, proto: str, answer: Answer, source: int) -> Packet | None:
    """A packet from `source` with fields that get it through; None if the answer has none of it."""
    try:
        choices = answer.choices(source)
    except KeyError:
        return None
    return Packet(
        question.iface,
        routing.text(question.family, source),
        routing.text(question.family, choices["daddr"]),
        proto,
        sport=choices.get("sport", 40000),
        dport=choices["dport"],
        flags=choices.get("tcp_flags", 0x02),
        extensions=chosen_extensions(choices.get("exthdrs")),
    )


def telling(family: str, sources: IntervalSet) -> int:
    """A source that people recognise as a stranger (RFC 5737, RFC 3849), if there is one among them."""
    known = {"ipv4": ("203.0.113.9", "198.51.100.9", "192.0.2.9"), "ipv6": ("2001:db8::9", "2001:db8:ffff::9")}[family]
    return next((n for a in known if (n := routing.number(a)) in sources), sources.lowest())


def _engine(world: World, question: Question, proto: str) -> Engine:
    """The engine for a way in: what it prepares serves every listener."""
    key = ("engine", question.iface, question.family, proto)
    if key not in world.shared:
        world.shared[key] = Engine(world, question.iface, question.family, proto)
    found: Engine = world.shared[key]
    return found


def handed_on(world: World, listener: Listener) -> list[Reached]:
    """Who gets through to what this host forwards, by translation, from a port of its own (a published port of a container)."""
    out = []
    for question in questions(world, listener):
        link = world.link(question.iface)
        if link is None or link.loopback:
            continue
        engine = Engine(world, question.iface, question.family, listener.proto, onward=True)
        if not engine.hooks(world).tracks:
            continue
        answer = engine.ask(routing.number(question.dst), listener.port)
        out.append(_reached(engine, question, answer))
    return out


def _reached(engine: Engine, question: Question, answer: Answer) -> Reached:
    family, dst = question.family, routing.number(question.dst)
    # what is sent to everybody is answered by an address of the host, and what is handed on by the one that it goes to
    own = question.through is None and routing.fib(engine.world, family, dst).kind == "local"
    routable = answer.may & answerable(engine.world, family, question.iface, dst if own else None)
    return Reached(question, answer, routable, engine, engine.proto)


def _through_others(world: World, listener: Listener) -> list[Reached]:
    """The ways to a listener in a container through the namespaces that its cables lead to: to its address, and to published ports."""
    if world.around is None:
        return []
    out: list[Reached] = []
    for link in world.namespace.links:
        for host, _ in world.around.far_ends(world, link.name):
            for family in families(listener):
                if not _forwards(host, family):
                    continue
                for address in _own_addresses(world, listener, family, link.name):
                    out += _through(host, world, listener, family, address)
    return out


def _forwards(host: World, family: str) -> bool:
    """Whether a namespace passes anything on, by any of its interfaces."""
    key = "net.ipv4.conf." if family == "ipv4" else "net.ipv6.conf."
    switches = [v for k, v in host.namespace.sysctls.items() if k.startswith(key) and k.endswith("forwarding")]
    return any(v not in ("", "0") for v in (*switches, host.namespace.sysctls.get("net.ipv4.ip_forward", "0")))


def _own_addresses(world: World, listener: Listener, family: str, dev: str) -> list[str]:
    """The addresses of an interface to which a listener answers."""
    fixed = listener.address.removeprefix("::ffff:")
    wildcard = listener.address in ("0.0.0.0", "::")  # noqa: S104 - the address of a listener, not a bind of ours
    found = (a.address for a in world.namespace.addresses if a.family == family and a.dev == dev)
    return [a for a in found if (wildcard or a == fixed) and not ip_address(a).is_link_local]


def _through(host: World, world: World, listener: Listener, family: str, address: str) -> list[Reached]:
    out = []
    for link in host.namespace.links:
        if not link.up or link.master is not None or link.loopback:
            continue
        engine = Engine(host, link.name, family, listener.proto, target=world)
        answer = engine.ask(routing.number(address), listener.port)
        ways = answer.entries or ((routing.number(address), listener.port),)
        for dst, port in ways:
            one = answer.only(dst, port)
            own = any(a.dev == link.name and routing.number(a.address) == dst for a in host.namespace.addresses)
            published = routing.text(family, dst) != address
            surplus = published and not own
            text = routing.text(family, dst)
            question = Question(link.name, family, text, surplus, through=host.namespace.id, port=port)
            out.append(_reached(engine, question, one))
    return out


def to_json(
    listener: Listener, service: str | None, surface: str | None, reached: Reached, *, container: str | None = None
) -> dict[str, object]:
    """One entry of `reach --format json` (design section 5); `container` is what its engine calls the one that the service is in."""
    question, answer = reached.question, reached.answer
    return {
        "listener": {
            "proto": listener.proto,
            "port": listener.port,
            "address": listener.address,
            "service": service,
            "surface": surface,
            **({"container": container} if container else {}),
        },
        "interface": question.iface,
        "family": question.family,
        "destination": question.dst,
        **_way(question),
        "exact": answer.exact,
        "may": cidrs(question.family, answer.shown_may),
        "must": cidrs(question.family, answer.shown_must),
        "refused_by_routing": cidrs(question.family, answer.martian),
        "routable": cidrs(question.family, reached.shown_routable),
        "spoofable": cidrs(
            question.family, answer.shown_may - reached.shown_routable if reached.spoofable else reached.spoofable
        ),
        "inexact_because": list(answer.because),
        "engine": reached.by,
        "forwarded_to": [
            {"address": f.address, "port": f.port, "namespace": f.namespace, "crossed": [list(c) for c in f.crossed]}
            for f in answer.forwarded
        ],
    }


def _way(question: Question) -> dict[str, object]:
    return {} if question.through is None else {"through": question.through, "destination_port": question.port}
