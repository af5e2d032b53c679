"""The engine beside binary decision diagrams (`oxidd`), on the same rules in one run; CPU seconds.

    python benchmarks/engine.py [reach] [shadow] [set] [growth]

reach    who reaches one tcp port under 50,000 rules; the engine from the decoded ruleset to the answer, in its parts, and a second
         question about the same ruleset; the diagrams from rules that were lowered for them to the set of sources
shadow   which of 50,000 rules decide nothing; the diagrams on ranks from lowered rules, the engine from the decoded ruleset; each in a
         process of its own, with its memory
set      100,000 prefixes as one set: from the elements of the kernel's set to intervals, and whether half of them lie in them
growth   1,000 to 50,000 rules, written to docs/growth.svg

What both answer must be equal, or the run fails. Without names, all but `growth` run. `oxidd` is needed.
"""

import argparse
import gc
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from growth import drawing
from peers import Diagrams, shadowed, who_reaches
from workload import ASKED, Line, lines, ruleset

from librespot_guard.firewall.model import SET_INTERVAL, Element, Set
from librespot_guard.reach import routing
from librespot_guard.reach._bits import Piece
from librespot_guard.reach._conditions import entries_of
from librespot_guard.reach.engine import Engine
from librespot_guard.reach.intervals import IntervalSet
from librespot_guard.reach.shadow import scan
from librespot_guard.reach.world import World
from reach.hosts import namespace

FAMILIES = {"ipv4": (32, "192.168.10.2"), "ipv6": (128, "fd00:10::2")}
MANY, PREFIXES = 50_000, 100_000
T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """The result of some work and its CPU seconds."""
    start = time.process_time()
    found = work()
    return found, time.process_time() - start


def _world(number: int, family: str) -> tuple[list[Line], World]:
    rules = lines(number, family)
    world = World(namespace(), ruleset(rules, family))
    gc.collect()
    gc.freeze()  # the model is there before the work begins
    return rules, world


def reach(family: str) -> None:
    """One question, in its parts, beside the diagrams."""
    size, dst = FAMILIES[family]
    rules, world = _world(MANY, family)
    engine = Engine(world, "eth0", family, "tcp")
    _, lowering = timed(lambda: engine._cones)  # noqa: SLF001 - the parts are what is measured
    answer, first = timed(lambda: engine.ask(routing.number(dst), ASKED))
    other = Engine(world, "eth1", family, "tcp")
    _, second = timed(lambda: other.ask(routing.number(dst), ASKED))
    (_, accepted), theirs = timed(lambda: who_reaches(rules, size))
    if not answer.exact or accepted.sat_count(size) != answer.shown_may.size():
        raise AssertionError("the two disagree")
    print(
        f"reach  {family} {MANY} rules: oxidd {theirs:.2f} s; lowered to answer {first:.2f} s, {theirs / first:.1f} times as fast\n"
        f"       lowering {lowering:.2f} s; whole {lowering + first:.2f} s, "
        f"{theirs / (lowering + first):.1f} times; next interface {second:.2f} s, {theirs / second:.1f} times"
    )


def _shadow(who: str, family: str) -> tuple[list[int], float, int]:
    if who == "oxidd":
        rules = lines(MANY, family)
        found, seconds = timed(lambda: shadowed(rules, FAMILIES[family][0]))
    else:
        _, world = _world(MANY, family)
        scans, seconds = timed(lambda: scan(world, family, "input", details=False))
        found = sorted(f.rule.index for _, _, s in scans for f in s.findings)
    return found, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def shadow(family: str) -> None:
    """The shadowed rules, beside the diagrams."""
    results = {}
    for who in ("engine", "oxidd"):
        with get_context("spawn").Pool(1) as pool:
            results[who] = pool.apply(_shadow, (who, family))
    (ours, seconds, memory), (theirs, peer, peer_memory) = results["engine"], results["oxidd"]
    if ours != theirs:
        raise AssertionError("the two disagree")
    print(
        f"shadow {family} {MANY} rules, {len(ours)} shadowed: oxidd {peer:.1f} s, {peer_memory} MB; "
        f"engine {seconds:.2f} s, {memory} MB, {peer / seconds:.1f} times as fast"
    )


def prefixes(family: str) -> None:
    """One large set, beside the diagrams."""
    size, _ = FAMILIES[family]
    random = Random(1)
    wanted = IntervalSet.of(_prefix(random, size) for _ in range(PREFIXES))
    elements = []
    for low, high in wanted:
        elements.append(Element(low.to_bytes(size // 8, "big")))
        elements.append(Element((high + 1).to_bytes(size // 8, "big"), interval_end=True))
    table_set = Set("s", SET_INTERVAL, size // 8, tuple(elements))
    gc.collect()
    gc.freeze()
    entries, ours = timed(lambda: entries_of(table_set, (Piece(size, "saddr", 0, 0),), family))
    if entries.entries[0][0].sets["saddr"] != wanted:
        raise AssertionError("the set is not what went in")
    half = IntervalSet(wanted.pairs[::2])
    inside, subset = timed(lambda: half & wanted == half)
    pairs = list(wanted.pairs)
    _, theirs = timed(lambda: Diagrams(size).sorted_list(pairs, size))
    print(
        f"set    {family} {len(wanted)} intervals: oxidd from the sorted list {theirs:.2f} s; from the kernel's elements {ours:.2f} s, "
        f"{theirs / ours:.1f} times as fast; subset ({inside}) {subset:.2f} s"
    )


def _prefix(random: Random, size: int) -> tuple[int, int]:
    length = random.choice([20, 24, 24, 28]) * size // 32
    low = random.getrandbits(length - 1) << (size - length)
    return low, low + (1 << (size - length)) - 1


def growth() -> None:
    """The engine alone, by number of rules; the best of three runs each."""
    series: dict[str, list[tuple[int, float]]] = {}
    for family, (_, dst) in FAMILIES.items():
        for number in (1_000, 5_000, 10_000, 20_000, 50_000):
            best = min(_whole(number, family, dst) for _ in range(3))
            series.setdefault(family, []).append((number, best))
            print(f"growth {family} {number:>6} rules {best:.3f} s, {1e6 * best / number:.1f} us a rule", flush=True)
    picture = drawing("Who reaches one port, by number of rules (CPU seconds)", series)
    (Path(__file__).parent.parent / "docs" / "growth.svg").write_text(picture, encoding="utf-8")


def _whole(number: int, family: str, dst: str) -> float:
    _, world = _world(number, family)
    return timed(lambda: Engine(world, "eth0", family, "tcp").ask(routing.number(dst), ASKED))[1]


def main() -> None:
    """Run the parts that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", default=["reach", "shadow", "set"])
    parts = parser.parse_args().parts
    print(f"oxidd {version('oxidd')}, CPython {sys.version.split()[0]}")
    for family in FAMILIES:
        for name, part in (("reach", reach), ("set", prefixes), ("shadow", shadow)):
            if name in parts:
                part(family)
                sys.stdout.flush()
    if "growth" in parts:
        growth()


if __name__ == "__main__":
    main()
