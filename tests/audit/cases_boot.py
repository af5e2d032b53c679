"""Hosts with units that remove rules, come up before them, or ask systemd for what it does not do; test_boot.py has real units."""

from dataclasses import replace

from audit.case import Case, clean, has
from audit.hosts import DROP, filters, home_only, host, librespot, table
from librespot_guard.snapshot import Boot, FilterStep, LoadedLine, Snapshot, UnitFacts, UnitLine

DEBIAN = ("252 (252.38-1)", ("+SECCOMP", "-BPF_FRAMEWORK"))
BOTH = filters(home_only(), table((DROP,), family="ip", chain="DOCKER-USER", policy="accept"))
_FLUSH = (LoadedLine("flush ruleset", "/etc/nftables.conf:3"),)


def _lines(**settings: str) -> tuple[UnitLine, ...]:
    return tuple(
        UnitLine("Unit" if key in ("After", "Before", "Wants") else "Service", key, value, f"/etc/x:{number}")
        for number, (key, value) in enumerate(settings.items(), start=1)
    )


def _firewall(
    order: dict[str, str],
    *,
    wanted_by: tuple[str, ...] = ("multi-user.target",),
    removes: bool = False,
    brings: tuple[str, ...] | None = None,
    reloads: tuple[FilterStep, ...] | None = None,
) -> UnitFacts:
    return UnitFacts(
        "nftables.service",
        _lines(**order),
        wanted_by,
        filters=True,
        removes=_FLUSH * removes,
        brings=brings,
        steps=reloads,
    )


def _host(*units: UnitFacts, systemd: tuple[str, tuple[str, ...]] = DEBIAN, **settings: str) -> Snapshot:
    """A host with a librespot.service of these settings, and these units."""
    own = UnitFacts("librespot.service", _lines(**settings), ("multi-user.target",))
    return replace(host(librespot()), boot=Boot(*systemd, (own, *units)))


def _of_user(user: str, *, systemd: tuple[str, tuple[str, ...]] = DEBIAN, **settings: str) -> Snapshot:
    """A host whose librespot belongs to the manager of a user, beside a unit of the system that has its name."""
    units = (UnitFacts("librespot.service"), UnitFacts("librespot.service", _lines(**settings), user=user))
    return replace(host(librespot(manager=user)), boot=Boot(*systemd, units))


def _stopped(running: Snapshot) -> Snapshot:
    """The same host with its services stopped."""
    return replace(running, services=(), stopped=running.services)


_TAKES = FilterStep("ExecReload", "nft flush ruleset", "/etc/x:1", removes="all")
_BRINGS = FilterStep("ExecReload", "nft -f /etc/rules.nft", "/etc/x:2", loads=True)
_PRE = {"Before": "network-pre.target", "Wants": "network-pre.target"}
CASES: tuple[Case, ...] = (
    has("LG305", "flush", "low", "/etc/nftables.conf:3: `flush ruleset`", of=_host(_firewall(_PRE, removes=True)), rules=filters(home_only())),
    has("LG305", "flush beside Docker", "medium", "table ip filter of Docker", of=_host(_firewall(_PRE, removes=True)), rules=BOTH),
    has("LG305", "a table of the administrator that is lost", "medium", "takes table inet filter with it, and loads no file", of=_host(_firewall(_PRE, removes=True, brings=())), rules=filters(home_only())),
    has("LG305", "a table that comes back", "low", "/etc/nftables.conf:3", of=_host(_firewall(_PRE, removes=True, brings=("inet filter",))), rules=filters(home_only())),
    clean("LG305", "not enabled", of=_host(_firewall(_PRE, removes=True, wanted_by=())), rules=BOTH),
    clean("LG305", "no flush", of=_host(_firewall(_PRE)), rules=BOTH),
    has("LG306", "after the network", "medium", "nftables.service loads rules", "librespot.service is not ordered after", of=_host(_firewall({"After": "network.target"}))),
    clean("LG306", "before the network", of=_host(_firewall(_PRE))),
    clean("LG306", "the service waits", of=_host(_firewall({"After": "network.target"}), After="nftables.service")),
    clean("LG306", "no unit loads rules", of=_host()),
    has("LG307", "two transactions", "medium", "/etc/x:1: `nft flush ruleset` until /etc/x:2", of=_host(_firewall(_PRE, reloads=(_TAKES, _BRINGS)))),
    clean("LG307", "one transaction", of=_host(_firewall(_PRE, reloads=(replace(_BRINGS, removes="all"),)))),
    clean("LG307", "not enabled", of=_host(_firewall(_PRE, reloads=(_TAKES, _BRINGS), wanted_by=()))),
    has("LG210", "SocketBindDeny", "medium", "built without BPF_FRAMEWORK", of=_host(SocketBindDeny="any")),
    clean("LG210", "it has it", of=_host(systemd=("257.9", ("+BPF_FRAMEWORK",)), SocketBindDeny="any")),
    has("LG210", "of a user", "medium", "/etc/x:1: `IPAddressDeny=any`", "the manager of user anna", of=_of_user("anna", IPAddressDeny="any")),
    has("LG210", "of a user with a systemd that has it", "medium", "the manager of user anna", of=_of_user("anna", systemd=("257.9", ("+BPF_FRAMEWORK",)), SocketBindDeny="any")),
    has("LG210", "of a user, stopped", "medium", "the manager of user anna", of=_stopped(_of_user("anna", IPAddressDeny="any"))),
    has("LG210", "stopped", "medium", "built without BPF_FRAMEWORK", of=_stopped(_host(SocketBindDeny="any"))),
    clean("LG210", "root's own manager", of=_of_user("root", IPAddressDeny="any")),
    clean("LG210", "of a user, without such a setting", of=_of_user("anna", Slice="speaker.slice")),
    clean("LG210", "no such setting", of=_host(IPAddressDeny="any")),
)  # fmt: skip
