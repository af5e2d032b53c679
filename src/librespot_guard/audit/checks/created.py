"""Interfaces that do not exist now and that the rules would let in: those of a name that they ask for, and those of any other."""

from collections.abc import Iterable, Iterator
from functools import reduce

from librespot_guard.audit.checks._rules import spaces
from librespot_guard.audit.checks._words import RESTRICT, socket_name
from librespot_guard.audit.checks.paths import SURFACES
from librespot_guard.audit.context import Context
from librespot_guard.audit.model import Check, Finding, Unable
from librespot_guard.audit.sources import in_words, never_sources, own_networks
from librespot_guard.firewall.origin import OWN_TABLE
from librespot_guard.reach import IntervalSet, Reached, World, answers, example, telling
from librespot_guard.reach.interpreter import trace
from librespot_guard.reach.questions import families
from librespot_guard.reach.supposed import MOST, Supposed, names_asked, supposed, with_interfaces
from librespot_guard.snapshot import Namespace, Service, ServiceListener

_SHOWN = 12


def _candidates(context: Context, namespace: Namespace) -> list[Supposed]:
    """The interfaces to suppose in a namespace: none where no rule on the way to its listeners asks for a name."""
    world = context.world(namespace.id)
    outside = next((n.name for n in namespace.links if n.up and not n.loopback), None)
    if outside is None:
        return []
    listeners = [s.listener for v in context.snapshot.services if v.netns == namespace.id for s in v.listeners if s.surface in SURFACES]  # fmt: skip
    names: dict[str, set[str]] = {}
    for family, proto in sorted({(family, one.proto) for one in listeners for family in families(one)}):
        for name, tables in names_asked(world, family, proto, outside).items():
            names.setdefault(name, set()).update(tables)
    # what only our own table names is in the policy, with its why
    ours = {name for name, tables in names.items() if tables == {OWN_TABLE}}
    return supposed(names.keys() - ours, {n.name for n in namespace.links} | ours)


def _union(sets: Iterable[IntervalSet]) -> IntervalSet:
    return reduce(IntervalSet.__or__, sets, IntervalSet())


def _let_in(context: Context, service: Service, owned: ServiceListener, later: World, one: Supposed) -> Iterator[str]:
    """Lines about who would get to a listener over a supposed interface and does not get there now, one for each family."""
    outside = [n.name for n in context.namespace(service).links if not n.loopback]
    reached = answers(later, owned.listener, {one.name})
    for family in families(owned.listener):
        there = [r for r in reached if r.question.family == family]
        link = own_networks(later.namespace, [one.name], family)
        if one.asked is not None:
            ways = [e for e in context.exposures(service, *SURFACES) if e.listener == owned and e.family == family]
            now = [e.answer for e in ways]
        else:
            # what any interface lets in is no matter of names, even if routing has no way for it now
            found = answers(later, owned.listener, outside)
            now = [r.answer for r in found if r.question.family == family]
        elsewhere = own_networks(later.namespace, outside, family) - link
        new = _union(r.answer.must for r in there) - _union(a.may for a in now) - elsewhere - never_sources(family)
        if one.asked is None:
            new -= link
        if not new:
            continue
        # the networks of other interfaces are in the midst of those who get in, although no answer leads back to them
        shown = _union(r.answer.shown_must for r in there) - _union(a.shown_may for a in now)
        who = "whoever is on its link" if not new - link else in_words(family, shown)
        yield f"{socket_name(owned.listener)} over {_called(one)}: {who} would get in{_by(later, there, owned, new)}"


def _called(one: Supposed) -> str:
    """An interface that is not there, in words."""
    if one.asked == one.name:
        return f"an interface `{one.name}`"
    return f"an interface of {f'a name like `{one.asked}`' if one.asked else 'any other name'} (asked as `{one.name}`)"


def _by(later: World, there: list[Reached], owned: ServiceListener, new: IntervalSet) -> str:
    """The rule that lets a packet in, as the interpreter finds it."""
    for reached in there:
        sure = reached.answer.must & new
        if not sure:
            continue
        packet = example(reached.question, owned.listener.proto, reached.answer, telling(reached.question.family, sure))
        steps = trace(later, packet).trail if packet is not None else ()
        if steps:
            return f", by {steps[-1].table} {steps[-1].chain}: `{steps[-1].rule}`"
    return ""


def _created(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for namespace in spaces(check, context):
        if isinstance(namespace, Unable):
            yield namespace
            continue
        found = _candidates(context, namespace)
        if len(found) > MOST:
            left = ", ".join(f"`{one.name}`" for one in found[MOST:][:MOST])
            yield check.unable(None, f"interfaces that are not there, {left} among them", f"the rules name more than {MOST}")  # fmt: skip
        worlds = [(one, with_interfaces(context.world(namespace.id), [one.name])) for one in found[:MOST]]
        for service in context.snapshot.services if worlds else ():
            lines: list[str] = []
            open_names = False
            for owned in service.listeners if service.netns == namespace.id else ():
                for one, later in worlds if owned.surface in SURFACES else ():
                    told = list(_let_in(context, service, owned, later, one))
                    lines += told
                    open_names |= bool(told) and one.asked != one.name
            if lines:
                more = [f"and {len(lines) - _SHOWN} more of the kind"] if len(lines) > _SHOWN else []
                severity = "medium" if open_names else "low"
                yield check.finding(service.name, [*lines[:_SHOWN], *more], severity=severity)


CHECKS = (
    Check(
        id="LG408",
        title="an interface that is created later would be let in",
        severity="medium",
        threats=("unauthorised-access", "network-attack"),
        what=(
            "Takes the names of ingress interfaces that rules on the way to a service ask for and that no interface has now, and asks, for one "
            "interface of each of them and for one of any other name, who would get in over it and does not get in now; supposing that the way back "
            "leads out of it, as a VPN or a tethered phone brings it along. Low if the rule names just that one interface. "
            "What a policy applied here names is not reported."
        ),
        why=(
            "Programs create interfaces without asking about the firewall: a VPN, containers, virtual machines, a phone on USB. A rule for `wg*`, for "
            "`docker0`, or for everything but `eth0` lets their networks in from that moment on, and no rule changes."
        ),
        fix=(
            "write rules for the one interface that is meant, with the networks behind it, in place of a beginning of names or of everything but one",
            "let the input chain drop what no rule accepts, and remove rules for interfaces that are no longer used",
            *RESTRICT,
        ),
        verify="librespot-guard audit",
        look=_created,
    ),
)
