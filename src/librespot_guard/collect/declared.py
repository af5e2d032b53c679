"""What an instance that does not run would open, by its settings and the catalogue."""

from contextlib import suppress
from ipaddress import ip_address

from librespot_guard.catalog import Flavour, Surface
from librespot_guard.collect.settings import Resolved
from librespot_guard.snapshot import Listener, ServiceListener

_OFF = ("false", "no", "off", "0")


def listeners(
    flavour: Flavour, version: str | None, argv: tuple[str, ...], resolved: Resolved
) -> tuple[ServiceListener, ...]:
    """The listeners that it would open; port 0 stands for a random one."""
    found = []
    for surface in flavour.surfaces_of(version):
        if not _opens(surface, flavour, version, argv, resolved):
            continue
        port, by = port_of(surface, flavour, version, resolved)
        for address in _addresses(surface, flavour, version, resolved) or [surface.bind]:
            family = "ipv6" if ":" in address else "ipv4"
            found.append(
                ServiceListener(
                    Listener(surface.proto, family, address, port, v6only=False if family == "ipv6" else None),
                    surface.name,
                    pinned=port != 0,
                    pinned_by=by,
                    known_by="declared",
                )
            )
    return tuple(dict.fromkeys(found))


def port_of(surface: Surface, flavour: Flavour, version: str | None, resolved: Resolved) -> tuple[int, str]:
    """The port that the settings give a surface, and where it is set; 0 if it is random."""
    for setting in flavour.settings_of(version):
        value = resolved.raw.get(setting.name, "")
        if (
            setting.kind == "port"
            and setting.concerns(surface.name, surface.which)
            and value.isascii()
            and value.isdigit()
            and len(value) < 6
        ):
            number = int(value)
            if 0 < number < 65536:
                return number, resolved.origins[setting.name]
    if surface.port:
        return surface.port, f"always {surface.port} unless set"
    return 0, "random port (changes at restart)"


def _opens(surface: Surface, flavour: Flavour, version: str | None, argv: tuple[str, ...], resolved: Resolved) -> bool:
    if surface.opened != "always" and "api jar" in surface.opened:
        return any("librespot-api" in word or ".api.Main" in word for word in argv)
    kind = flavour.setting("credentials-type", version)
    if kind and surface.name in ("connect", "discovery") and resolved.raw.get(kind.name, kind.default) == "zeroconf":
        return True  # go-librespot: then it is on whatever the switch says (daemon/app.go:168-171)
    opened = surface.opened == "always"
    for setting in flavour.settings_of(version):
        value = resolved.raw.get(setting.name)
        own = setting.concerns(surface.name, surface.which)
        if value is None or not (own or (surface.name == "discovery" and setting.surface == "connect")):
            continue
        if setting.opens:
            is_on = value not in ("", "0") if setting.opens == "*" else value.upper() == setting.opens
            opened = is_on if own or not is_on else opened
        elif setting.kind == "switch":
            on = value.lower() not in _OFF
            # a "disable_…" key turns off by being true
            on = on != setting.name.startswith(("disable", "no-"))
            opened = on if own or not on else opened
        elif setting.kind == "flag" and setting.name.startswith(("disable", "no-")):
            opened = False
    return opened


def _addresses(surface: Surface, flavour: Flavour, version: str | None, resolved: Resolved) -> list[str]:
    """The addresses that the settings give a surface; none if they give none that is one."""
    found = []
    for setting in flavour.settings_of(version):
        if setting.kind != "address" or not setting.concerns(surface.name, surface.which):
            continue
        for given in resolved.every.get(setting.name, ()):
            value = given.strip("[]\"'")
            if value == "localhost":
                found.append("127.0.0.1")
            elif value in ("", "0.0.0.0", "every address") and flavour.name == "go-librespot":  # noqa: S104 - Go binds both families then
                found.append("::")
            else:
                with suppress(ValueError):
                    found.append(str(ip_address(value)))
    return found
