"""The feature review of a service: which of its surfaces a stated use does not need, and the exact change that takes each away.

Pure: from the catalogue, a service and the text of its configuration files to proposals. `minimise_edits` turns them into changed files.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from librespot_guard.catalog import USES, Flavour, Removal, Setting, Surface, holds
from librespot_guard.errors import Refused
from librespot_guard.plan.minimise_place import Place, current, place_of, wins
from librespot_guard.snapshot import Service, ServiceListener
from librespot_guard.snapshot.setting_file import SettingFile

_NEEDED = {
    "phones": frozenset({"connect", "discovery", "stream"}),
    "application": frozenset({"api", "control", "stream"}),
    "nobody": frozenset[str](),
}
MEANING = dict(
    zip(
        USES,
        (
            "phones on the network choose the speaker",
            "only an application drives it",
            "nobody on another host needs it",
        ),
        strict=True,
    )
)
"""What each use means, in words."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What to do about some surfaces of a service.

    Attributes:
        surfaces: which.
        action: "keep", "pin" (fix its port), "local" (bind it to this host), "off", or "none" (nothing to do: it is not open).
        how: the exact change, or why there is none, as one sentence.
        stops: what will stop working.
        needs: what must be there first, "" for nothing.
        place: where the setting is changed by `apply`, None if that is left to the user.
        problem: why `apply` does not do it, "" if it does or there is nothing to do.
        done: the file says so already; the service may have to be restarted.
        unconfirmed: what is not certain about it, "" if nothing is known to be.
    """

    surfaces: tuple[str, ...]
    action: str
    how: str
    stops: tuple[str, ...] = ()
    needs: str = ""
    place: Place | None = None
    problem: str = ""
    done: bool = False
    unconfirmed: str = ""

    def to_json(self) -> dict[str, Any]:
        """The proposal as one JSON object."""
        return {
            "surfaces": list(self.surfaces),
            "action": self.action,
            "how": self.how,
            "stops": list(self.stops),
            "needs": self.needs or None,
            "change": self.place.to_json() if self.place else None,
            "problem": self.problem or None,
            "done": self.done,
            "unconfirmed": self.unconfirmed or None,
        }


@dataclass(frozen=True, slots=True)
class Review:
    """The feature review of one service for one use."""

    service: Service
    flavour: Flavour
    use: str
    proposals: tuple[Proposal, ...]

    def to_json(self) -> dict[str, Any]:
        """The review as one JSON object."""
        return {
            "service": self.service.name,
            "flavour": self.flavour.name,
            "version": self.service.version,
            "unit": self.service.unit,
            "use": self.use,
            "proposals": [p.to_json() for p in self.proposals],
        }


def review(
    service: Service,
    flavour: Flavour,
    use: str,
    files: Sequence[SettingFile] = (),
    *,
    remote: frozenset[str] | None = None,
) -> Review:
    """Review one service.

    Args:
        service: as it was found.
        flavour: what the catalogue knows of it.
        use: one of `catalog.USES`.
        files: its configuration files, as `collect.setting_files` reads them.
        remote: surfaces that somebody on another host may reach by the policy; None if there is no policy.
    """
    version = service.version
    proposals: list[Proposal] = []
    seen: set[tuple[tuple[str, ...], str]] = set()
    for surface in flavour.surfaces_of(version):
        listeners = [s for s in service.listeners if s.surface == surface.name]
        if surface.port and len({s.port for s in flavour.surfaces_of(version) if s.name == surface.name}) > 1:
            listeners = [s for s in listeners if s.listener.port == surface.port]
        if not listeners and surface.opened != "always":
            proposals.append(Proposal((surface.name,), "none", f"it is open {surface.opened}, and was not seen here"))
            continue
        needed = surface.name in _NEEDED[use] and (
            remote is None or surface.name in remote or surface.name not in ("api", "control", "stream")
        )
        if needed:
            proposals.append(_keep(service, flavour, surface, listeners, files))
            continue
        if listeners and all(ip_address(s.listener.address).is_loopback for s in listeners):
            proposals.append(Proposal((surface.name,), "none", "it is bound to this host already"))
            continue
        removal = _removal(flavour, version, surface)
        if removal is None:
            proposals.append(Proposal((surface.name,), "keep", f"nothing takes it away: {surface.narrow}"))
        elif (removal.surfaces, removal.setting) not in seen:
            seen.add((removal.surfaces, removal.setting))
            proposals.append(_remove(service, flavour, removal, files))
    return Review(service, flavour, use, tuple(proposals))


def _removal(flavour: Flavour, version: str | None, surface: Surface) -> Removal | None:
    """What takes a surface away: rather bound to this host than gone, as programs of the host may use it; rather a setting than advice."""
    fitting = [
        r
        for r in flavour.removals
        if surface.name in r.surfaces and r.which == surface.which and holds(version, r.since, r.until)
    ]
    return min(fitting, key=lambda r: (not r.setting, not r.local), default=None)


def _keep(
    service: Service,
    flavour: Flavour,
    surface: Surface,
    listeners: Sequence[ServiceListener],
    files: Sequence[SettingFile],
) -> Proposal:
    name = (surface.name,)
    loose = [s for s in listeners if not s.pinned and surface.name in ("connect", "api", "control", "stream")]
    setting = next(
        (
            s
            for s in flavour.settings_of(service.version)
            if s.kind == "port" and s.concerns(surface.name, surface.which)
        ),
        None,
    )
    if not loose:
        return Proposal(name, "keep", f"it is needed; {surface.narrow}")
    if setting is None:
        return Proposal(name, "keep", f"it is needed, and its port can't be fixed in this version; {surface.narrow}")
    port = str(loose[0].listener.port)
    why = f"fix its port: {_words(flavour, setting, port)}; {surface.narrow}"
    return _with_place(service, flavour, Proposal(name, "pin", why), setting, port, files)


def _remove(service: Service, flavour: Flavour, removal: Removal, files: Sequence[SettingFile]) -> Proposal:
    action = "local" if removal.local else "off"
    proposal = Proposal(
        removal.surfaces,
        action,
        removal.how,
        removal.stops,
        removal.needs,
        unconfirmed=removal.unconfirmed,
    )
    setting = flavour.setting(removal.setting, service.version) if removal.setting else None
    if setting is None:
        return _problem(proposal, "it is no setting that can be changed in a file: do it by hand")
    for condition in removal.vain_with:
        name, _, value = condition.partition("=")
        other = flavour.setting(name, service.version)
        if other is None:
            continue
        now = wins(service, flavour, other) if other.kind == "flag" else None
        now = now or current(service, flavour, other, files)
        if now is None and value and other.default == value:
            now = value
        if now is not None and (not value or now.lower() == value):
            says = f"`{other.key or other.environment or other.long}` is {value or 'set'}"
            return _problem(proposal, f"{says}, with which this does nothing or ends the service: {removal.needs}")
    return _with_place(service, flavour, proposal, setting, removal.value, files)


def _with_place(
    service: Service, flavour: Flavour, proposal: Proposal, setting: Setting, value: str, files: Sequence[SettingFile]
) -> Proposal:
    if winner := wins(service, flavour, setting):
        return _problem(proposal, f"`{winner}` on its command line wins over every file: change it there")
    names = {s.key: None for s in flavour.settings if s.name == setting.name and s.key}
    if len(names) > 1 and not service.version:
        either = " or ".join(f"`{name}`" for name in names)
        return _problem(proposal, f"its version is not known, and by that the setting is called {either}")
    try:
        place = place_of(service, flavour, setting, value, files)
    except Refused as error:
        return _problem(proposal, str(error))
    now = current(service, flavour, setting, files)
    done = now == value or (setting.kind == "flag" and now is not None and flavour.arguments.flag_values is False)
    return Proposal(
        proposal.surfaces,
        proposal.action,
        proposal.how,
        proposal.stops,
        proposal.needs,
        None if done else place,
        done=done,
        unconfirmed=proposal.unconfirmed,
    )


def _problem(proposal: Proposal, text: str) -> Proposal:
    return Proposal(
        proposal.surfaces,
        proposal.action,
        proposal.how,
        proposal.stops,
        proposal.needs,
        problem=text,
        unconfirmed=proposal.unconfirmed,
    )


def _words(flavour: Flavour, setting: Setting, port: str) -> str:
    if setting.surface == "connect" and flavour.pin:
        # the sentences of the catalogue speak of port 37878
        return flavour.pin.replace("37878", port)
    return f"set `{setting.key or setting.long}` to {port}"


def reviews(
    services: Sequence[tuple[Service, str, frozenset[str] | None]],
    flavours: Mapping[str, Flavour],
    files: Mapping[str, Sequence[SettingFile]],
) -> Iterator[Review]:
    """The reviews of several services (with the use of each, and what the policy lets others reach); unknown flavours are left out.

    `files` holds the configuration files by name of the service.
    """
    for service, use, remote in services:
        flavour = flavours.get(service.flavour)
        if flavour is not None:
            yield review(service, flavour, use, files.get(service.name, ()), remote=remote)
