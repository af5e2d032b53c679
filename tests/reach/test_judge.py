"""The kernel judges interpreter and engines: generated rulesets, packets on every border, several interfaces, both families.

`LIBRESPOT_GUARD_SEED` and `LIBRESPOT_GUARD_ROUNDS` repeat or lengthen a run; `scripts/soak` runs it for as long as one likes, shrinks
what it finds and keeps it in `corpus/found`, which is replayed here.
"""

import os
import secrets
from collections.abc import Iterator

import pytest

from kernel_judge import Stage
from reach.bench import bench, flat_stage
from reach.judging import Tally, Wrong
from reach.soak import FOUND, one, replay, shrunk

pytestmark = pytest.mark.kernel
pytest.importorskip("oxidd", reason="the extra [bdd] (oxidd) is not installed")

SEED = os.environ.get("LIBRESPOT_GUARD_SEED", "librespot-guard")
ROUNDS = int(os.environ.get("LIBRESPOT_GUARD_ROUNDS", "16"))
PACKETS = 300
CASES = sorted(FOUND.glob("*.nft"))


@pytest.fixture(scope="module")
def place() -> Iterator[Stage]:
    """A host with two cables."""
    with flat_stage() as built:
        yield built


def judged(place: Stage, seed: str, rounds: int) -> tuple[Tally, str]:
    """So many rulesets of a seed judged: what was seen, and the first disagreement, shrunk ("" if there is none)."""

    def inside() -> tuple[Tally, str]:
        tally = Tally()
        with bench(place) as built:
            for number in range(rounds):
                rules, wrong = one(built, f"{seed}/{number}", PACKETS, tally)
                if wrong:
                    again = f"scripts/soak --seed {seed} --first {number} --rulesets 1 --packets {PACKETS}"
                    return tally, f"{told(wrong[0])}\n{shrunk(built, rules, wrong[0])}\nonce more: {again}"
        return tally, ""

    return place.box.call(inside)


def told(wrong: Wrong) -> str:
    """A disagreement as text."""
    return f"{wrong.kind}\n{wrong.packet or wrong.ask}\n{wrong.says}"


@pytest.mark.parametrize("seed", [SEED, secrets.token_hex(4)], ids=["fixed", "fresh"])
def test_interpreter_engines_and_kernel_agree(place: Stage, seed: str) -> None:
    """Generated rulesets: verdicts, trails and bounds are the kernel's, and the two engines do not contradict each other."""
    tally, wrong = judged(place, seed, ROUNDS)
    assert not wrong, wrong
    assert tally.rulesets == ROUNDS
    # the run was worth it: packets end in every way, and both engines mostly know exactly
    assert all(tally.verdicts[v] > ROUNDS for v in ("delivered", "forwarded", "stopped")), tally
    assert tally.promises > ROUNDS, tally
    assert min(tally.exact["intervals"], tally.exact["bdd"]) > tally.asked // 2, tally


@pytest.mark.parametrize("case", CASES, ids=[case.stem for case in CASES])
def test_what_was_found_once_stays_mended(place: Stage, case: os.PathLike[str]) -> None:
    """Every disagreement that the judge ever found is judged again."""

    def inside() -> list[Wrong]:
        with bench(place) as built:
            return replay(built, open(case, encoding="utf-8").read())  # noqa: PTH123 - closed with the fork

    assert [told(w) for w in place.box.call(inside)] == []
