"""The same rules for z3, as a competent user writes them: header fields as bit-vectors, chains folded from their last rule to their first.

Left out in z3's favour: parsing (it gets the rules split into options), translation (no service has a published port), and every rule that
gives no verdict. Connection states and kinds of addresses are constants, since the question is about packets that open a flow to this host.
"""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network
from typing import Any

import z3

from librespot_guard.firewall.iptables_save import Saved, SavedRule

_PROTOS = {"tcp": 6, "udp": 17, "icmp": 1}
_FALSE, _TRUE = z3.BoolVal(False), z3.BoolVal(True)
Pair = tuple[int, int]


class Formula:
    """Who gets through the table `filter`, chain INPUT, as one formula over source, destination, protocol, ports and interface."""

    def __init__(self, saved: Saved, ipsets: str, interfaces: Sequence[str]) -> None:
        self.source, self.destination = z3.BitVec("source", 32), z3.BitVec("destination", 32)
        self.sport, self.dport, self.proto = z3.BitVec("sport", 16), z3.BitVec("dport", 16), z3.BitVec("proto", 8)
        self.interface = z3.BitVec("interface", 4)
        self.interfaces = {name: number for number, name in enumerate(["lo", *interfaces])}
        self.rules = next(t for t in saved.tables if t.name == "filter").rules
        self._sets = {name: self._members(name, ipsets) for name in ("blocklist", "admins", "partners")}
        self._known: dict[str, tuple[Any, Any]] = {}
        self.accepted, _ = self.chain("INPUT")  # its policy is DROP

    def question(self, interface: str, destination: int, proto: str, port: int) -> list[Any]:
        """What holds for every packet to one service."""
        return [
            self.interface == self.interfaces[interface],
            self.destination == destination,
            self.proto == _PROTOS[proto],
            self.dport == port,
        ]

    def chain(self, name: str) -> tuple[Any, Any]:
        """Where a chain accepts and where it drops; elsewhere it goes back."""
        if name not in self._known:
            accepted, dropped = _FALSE, _FALSE
            for rule in reversed(self.rules[name]):
                target = rule.target.name if rule.target else ""
                match = z3.And(*self._conditions(rule)) if target not in ("", "LOG") else _FALSE
                if target == "ACCEPT":
                    accepted, dropped = z3.Or(match, accepted), z3.And(z3.Not(match), dropped)
                elif target in ("DROP", "REJECT"):
                    accepted, dropped = z3.And(z3.Not(match), accepted), z3.Or(match, dropped)
                elif target == "RETURN":
                    accepted, dropped = z3.And(z3.Not(match), accepted), z3.And(z3.Not(match), dropped)
                elif target in self.rules:
                    yes, no = self.chain(target)
                    accepted = z3.If(match, z3.Or(yes, z3.And(z3.Not(no), accepted)), accepted)
                    dropped = z3.If(match, z3.Or(no, z3.And(z3.Not(yes), dropped)), dropped)
                elif target not in ("", "LOG"):
                    raise AssertionError(f"the target {target}")
            self._known[name] = accepted, dropped
        return self._known[name]

    def _conditions(self, rule: SavedRule) -> Iterator[Any]:
        for inverted, name, values in rule.entry:
            if name in ("-s", "-d"):
                found = self._network(self.source if name == "-s" else self.destination, values[0])
            elif name == "-p":
                found = self.proto == _PROTOS[values[0]]
            elif name == "-i":
                found = self.interface == self.interfaces[values[0]]
            else:
                raise AssertionError(name)
            yield z3.Not(found) if inverted else found
        for module in rule.matches:
            for inverted, name, values in module.options:
                found = self._option(name, values)
                yield z3.Not(found) if inverted else found

    def _option(self, name: str, values: tuple[str, ...]) -> Any:
        match name:
            case "--dport" | "--dports":
                return z3.Or(*(self._range(self.dport, word) for word in values[0].split(",")))
            case "--sport":
                return self._range(self.sport, values[0])
            case "--ctstate":
                return z3.BoolVal("NEW" in values[0].split(","))
            case "--dst-type":
                return z3.BoolVal(values[0] == "LOCAL")
            case "--icmp-type":
                return _TRUE  # the protocol is asked for beside it, and no question is about ICMP
            case "--match-set":
                return self._sets[values[0]]
        raise AssertionError(name)

    @staticmethod
    def _range(field: Any, text: str) -> Any:
        low, _, high = text.partition(":")
        return field == int(low) if not high else z3.And(z3.UGE(field, int(low)), z3.ULE(field, int(high)))

    @staticmethod
    def _network(field: Any, text: str) -> Any:
        network = IPv4Network(text)
        if not network.prefixlen:
            return _TRUE
        low = 32 - network.prefixlen
        return z3.Extract(31, low, field) == int(network.network_address) >> low

    def _members(self, name: str, ipsets: str) -> Any:
        """A set: of entries that hold an address the longest decides, so the shorter ones come last."""
        entries = [line.split()[2:] for line in ipsets.splitlines() if line.split()[:2] == ["add", name]]
        if name == "partners":
            pairs = [entry[0].partition(",") for entry in entries]
            return z3.Or(
                *(
                    z3.And(self._network(self.source, host), self.proto == 6, self.dport == int(port.partition(":")[2]))
                    for host, _, port in pairs
                )
            )
        found = _FALSE
        for words in sorted(entries, key=lambda w: int(w[0].partition("/")[2] or 32)):
            inside = self._network(self.source, words[0])
            found = z3.And(z3.Not(inside), found) if "nomatch" in words else z3.Or(inside, found)
        return found


def witness(solver: Any, formula: Formula, question: list[Any]) -> int | None:
    """Some source that reaches a service, or None."""
    solver.push()
    solver.add(*question)
    found = None
    if solver.check() == z3.sat:
        found = int(solver.model().eval(formula.source, model_completion=True).as_long())
    solver.pop()
    return found


def is_exactly(formula: Formula, question: list[Any], pairs: Sequence[Pair]) -> bool:
    """Whether the sources that reach a service are these, no more and no less (for a fixed source port, which no rule of theirs asks for)."""
    solver = z3.Solver()
    inside = z3.Or(*(z3.And(z3.UGE(formula.source, low), z3.ULE(formula.source, high)) for low, high in pairs))
    solver.add(*question, formula.sport == 40000, formula.accepted != inside)
    return bool(solver.check() == z3.unsat)


def sources(formula: Formula, question: list[Any]) -> Iterator[Pair]:
    """All sources that reach a service, as intervals in order: the same question as ours.

    Of a witness the first source is found by halving, then the first behind it that does not reach; and so on from there.
    """
    solver = z3.Solver()
    solver.add(*question, formula.sport == 40000)
    at, top = 0, (1 << 32) - 1
    while at <= top and (low := _first(solver, formula, at, reaches=True)) is not None:
        end = _first(solver, formula, low, reaches=False)
        yield low, top if end is None else end - 1
        at = top + 1 if end is None else end


def _first(solver: Any, formula: Formula, at: int, *, reaches: bool) -> int | None:
    """The first source from `at` on that reaches (or does not), by halving what lies before the best so far."""
    solver.push()
    solver.add(formula.accepted if reaches else z3.Not(formula.accepted))
    best = _some(solver, formula, at, (1 << 32) - 1)
    low = at
    while best is not None and low < best:
        middle = low + (best - low) // 2
        found = _some(solver, formula, low, middle)
        if found is None:
            low = middle + 1
        else:
            best = found
    solver.pop()
    return best


def _some(solver: Any, formula: Formula, low: int, high: int) -> int | None:
    """Some source between these two."""
    solver.push()
    solver.add(z3.UGE(formula.source, low), z3.ULE(formula.source, high))
    found = None
    if solver.check() == z3.sat:
        found = int(solver.model().eval(formula.source, model_completion=True).as_long())
    solver.pop()
    return found
