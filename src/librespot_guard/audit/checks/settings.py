"""Settings that do not do what they say, secrets that others can read, and a port that changes."""

from collections.abc import Iterator

from librespot_guard.audit.checks._words import RESTRICT, socket_name
from librespot_guard.audit.context import Context
from librespot_guard.audit.model import Check, Finding, Unable
from librespot_guard.audit.settings import FLAGS, LIBRESPOT, Setting, flag, option
from librespot_guard.audit.sources import listed
from librespot_guard.snapshot import Service

# an unknown socket may be one with which the service only asks (DNS, a resolver), at a port of the moment
_SERVED = frozenset({"connect", "api", "control", "stream", "metadata"})
_OFF = frozenset({"0", "disable", "disabled", "false", "n", "no", "none", "off"})
_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to


def _random(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for service in context.snapshot.services:
        loose = [s for s in service.listeners if not s.pinned and s.surface in _SERVED]
        if not loose:
            continue
        names = [socket_name(s.listener) for s in loose]
        yield check.finding(
            service.name,
            [
                f"{name} ({s.surface}): {s.pinned_by or 'no setting fixes the port'}"
                for name, s in zip(names, loose, strict=True)
            ],
            here=f"A rule for {names[0]} loses its listener at the next restart, and the new port is open.",
            fix=(
                _pin(context, service),
                "restart the service and make the policy anew: `librespot-guard plan policy.yaml`",
            ),
            verify="librespot-guard scan",
            place=names[0],
        )


def _pin(context: Context, service: Service) -> str:
    known = context.flavour(service)
    return (
        known.pin if known else f"fix the port in the settings of {service.flavour}: `librespot-guard explain pinned`"
    )


RANDOM = Check(
    id="LG201",
    title="the port changes at every restart, so that no rule can follow it",
    severity="medium",
    threats=("network-attack", "unauthorised-access"),
    what="Reports a listener whose port is not fixed by any setting: the kernel chooses another one at each start.",
    why=(
        "A packet filter names ports. Whoever opens a range of ports to make discovery work opens it for everything else, and a rule "
        "that closes today's port closes nothing after the next restart, which nobody sees."
    ),
    fix=("fix the port with the setting of the flavour (`--zeroconf-port` for librespot)",),
    verify="librespot-guard scan",
    look=_random,
)

# settings that only change what is announced; facts/librespot-network.md 2.2
_IN_VAIN = (("zeroconf-interface", "i", LIBRESPOT), ("zeroconf.interfaces", None, frozenset({"librespot-java"})))


def _vain(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for service in context.snapshot.services:
        setting = _interface_setting(service)
        wild = [
            s
            for s in service.listeners
            if s.surface == "connect" and s.listener.address in _WILDCARDS and s.listener.device is None
        ]
        if setting is None or not wild:
            continue
        name = socket_name(wild[0].listener)
        yield check.finding(
            service.name,
            [f"{setting.place} is {setting.value!r}", f"the listener is still on every address: {name}"],
            fix=(
                *RESTRICT,
                "keep it only if the announcement itself shall name fewer addresses",
            ),
            verify=f"librespot-guard reach --to {wild[0].listener.proto}/{wild[0].listener.port}",
            place=setting.place,
        )


def _interface_setting(service: Service) -> Setting | None:
    found = (option(service, long, short) for long, short, flavours in _IN_VAIN if service.flavour in flavours)
    return next((s for s in found if s is not None), None)


VAIN = Check(
    id="LG205",
    title="the interface setting limits the announcement only, not the listener",
    severity="medium",
    threats=("unauthorised-access", "network-attack"),
    what="Reports `--zeroconf-interface` (or its counterpart) on a service whose Spotify Connect listener is bound to the wildcard address all the same.",
    why=(
        "The help text speaks of binding, but no member of the family can bind this listener: the setting removes addresses from what mDNS announces "
        "(with avahi not even that). Whoever knows or guesses the port reaches it over every interface."
    ),
    fix=("restrict the listener with the packet filter instead",),
    verify="librespot-guard reach",
    look=_vain,
)


def _flag(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for service in context.snapshot.services:
        if service.flavour not in LIBRESPOT:
            continue
        for long, (_, effect, opens) in FLAGS.items():
            setting = flag(service, long)
            if setting is None or setting.value.strip().lower() not in _OFF:
                continue
            remove = (
                "the word after the option, or both"
                if setting.place.startswith("`-")
                else f"{setting.place} from the environment of the service"
            )
            yield check.finding(
                service.name,
                [f"{setting.place} is set, followed by or with the value {setting.value!r}, and is therefore on"],
                here=f"Here it means: {effect}.",
                severity="medium" if opens else None,
                fix=(
                    f"to switch it off, remove {remove}, and restart the service",
                    "to keep it on, give it no value that says otherwise",
                ),
                verify="librespot-guard audit",
                place=setting.place,
            )


FLAG = Check(
    id="LG206",
    title='a flag is on, although its value says "off"',
    severity="low",
    threats=("unauthorised-access", "denial-of-service"),
    what='Reports flags of librespot (options without a value) whose variable or following word is "off", "false", "no", "0" or the like.',
    why="librespot looks only whether the option or variable exists, never at its value: the service does the opposite of what its owner reads in the file.",
    fix=("remove the variable or option to switch the flag off",),
    verify="librespot-guard audit",
    look=_flag,
)


def _secret(check: Check, context: Context) -> Iterator[Finding | Unable]:
    for service in context.snapshot.services:
        if not service.secrets:
            continue
        argv = [s.name for s in service.secrets if s.where == "argv"]
        environment = [s.name for s in service.secrets if s.where != "argv"]
        evidence, here = [], []
        if argv:
            evidence.append(f"on the command line of process {service.pid}: {listed(argv)}")
            here.append("Every user of this host reads the command line with `ps`.")
        if environment:
            evidence.append(f"in the environment of process {service.pid}: {listed(environment)}")
            here.append(
                "The environment is inherited by every program the service starts, and ends up in crash reports."
            )
        yield check.finding(
            service.name,
            evidence,
            here=" ".join(here),
            severity="high" if argv else "medium",
            verify="librespot-guard scan",
            place="command line" if argv else "environment",
        )


SECRET = Check(
    id="LG207",
    title="a secret stands on the command line or in the environment",
    severity="high",
    threats=("credential-theft",),
    what=(
        "Reports options and variables that hold a password or a token. The value itself is never read into a report or a snapshot. "
        "High on the command line, medium in the environment."
    ),
    why="Whoever reads it uses the account from anywhere, and no packet filter on this host helps against that.",
    fix=(
        "remove the option or variable, and log in once from a phone (Spotify Connect) or with `--enable-oauth`; the login is then kept in the cache folder",
        "treat the secret as known to others: change the password, or remove the application's access in the account's settings",
    ),
    verify="librespot-guard scan",
    look=_secret,
)

CHECKS = (RANDOM, VAIN, FLAG, SECRET)
