"""The judge at work: rulesets from a seed, one after the other; a disagreement is shrunk and kept as a case file.

scripts/soak --seed 7 --rulesets 2000 --packets 500
scripts/soak --hours 8                   (a fresh seed, which is printed)
scripts/soak --case tests/reach/corpus/found/NAME.nft
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from librespot_guard.reach.packet import Packet, packet_from_json
from reach.bench import Bench, bench, flat_stage
from reach.boundaries import Packets
from reach.grammar import Grammar
from reach.judging import Ask, Tally, Wrong, asks, judge
from reach.shrinking import smallest

if TYPE_CHECKING:
    from collections.abc import Iterator

FOUND = Path(__file__).parent / "corpus" / "found"
_QUESTIONS = 8
_SHRINK_SECONDS = 90.0


def one(place: Bench, seed: str, packets: int, tally: Tally) -> tuple[str, list[Wrong]]:
    """Judge the ruleset of one seed; its text, and every disagreement."""
    random = Random(seed)
    world, rules = place.load(Grammar(random).text())
    sent = Packets(world.ruleset, random).take(packets)
    return rules, judge(place, world, sent, asks(sent, random, _QUESTIONS), tally)


def again(place: Bench, rules: str, wrong: Wrong) -> bool:
    """Whether a ruleset still shows a disagreement of the same kind with the same packet or question."""
    try:
        world, _ = place.load(rules)
    except AssertionError:
        return False
    found = judge(place, world, [wrong.packet] if wrong.packet else [], [wrong.ask] if wrong.ask else [], Tally())
    return any(w.kind == wrong.kind for w in found)


def shrunk(place: Bench, rules: str, wrong: Wrong) -> str:
    """The smallest ruleset found that still shows a disagreement, as a case file."""
    until = time.monotonic() + _SHRINK_SECONDS
    if again(place, rules, wrong):
        rules = smallest(rules, lambda text: time.monotonic() < until and again(place, text, wrong))
    return wrong.header() + rules.strip() + "\n"


def read_case(text: str) -> tuple[str, list[Packet], list[Ask]]:
    """The rules, packets and questions of a case file."""
    packets, questions, rules = [], [], []
    for line in text.splitlines():
        if line.startswith("#? "):
            packets.append(packet_from_json(json.loads(line[3:]), where="case"))
        elif line.startswith("#ask "):
            iface, family, proto, dst, port = line[5:].split()
            questions.append(Ask(iface, family, proto, dst, int(port)))
        elif not line.startswith("#"):
            rules.append(line)
    return "\n".join(rules), packets, questions


def replay(place: Bench, text: str) -> list[Wrong]:
    """Every disagreement that a case file still shows."""
    rules, packets, questions = read_case(text)
    world, _ = place.load(rules)
    return judge(place, world, packets, questions, Tally())


def run(place: Bench, arguments: argparse.Namespace) -> Iterator[str]:
    """The run itself, as lines of progress; the last line is the summary."""
    tally, kinds, start = Tally(), Counter[str](), time.monotonic()
    shown = start
    number = arguments.first
    while number < arguments.first + arguments.rulesets and time.monotonic() - start < 3600 * arguments.hours:
        seed = f"{arguments.seed}/{number}"
        rules, wrong = one(place, seed, arguments.packets, tally)
        for kind in {w.kind for w in wrong}:
            first = next(w for w in wrong if w.kind == kind)
            kinds[kind] += 1
            yield f"DISAGREEMENT in {seed}: {kind}\n{first.packet or first.ask}\n{first.says}"
            if kinds[kind] <= arguments.keep:
                file = FOUND / f"{'-'.join(kind.split()[:6]).replace(',', '')}-{seed.replace('/', '-')}.nft".replace(
                    "'", ""
                )
                FOUND.mkdir(exist_ok=True)
                file.write_text(shrunk(place, rules, first), encoding="utf-8")
                yield f"kept as {file}\n{file.read_text(encoding='utf-8')}"
        number += 1
        if time.monotonic() - shown > arguments.every:
            shown = time.monotonic()
            yield f"{shown - start:.0f} s: {tally}; disagreements: {dict(kinds) or 0}"
    seconds = time.monotonic() - start
    yield (
        f"{tally}; {place.refused} of {place.lines} lines refused by nft; {seconds:.0f} s, {tally.rulesets / seconds:.2f} rulesets/s; "
        f"seed {arguments.seed}; disagreements: {dict(kinds) or 0}"
    )
    if kinds:
        raise SystemExit(1)


def main() -> None:
    """Run as a program; exit status 1 if anything disagreed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--seed", default=None, help="what the rulesets come from (default: a fresh one, which is printed)"
    )
    parser.add_argument("--rulesets", type=int, default=1 << 62)
    parser.add_argument("--first", type=int, default=0, help="the number of the first ruleset of the seed")
    parser.add_argument("--packets", type=int, default=500, help="packets for each ruleset")
    parser.add_argument("--hours", type=float, default=1e9)
    parser.add_argument("--every", type=float, default=60, help="seconds between two lines of progress")
    parser.add_argument("--keep", type=int, default=3, help="disagreements of a kind that are shrunk and kept")
    parser.add_argument("--case", type=Path, default=None, help="replay one case file")
    arguments = parser.parse_args()
    if arguments.rulesets == 1 << 62 and arguments.hours == 1e9 and arguments.case is None:
        arguments.hours = 1.0
    arguments.seed = arguments.seed or secrets.token_hex(4)

    def inside() -> int:
        with bench(place) as built:
            if arguments.case is not None:
                found = replay(built, arguments.case.read_text(encoding="utf-8"))
                print("\n".join(f"{w.kind}\n{w.says}" for w in found) or "no disagreement", flush=True)
                return len(found)
            print(f"seed {arguments.seed}", flush=True)
            try:
                for line in run(built, arguments):
                    print(line, flush=True)
            except SystemExit:
                return 1
        return 0

    with flat_stage() as place:
        raise SystemExit(min(1, place.box.call(inside)))


if __name__ == "__main__":
    main()
