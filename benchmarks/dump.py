"""Who reaches each service of a host with 5,000 rules of ufw, fail2ban and Docker, beside z3; CPU seconds.

    python benchmarks/dump.py [--rules N] [--services N] [--whole N] [--patience SECONDS]

The rules are loaded with iptables-restore and ipset in a throw-away namespace, and what iptables-save and ipset save print there is the
input. Ours is `snapshot import` and then every question about every service: all sources, on every interface and address of the host. z3
gets the easier one: a single source, on each interface for its own address. For some services it also gets the same question, all
sources, and stops when it loses patience. Both must give the same answer, or the run fails.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stderr
from importlib.metadata import version
from io import StringIO
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import z3
from dump_rules import ADDRESSES, Busy, busy
from dump_z3 import Formula, is_exactly, sources, witness

from librespot_guard import reach
from librespot_guard.cli.main import main as command
from librespot_guard.firewall.iptables_save import parse_iptables_save
from librespot_guard.reach.intervals import IntervalSet
from librespot_guard.reach.routing import number
from librespot_guard.snapshot import Listener, loads

_PIECE = 200
Found = dict[tuple[str, str, int], IntervalSet]


def printed(host: Busy, folder: Path) -> None:
    """Load the rules in a namespace, and keep what the tools print there: FOLDER/ipset and FOLDER/iptables."""
    (folder / "ipset.in").write_text(host.ipsets, encoding="utf-8")
    for index, piece in enumerate(_pieces(host.rules)):
        (folder / f"iptables.{index:04}").write_text(piece, encoding="utf-8")
    script = (
        "ipset restore < ipset.in; for piece in iptables.????; do iptables-nft-restore --noflush < $piece; done; "
        "ipset save > ipset; iptables-nft-save > iptables"
    )
    subprocess.run(["unshare", "-Urnm", "sh", "-ec", script], cwd=folder, check=True)


def _pieces(rules: str) -> Iterator[str]:
    """Rules in pieces that an ordinary user's netlink buffer holds; each table's chains come with its first."""
    for table in rules.split("COMMIT\n")[:-1]:
        head, *lines = table.splitlines()
        chains = [line for line in lines if line.startswith(":")]
        for first in range(len(chains), len(lines), _PIECE):
            shown = chains if first == len(chains) else []
            yield "\n".join([head, *shown, *lines[first : first + _PIECE], "COMMIT", ""])


def ours(folder: Path, services: tuple[tuple[str, int], ...]) -> Found:
    """What reaches each service at the addresses of each interface, by the way of the product."""
    addresses = [word for name, address in ADDRESSES.items() for word in ("--address", f"{name}={address}")]
    argv = [
        "snapshot",
        "import",
        "-o",
        str(folder / "s.json"),
        "--iptables-save",
        str(folder / "iptables"),
        "--ipset-save",
        str(folder / "ipset"),
    ]
    with redirect_stderr(StringIO()):
        status = command([*argv, *addresses], standalone_mode=False)
    if status:
        raise AssertionError(f"snapshot import ended with {status}")
    world = reach.world(loads((folder / "s.json").read_text(encoding="utf-8")))
    found: Found = {}
    for proto, port in services:
        for one in reach.answers(world, Listener(proto, "ipv4", "0.0.0.0", port)):  # noqa: S104 - the address of a listener
            if one.question.iface == "lo" or one.question.surplus:
                continue
            if not one.answer.exact:
                raise AssertionError(f"{proto}/{port}: {one.answer.because}")
            found[one.question.iface, proto, port] = one.answer.shown_may
    return found


def asked(
    formula: Formula, services: tuple[tuple[str, int], ...]
) -> Iterator[tuple[tuple[str, str, int], list[object]]]:
    """Every service on every interface, as z3 is asked."""
    for proto, port in services:
        for name, address in ADDRESSES.items():
            destination = number(address.partition("/")[0])
            yield (name, proto, port), formula.question(name, destination, proto, port)


def main() -> None:
    """Run both, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", type=int, default=5_000)
    parser.add_argument("--services", type=int, default=100)
    parser.add_argument("--whole", type=int, default=1, help="services for which z3 finds all sources too")
    parser.add_argument("--patience", type=float, default=300, help="CPU seconds of z3 for all sources of one service")
    given = parser.parse_args()
    host = busy(given.rules, given.services)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        printed(host, folder)
        text = (folder / "iptables").read_text(encoding="utf-8")
        count = sum(line.startswith("-A") for line in text.splitlines())
        start = time.process_time()
        answers = ours(folder, host.services)
        mine = time.process_time() - start
        saved = parse_iptables_save(text, source="iptables")
        ipsets = (folder / "ipset").read_text(encoding="utf-8")
    start = time.process_time()
    formula = Formula(saved, ipsets, list(ADDRESSES))
    built = time.process_time() - start
    solver = z3.Solver()
    solver.add(formula.accepted)
    some = {key: witness(solver, formula, question) for key, question in asked(formula, host.services)}
    theirs = time.process_time() - start
    for key, source in some.items():
        if (source is None) != (not answers[key]) or (source is not None and source not in answers[key]):
            raise AssertionError(f"the two disagree about {key}: {source}")
    print(
        f"{count} rules, {len(host.services)} services, z3 {z3.get_version_string()} ({version('z3-solver')}), CPython {sys.version.split()[0]}\n"
        f"ours, all sources of {len(some)} questions and more, import included: {mine:.2f} s\n"
        f"z3, one source of each of {len(some)} questions: {theirs:.2f} s (of that {built:.2f} s to build), ours is {mine / theirs:.1%}",
        flush=True,
    )
    for key, question in islice(asked(formula, host.services), 0, 2 * given.whole, 2):
        everything(formula, key, question, answers[key], given.patience, mine / len(some))


def everything(
    formula: Formula,
    key: tuple[str, str, int],
    question: list[object],
    answer: IntervalSet,
    patience: float,
    share: float,
) -> None:
    """The same question to z3: all sources that reach one service; `share` is what one such answer cost us."""
    if not is_exactly(formula, question, answer.pairs):
        raise AssertionError(f"the two disagree about {key}")
    start = time.process_time()
    found = []
    for pair in sources(formula, question):
        found.append(pair)
        if time.process_time() - start > patience:
            break
    seconds = time.process_time() - start
    if tuple(found) != answer.pairs[: len(found)]:
        raise AssertionError(f"the two disagree about {key}")
    part = len(found) / len(answer.pairs)
    print(
        f"z3, all sources of {key[1]}/{key[2]} on {key[0]}: {len(found)} of {len(answer.pairs)} intervals in {seconds:.1f} s; "
        f"ours took {share:.4f} s for such a question: {share / (seconds / part):.3%}{'' if part == 1 else ' (what is left, in proportion)'}",
        flush=True,
    )


if __name__ == "__main__":
    main()
