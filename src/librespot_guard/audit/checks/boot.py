"""The packet filter and systemd: rules that a restart removes, services that are up before the rules, settings without effect."""

from collections.abc import Iterable, Iterator

from librespot_guard.audit.checks._rules import whose
from librespot_guard.audit.context import Context
from librespot_guard.audit.model import Check, Finding, Unable
from librespot_guard.audit.ordering import NETWORK_PRE, in_a_circle, started_before
from librespot_guard.audit.sources import listed
from librespot_guard.firewall.model import Table
from librespot_guard.snapshot import Boot, Service, UnitFacts

_NO_WRITER = ("nftables", "iptables")
# the release of systemd that has a setting, and the build option without which it is accepted and does nothing
_SETTINGS = {
    "SocketBindAllow": (249, "BPF_FRAMEWORK"),
    "SocketBindDeny": (249, "BPF_FRAMEWORK"),
    "RestrictNetworkInterfaces": (250, "BPF_FRAMEWORK"),
    "NFTSet": (255, ""),
}
_ADDRESSES = ("IPAddressAllow", "IPAddressDeny")


def _boot(check: Check, context: Context) -> Boot | Unable:
    if context.snapshot.boot is not None:
        return context.snapshot.boot
    return check.unable(
        None, "the units of this host", "the snapshot was taken by a version that did not read them", "take it again"
    )


def _units(boot: Boot, services: Iterable[Service]) -> Iterator[tuple[Service, UnitFacts]]:
    """Services with their units."""
    units = {(unit.name, unit.user): unit for unit in boot.units}
    for service in services:
        unit = units.get((service.unit or "", service.manager or ""))
        # snapshots of old know nothing of the units of a user's manager, which may have the names of the system's
        if unit is not None and (service.manager or "/user@" not in (service.cgroup or "")):
            yield service, unit


def _removes(check: Check, context: Context) -> Iterator[Finding | Unable]:
    boot = _boot(check, context)
    if isinstance(boot, Unable):
        if any(s.unit for s in context.snapshot.services):
            yield boot
        return
    home = context.snapshot.home.id
    known: tuple[Table, ...] = context.world(home).ruleset.tables if context.filter_known(home) else ()
    for unit in boot.units:
        if not (unit.removes and unit.wanted_by):
            continue
        lines = [f"{line.origin}: `{line.text}`" for line in unit.removes]
        writers = _lost(known, unit)
        named = sorted(filter(None, writers))
        lines += [f"it takes table {listed(writers[name])} of {name} with it" for name in named]
        if "" in writers:
            lines.append(f"it takes table {listed(writers[''])} with it, and loads no file that brings it back")
        yield check.finding(
            None,
            [f"{unit.name} starts with this host (wanted by {listed(unit.wanted_by)})", *lines],
            severity="medium" if writers else None,
            here=f"Here {listed(named)} would have to be restarted after it." if named else "",
            place=unit.name,
        )


def _lost(tables: Iterable[Table], unit: UnitFacts) -> dict[str, list[str]]:
    """The tables that a restart of the unit takes and does not bring back, by the program that wrote them, "" where none is known."""
    found: dict[str, list[str]] = {}
    for table in tables:
        name = f"{table.family} {table.name}"
        if name in (unit.brings or ()):
            continue
        managers = dict.fromkeys(whose(table, chain).manager for chain in table.chains)
        others = [manager for manager in managers if manager not in _NO_WRITER]
        # whether rules of the administrator's own come back is known only where all that the unit loads is
        for manager in others or ([""] if unit.brings is not None and managers else []):
            found.setdefault(manager, []).append(name)
    return found


REMOVES = Check(
    id="LG305",
    title="a unit removes the rules of everybody when it is restarted",
    severity="low",
    threats=("unauthorised-access", "denial-of-service"),
    what=(
        "Looks through the units that load a packet filter and are enabled, their drop-ins, and the files that they load, for `flush ruleset` and for "
        "`iptables -F` without a chain. Medium if tables are loaded that such a line removes and the unit does not bring back: those of another "
        "program, or, where all that the unit loads is files of nft, any that none of them has."
    ),
    why=(
        "`systemctl restart nftables` (an update does it too) removes all tables, also those of Docker, firewalld or librespot-guard, and brings back "
        "only its own. Until somebody notices, the host is open, or its containers are cut off."
    ),
    fix=(
        "in the loaded file, replace `flush ruleset` by removing only its own tables: `table inet filter` and then `delete table inet filter`",
        "in a drop-in (`systemctl edit nftables.service`) empty `ExecStop=` and put the same there",
    ),
    verify="systemctl cat nftables.service",
    look=_removes,
)


def _race(check: Check, context: Context) -> Iterator[Finding | Unable]:
    boot = _boot(check, context)
    if isinstance(boot, Unable):
        if any(s.unit for s in context.snapshot.services):
            yield boot
        return
    late = [
        unit
        for unit in boot.units
        if unit.filters and unit.wanted_by and unit.name not in started_before(boot, NETWORK_PRE)
    ]
    for service, unit in _units(boot, context.snapshot.services):
        earlier = started_before(boot, unit.name)
        behind = [one for one in late if one.name not in earlier]
        if behind and unit.wanted_by:
            yield check.finding(
                service.name,
                [
                    *(f"{one.name} loads rules and is not before {NETWORK_PRE}: {_order(one)}" for one in behind),
                    f"{unit.name} is not ordered after {listed(one.name for one in behind)}: {_order(unit)}",
                ],
                fix=tuple(_sooner(boot, behind[0], unit)),
                verify=f"systemd-analyze critical-chain {unit.name}",
                place=unit.name,
            )


def _sooner(boot: Boot, rules: UnitFacts, service: UnitFacts) -> Iterator[str]:
    """How the rules come first: by drop-ins where these do; what orders a unit can be added there, and not taken away."""
    added = f"`Wants={NETWORK_PRE}` and `Before={NETWORK_PRE}`"
    if not in_a_circle(boot, rules.name, NETWORK_PRE):
        yield f"`systemctl edit {rules.name}`: `[Unit]`, {added}"
    else:
        holding = [
            line
            for line in rules.all("After")
            if any(n == NETWORK_PRE or in_a_circle(boot, n, NETWORK_PRE) for n in line.value.split())
        ]
        out = (
            listed(f"`After={line.value}` ({line.origin})" for line in holding)
            or "what makes it start after the network"
        )
        yield f"`systemctl edit --full {rules.name}`: take out {out}, which no drop-in can, and put {added} there"
    if not in_a_circle(boot, rules.name, service.name):
        yield f"or `systemctl edit {service.name}`: `[Unit]`, `After={rules.name}`"


def _order(unit: UnitFacts) -> str:
    lines = [f"{line.key}={line.value}" for line in unit.all("After", "Before")]
    return listed(f"`{line}`" for line in lines) if lines else "it says nothing of its order"


RACE = Check(
    id="LG306",
    title="the service can be reached before the rules are loaded",
    severity="medium",
    threats=("unauthorised-access",),
    what=(
        "Compares the order of the units: one that loads rules has to be before network-pre.target (and want it), or the service has to start after "
        "it. Order is followed through all units, with what systemd adds by default."
    ),
    why=(
        "While the host comes up there is a moment at which the network is there and the rules are not. `Before=network.target` does not help: the "
        "interfaces are up by then. Who waits for a reboot, or causes one, gets in."
    ),
    fix=(
        "load the rules before the network: `Wants=network-pre.target` and `Before=network-pre.target` in the unit that does it",
    ),
    verify="systemctl list-dependencies --before network-pre.target",
    look=_race,
)


def _vain(check: Check, context: Context) -> Iterator[Finding | Unable]:
    boot = context.snapshot.boot
    if boot is None:
        return
    for service, unit in _units(boot, (*context.snapshot.services, *context.snapshot.stopped)):
        if unit.user not in ("", "root"):
            yield from _powerless(check, service, unit)
            continue
        lines = [line for line in unit.all(*_SETTINGS) if line.section == "Service"]
        if not lines:
            continue
        number = boot.version.split(" ")[0].split(".")[0].split("~")[0]
        if not number.isdigit():
            yield check.unable(
                service.name, f"settings of {unit.name} that confine it", "systemd did not say its version"
            )
            continue
        vain = []
        for line in lines:
            since, option = _SETTINGS[line.key]
            if int(number) < since:
                vain.append(
                    f"{line.origin}: `{line.key}={line.value}`: systemd has it since {since}, this is {boot.version}"
                )
            elif option and f"+{option}" not in boot.features:
                vain.append(
                    f"{line.origin}: `{line.key}={line.value}`: systemd {boot.version} was built without {option}"
                )
        if vain:
            yield check.finding(service.name, vain, place=unit.name)


def _powerless(check: Check, service: Service, unit: UnitFacts) -> Iterator[Finding]:
    """What the manager of a user other than root can't do, whatever it was built with (bpf(2): CAP_BPF and CAP_NET_ADMIN)."""
    lines = [line for line in unit.all(*_SETTINGS, *_ADDRESSES) if line.section == "Service"]
    if lines:
        yield check.finding(
            service.name,
            [
                *(f"{line.origin}: `{line.key}={line.value}`" for line in lines),
                f"{unit.name} belongs to the manager of user {unit.user}, which may not load what these settings need",
            ],
            fix=(
                check.fix[0],
                f"or make it a unit of the system, with `User={unit.user}`: there IPAddressDeny= and IPAddressAllow= work",
            ),
            verify=f"journalctl _UID={service.uid} -g 'not running as root'",
            place=unit.name,
        )


VAIN = Check(
    id="LG210",
    title="systemd accepts a setting that confines the service, and ignores it",
    severity="medium",
    threats=("unauthorised-access", "remote-exploitation"),
    what=(
        "Looks for SocketBindAllow=, SocketBindDeny=, RestrictNetworkInterfaces= and NFTSet= in the unit and its drop-ins, and asks the running "
        "systemd for its version and build options. The first three need BPF_FRAMEWORK, which Debian 12 is built without. Of the units of a user's "
        "manager (`systemctl --user`), which has not the rights for any of them, also IPAddressAllow= and IPAddressDeny=."
    ),
    why="`systemctl show` shows the setting, nothing in the journal tells that it does nothing, and whoever set it believes the service to be confined.",
    fix=(
        "restrict the service by the packet filter: `librespot-guard plan policy.yaml`",
        "IPAddressDeny= and IPAddressAllow= work on such a systemd, for both directions",
    ),
    verify="systemctl --version",
    look=_vain,
)

CHECKS = (REMOVES, RACE, VAIN)
