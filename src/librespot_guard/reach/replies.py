"""Two-way answers: whether the reply to a packet that gets in gets out again.

One packet of a stranger that gets in is enough for an attack over UDP; a TCP connection needs the reply. The reply of each class of
sources is followed concretely: output and postrouting of the listener's namespace, then forward of the host it came through.
"""

from dataclasses import replace

from librespot_guard.reach import routing
from librespot_guard.reach._hooks import cone, reads
from librespot_guard.reach.engine import Engine
from librespot_guard.reach.interpreter import answer_back, trace
from librespot_guard.reach.intervals import WIDTH, IntervalSet
from librespot_guard.reach.packet import FLAGS, Packet
from librespot_guard.reach.questions import Reached
from librespot_guard.reach.world import World

_MOST_CLASSES = 512


def two_way(
    world: World, host: World, engine: Engine, reached: Reached, port: int
) -> tuple[IntervalSet, tuple[str, ...]]:
    """The routable sources whose reply may get out, and why some of them are not certain.

    Args:
        world: the namespace of the listener.
        host: the namespace that packets come in by: the same, or the one in front of it.
        engine: one that was asked about it.
        reached: the question and its answer.
        port: the port of the listener.
    """
    question = reached.question
    hooks = [(w, h) for w in {id(w): w for w in (world, host)}.values() for h in ("output", "postrouting")]
    if world is not host:
        hooks += [(host, "forward"), (host, "prerouting")]
    chains = [
        (w, pair)
        for w, hook in hooks
        for pair in engine.hooks(w).at(hook)
        if pair[1].hook is None or pair[1].hook.kind != "nat"
    ]
    if not any(c.rules or (c.hook and c.hook.policy != "accept") for _, (_, c) in chains):
        return reached.routable, ()
    width = WIDTH[question.family]
    edges = {low for w in (world, host) for low, _ in routing.elementary(w, question.family)}
    for w in (world, host):
        shapes = engine.shapes(w)
        codes = cone([pair for other, pair in chains if other is w], shapes.code)
        edges |= {edge for code in codes for edge in code.edges()}
        for name, values in reads(codes, shapes.maps):
            base, _, part = name.partition("@")
            if base in ("daddr", "saddr", "ct_daddr"):
                # some bits of an address: if they are the leading ones, that is a prefix
                shift, size = (int(n) for n in part.split(":")) if part else (0, width)
                if shift + size != width:
                    return reached.routable, ("an output rule asks for bits of an address that are no prefix",)
                edges |= {edge << shift for low, high in values for edge in (low, high + 1)}
    cells = _cells(reached.routable, sorted(edges))
    if len(cells) > _MOST_CLASSES:
        return reached.routable, (f"the replies fall into more than {_MOST_CLASSES} classes",)
    out: list[tuple[int, int]] = []
    because: dict[str, None] = {}
    for low, high in cells:
        verdict, why = _reply(world, host, reached, low, port)
        if verdict != "no":
            out.append((low, high))
        because |= dict.fromkeys(why)
    return IntervalSet.of(out), tuple(because)


def _cells(sources: IntervalSet, edges: list[int]) -> list[tuple[int, int]]:
    cells = []
    for low, high in sources:
        start = low
        for edge in edges:
            if start < edge <= high:
                cells.append((start, edge - 1))
                start = edge
        cells.append((start, high))
        if len(cells) > _MOST_CLASSES:
            break
    return cells


def _reply(world: World, host: World, reached: Reached, source: int, port: int) -> tuple[str, tuple[str, ...]]:
    """Whether the reply to one source gets out: "yes", "no" or "undecided", with the reasons."""
    question, family = reached.question, reached.question.family
    try:
        choices = reached.answer.choices(source)
    except KeyError:
        choices = {}
    ends = [f for f in reached.answer.forwarded if f.namespace == world.namespace.id]
    address = ends[0].address if ends and ends[0].address else question.dst
    there = routing.text(family, source)
    proto = "tcp" if "tcp_flags" in choices else reached.proto
    packet = Packet(
        "lo",
        address,
        there,
        proto,
        sport=port,
        dport=choices.get("sport", 40000) or 40000,
        flags=FLAGS["syn"] | FLAGS["ack"],
        state="established",
    )
    first = answer_back(world, packet)
    if first.verdict in ("dropped", "rejected") or world is host:
        return _word(first.verdict, first.because)
    out = ends[0].crossed[-1][2] if ends and ends[0].crossed else question.iface
    second = trace(host, replace(packet, iface=out))
    word, why = _word(second.verdict, second.because)
    return (word, why) if word != "yes" or first.verdict == "sent" else _word(first.verdict, first.because)


def _word(verdict: str, because: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    if verdict in ("sent", "forwarded"):
        return "yes", ()
    return ("undecided", because) if verdict == "undecided" else ("no", ())
