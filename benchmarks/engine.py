"""Who reaches one TCP port under many rules: CPU seconds of the engine, by number of rules and family.

    python benchmarks/engine.py [--rules 1000,5000,20000]

Rules are random first-match rules on sources and ports. Issue B sets this beside other engines; here it shows growth.
"""

import argparse
import sys
import time
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from librespot_guard.firewall.model import Bitwise, Cmp, Expr, Meta, Payload
from librespot_guard.reach.engine import reachable
from librespot_guard.reach.world import World
from reach.hosts import ACCEPT, DROP, input_world, to_tcp, v4


def many(number: int, family: str, random: Random) -> World:
    """A host with so many rules in its input chain."""
    size, offset = (32, 12) if family == "ipv4" else (128, 8)
    guard = v4() if family == "ipv4" else (Meta("nfproto", 0), Cmp("eq", 0, b"\x0a"))
    rules: list[tuple[Expr, ...]] = []
    for _ in range(number):
        prefix = random.choice([12, 16, 20, 24, 24, 24, 32, 32]) * size // 32
        mask = ((1 << prefix) - 1) << (size - prefix)
        address = random.getrandbits(size) & mask
        rule: list[Expr] = [*guard, Payload("network", offset, size // 8, 0)]
        rule += [
            Bitwise("mask-xor", 0, 0, size // 8, mask.to_bytes(size // 8, "big"), bytes(size // 8)),
            Cmp("eq", 0, address.to_bytes(size // 8, "big")),
        ]
        if random.random() < 0.7:
            rule += to_tcp(random.choice([3678, 80, 22, 5353]))
        rules.append((*rule, random.choice([ACCEPT, DROP])))
    return input_world(*rules)


def main() -> None:
    """Print one line for each size and family."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rules", default="1000,5000,20000", help="numbers of rules, separated by commas")
    numbers = [int(n) for n in parser.parse_args().rules.split(",")]
    for family, dst in (("ipv4", "192.168.10.2"), ("ipv6", "fd00:10::2")):
        for number in numbers:
            world = many(number, family, Random(number))
            start = time.process_time()
            answer = reachable(world, iface="eth0", family=family, proto="tcp", dst=dst, dport=3678)
            seconds = time.process_time() - start
            print(
                f"{family} {number:>6} rules {seconds:7.2f} s CPU {1e6 * seconds / number:7.1f} us a rule, {len(answer.may)} intervals, exact {answer.exact}"
            )


if __name__ == "__main__":
    main()
