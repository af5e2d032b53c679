"""Reading a large packet filter from the kernel: our netlink reader and decoder, and `nft -j list ruleset` with `json.load` beside it.

10,000 rules and an interval set of 100,000 elements are loaded in a throw-away namespace (run it as root, or as an ordinary user). Each
reader is a process of its own; its CPU time and peak memory, its children's included, are what getrusage says of it. Reading is the whole
way from the socket to the model (ours) or to Python objects (nft).

Usage: PYTHONPATH=src python benchmarks/reading.py [--rules N] [--elements N] [--repeat N]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

_OURS = (
    "from librespot_guard import collect, firewall; firewall.decode(collect.read_nft(texts=False), byteorder={order!r})"
)
_THEIRS = "import json, subprocess; json.loads(subprocess.run(['nft', '-j', 'list', 'ruleset'], capture_output=True, check=True).stdout)"


def ruleset(rules: int, elements: int) -> list[str]:
    """The ruleset in pieces that an ordinary user's netlink buffer holds: rules as of a large host, an interval set without neighbours."""
    chain = "chain c { type filter hook input priority 0; policy drop; }"
    out = [f"table inet big {{ set wide {{ type ipv4_addr; flags interval; }}\n{chain}\n}}"]
    for first in range(0, elements, 1000):
        some = (f"{10 + (n >> 16)}.{n >> 8 & 255}.{n & 255}.0/25" for n in range(first, min(first + 1000, elements)))
        out.append(f"add element inet big wide {{ {', '.join(some)} }}")
    out += [
        "\n".join(
            f"add rule inet big c ip saddr 192.168.{n >> 8 & 255}.{n & 255} tcp dport {1024 + n * 7919 % 60000} "
            f"{'accept' if n % 3 else 'counter drop'}"
            for n in range(first, min(first + 200, rules))
        )
        for first in range(0, rules, 200)
    ]
    return out


def measure(code: str) -> tuple[float, float]:
    """CPU seconds and peak MiB of a Python process that runs `code`, with its children."""
    probe = (
        f"{code}\nimport json, resource\n"
        "a, b = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(json.dumps([a.ru_utime + a.ru_stime + b.ru_utime + b.ru_stime, max(a.ru_maxrss, b.ru_maxrss)]))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    seconds, kibibytes = json.loads(done.stdout)
    return seconds, kibibytes / 1024


def inside(path: Path, repeat: int) -> None:
    """Load the rules here and measure the readers in turn."""
    for piece in json.loads(path.read_text(encoding="utf-8")):
        subprocess.run(["nft", "-f", "-"], input=piece, text=True, check=True)
    idle = min(measure("pass") for _ in range(repeat))
    ours = min(measure(_OURS.format(order=sys.byteorder)) for _ in range(repeat))
    theirs = min(measure(_THEIRS) for _ in range(repeat))
    version = subprocess.run(["nft", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    sys.stdout.write(
        f"an idle Python          {idle[0]:.2f} s  {idle[1]:.0f} MiB\n"
        f"librespot-guard         {ours[0]:.2f} s  {ours[1]:.0f} MiB\n"
        f"nft {version} -j, json     {theirs[0]:.2f} s  {theirs[1]:.0f} MiB\n"
        f"ratio                   {ours[0] / theirs[0]:.2f}    {ours[1] / theirs[1]:.2f}\n"
    )


def main() -> None:
    """Run the comparison in a network namespace of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", type=int, default=10_000)
    parser.add_argument("--elements", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        inside(given.inside, given.repeat)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rules.json"
        path.write_text(json.dumps(ruleset(given.rules, given.elements)), encoding="utf-8")
        command = [sys.executable, __file__, "--inside", str(path), "--repeat", str(given.repeat)]
        raise SystemExit(subprocess.run(["unshare", "-Urnm", *command], check=False, env=os.environ).returncode)


if __name__ == "__main__":
    main()
