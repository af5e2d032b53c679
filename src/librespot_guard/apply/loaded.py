"""Whether what is loaded is still what was confirmed, as far as it can be told cheaply, for `status`.

Rules of each chain and elements of each set are counted, in nft's listing and in the text that was loaded: the words of the listing differ
between versions of nft, the numbers do not. `plan` compares the kernel's own bytes.
"""

# a line of a chain that is no rule begins so
_HOOK = ("type", "policy", "comment")


class Shape:
    """What a listing, or a text for nft, holds of our table.

    Attributes:
        sizes: rules by chain and elements by set or map, as ("chain", name), ("set", name) and ("map", name).
        ports: what is guarded, as (protocol, port).
        dormant: whether the table sleeps.
    """

    __slots__ = ("dormant", "ports", "sizes")

    def __init__(self, text: str) -> None:
        self.sizes: dict[tuple[str, str], int] = {}
        self.ports: set[tuple[str, int]] = set()
        self.dormant = False
        block, listed = ("", ""), False
        for line in text.splitlines():
            words = line.split()
            if words[-1:] == ["{"] and words[0] in ("chain", "set", "map"):
                block = words[0], words[1]
                self.sizes[block] = 0
            elif block[0] in ("set", "map"):
                # elements = { A, B } in any number of lines; the last may have a comma behind it
                listed = listed or words[:1] == ["elements"]
                if listed:
                    inner = line.rpartition("{")[2].partition("}")[0]
                    self.sizes[block] += sum(bool(each.strip()) for each in inner.split(","))
                if "}" in line:
                    block, listed = (block if listed else ("", "")), False
            elif words == ["}"]:
                block = "", ""
            elif block[0] == "chain" and words and words[0] not in _HOOK:
                self.sizes[block] += 1
                self._port(block[1], words)
            elif not block[0] and words[:2] == ["flags", "dormant"]:
                self.dormant = True

    def _port(self, chain: str, words: list[str]) -> None:
        if chain.startswith("policy_") and words[1:2] == ["dport"] and words[2].isdecimal():
            self.ports.add((words[0], int(words[2])))


def missing(wanted: Shape, found: Shape) -> str:
    """What another program did to the table, in a few words; "" if nothing can be seen."""
    if found.dormant:
        return "the table sleeps (`flags dormant`)"
    for block, size in wanted.sizes.items():
        what = "rules" if block[0] == "chain" else "elements"
        if found.sizes.get(block) != size:
            return f"{block[0]} {block[1]} has {found.sizes.get(block, 0)} {what} instead of {size}"
    return ""


def silent(ports: set[tuple[str, int]]) -> list[str]:
    """The guarded ports on which nothing listens in this network namespace, as "tcp port 37878" (proc(5), /proc/net/tcp)."""
    out = []
    for proto in sorted({proto for proto, _ in ports}):
        here: set[int] = set()
        for name in (proto, f"{proto}6"):
            try:
                with open(f"/proc/self/net/{name}", encoding="ascii") as file:  # noqa: PTH123 - pathlib is slow to import
                    rows = [line.split() for line in file][1:]
            except FileNotFoundError:
                continue  # a kernel without IPv6
            except OSError:
                return []
            # 0A is TCP_LISTEN; a UDP socket has no such state
            here |= {int(row[1].rpartition(":")[2], 16) for row in rows if proto == "udp" or row[3] == "0A"}
        out += [f"{proto} port {port}" for kind, port in sorted(ports) if kind == proto and port not in here]
    return out
