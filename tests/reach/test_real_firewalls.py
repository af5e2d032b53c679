"""Rulesets of ufw, firewalld and Docker: the answers of both engines and the interpreter are what the kernel does.

The recorded ones are judged everywhere; where the tools are installed they write them anew.
"""

import shutil
from collections.abc import Iterator
from random import Random

import pytest

from kernel_judge import Stage
from reach.bench import bench, flat_stage
from reach.boundaries import Packets
from reach.judging import Tally, asks, judge
from reach.real_firewalls import SETUPS, Setup, generate, missing, sections

pytestmark = pytest.mark.kernel
pytest.importorskip("oxidd", reason="the extra [bdd] (oxidd) is not installed")

# behind Docker's DNAT, and the ports that the configurations name with those beside them
_TARGETS = ["172.17.0.1", "172.17.0.2", "172.17.0.3", "172.17.0.9"]
_PORTS = [p for port in (22, 80, 443, 3678, 5353, 8080, 9999) for p in (port - 1, port, port + 1)]


@pytest.fixture(scope="module")
def place() -> Iterator[Stage]:
    """A host with two cables and Docker's bridge."""
    if shutil.which("iptables-nft-restore") is None:
        pytest.skip("`iptables-nft-restore` is missing (Debian package iptables)")
    with flat_stage(containers=True) as built:
        yield built


def judged(place: Stage, text: str) -> tuple[Tally, list[str]]:
    """Judge one ruleset with packets on all borders."""

    def inside() -> tuple[Tally, list[str]]:
        tally = Tally()
        with bench(place) as built:
            world = built.adopt(sections(text))
            random = Random(text)
            packets = Packets(world.ruleset, random, targets=_TARGETS, ports=_PORTS).take(250)
            wrong = judge(built, world, packets, asks(packets, random, 6), tally)
        return tally, [f"{w.kind}\n{w.packet or w.ask}\n{w.says}" for w in wrong]

    return place.box.call(inside)


@pytest.mark.parametrize("setup", SETUPS, ids=[s.name for s in SETUPS])
def test_recorded_rulesets(place: Stage, setup: Setup) -> None:
    """No disagreement about the rulesets that were recorded."""
    tally, wrong = judged(place, setup.file.read_text(encoding="utf-8"))
    assert wrong == []
    assert tally.verdicts["delivered"], tally
    assert tally.verdicts["stopped"], tally


@pytest.mark.parametrize("setup", SETUPS, ids=[s.name for s in SETUPS])
def test_rulesets_written_now(place: Stage, setup: Setup) -> None:
    """No disagreement about what the tool of this machine writes."""
    if why := missing(setup.tool):
        pytest.skip(f"rules of {setup.tool}: {why}")
    _, wrong = judged(place, generate(setup))
    assert wrong == []
