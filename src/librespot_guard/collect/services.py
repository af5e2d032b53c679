"""From candidates to services: ask them, tell their surfaces, redact what they were started with, and give them names."""

import pwd
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from librespot_guard.catalog import Catalog, Flavour
from librespot_guard.collect import getinfo, http, units
from librespot_guard.collect.candidates import Candidate
from librespot_guard.collect.namespaces import current_id, in_namespace
from librespot_guard.collect.processes import Process, working_folder
from librespot_guard.collect.programs import is_java
from librespot_guard.collect.pythons import code_of, is_python, package_version
from librespot_guard.collect.redact import options_of, redact_argv, redact_environment, values_of
from librespot_guard.collect.settings import Resolved, Start, canonical, home_of, resolve
from librespot_guard.collect.surfaces import Subject, classify, loopback, wildcard
from librespot_guard.errors import MachineError
from librespot_guard.snapshot import Address, Gap, Info, Listener, Namespace, Service

# of one process no more listeners than this are asked
_MAX_ASKED = 8
# what a source of snapserver holds that starts or reads a family member; `spotify://` is an old name of `librespot://`
_SOURCES = ("librespot", "spotifyd", "spotify://")

Answers = dict[Listener, Info | getinfo.NoInfo]


def ask_all(
    candidates: Sequence[Candidate], namespaces: Mapping[str, Namespace]
) -> tuple[list[Answers], tuple[Gap, ...]]:
    """Ask every candidate by getInfo, from inside its network namespace; the answers in the order of the candidates.

    Only listeners that serve the network are asked: the one on loopback is that of a login, which takes a single request. A program
    that is known and has no Spotify Connect listener is left alone: snapserver says nothing to a request on the port of its streams.
    """
    here = current_id()
    with ThreadPoolExecutor(max_workers=8) as pool:
        results = list(pool.map(partial(_ask, here=here, namespaces=namespaces), candidates))
    gaps = dict.fromkeys(gap for _, gap in results if gap is not None)
    return [answers for answers, _ in results], tuple(gaps)


def _ask(candidate: Candidate, *, here: str, namespaces: Mapping[str, Namespace]) -> tuple[Answers, Gap | None]:
    netns = candidate.process.netns
    namespace = namespaces.get(netns or "")
    addresses = namespace.addresses if namespace else ()
    asked = [s for s in candidate.listeners if s.proto == "tcp" and not loopback(s.address)][:_MAX_ASKED]
    work = partial(_ask_each, asked, addresses)
    if not asked or _never_answers(candidate):
        return {}, None
    try:
        return (work() if netns in (here, None) else in_namespace(candidate.process.pid, work)), None
    except MachineError as error:
        return {}, Gap("services in other network namespaces could not be asked (getInfo)", str(error), error.hint)


def _never_answers(candidate: Candidate) -> bool:
    flavour = candidate.flavour if candidate.certain else None
    return flavour is not None and flavour.surface("connect", candidate.version) is None


def _ask_each(listeners: Sequence[Listener], addresses: Sequence[Address]) -> Answers:
    """Ask them side by side: one that is silent takes its time, and keeps no other waiting."""
    if len(listeners) == 1:
        told = [_ask_one(listeners[0], addresses)]
    else:
        # threads of this thread are in its network namespace
        with ThreadPoolExecutor(max_workers=len(listeners)) as pool:
            told = list(pool.map(partial(_ask_one, addresses=addresses), listeners))
    return {listener: one for listener, one in zip(listeners, told, strict=True) if one is not None}


def _ask_one(listener: Listener, addresses: Sequence[Address]) -> Info | getinfo.NoInfo | None:
    told: Info | getinfo.NoInfo | None = None
    for address in reached_at(listener, addresses):
        try:
            return getinfo.ask(address, listener.port)
        except TimeoutError:  # packets to it vanish: another address would only cost the same time again
            return getinfo.NoInfo(f"no connection within {http.SECONDS:g} seconds")
        except OSError as error:
            told = getinfo.NoInfo(f"no connection: {error.strerror or error}")
    return told


def reached_at(listener: Listener, addresses: Sequence[Address]) -> list[str]:
    """Addresses of the host itself at which the listener can be asked: over loopback if that is up, else its own."""
    if not wildcard(listener.address):
        return [listener.address]
    usable = [a.address for a in addresses if a.family == listener.family and not a.address.startswith("fe80:")]
    if listener.family == "ipv6" and not listener.v6only:
        usable = [a.address for a in addresses if a.family == "ipv4"] + usable
    usable.sort(key=lambda a: not loopback(a))
    return usable[:2]


def build(
    candidate: Candidate, answers: Answers, catalog: Catalog, netns: str
) -> tuple[Service, tuple[Gap, ...]] | None:
    """The service that a candidate is, with what could not be read about it; None if it is none."""
    infos = {one: told for one, told in answers.items() if isinstance(told, Info)}
    info = next(iter(infos.values()), None)
    flavour = _flavour(candidate, info, catalog)
    if flavour is None:
        return None
    process, environment = candidate.process, canonical(candidate.environment or {}, flavour)
    version = _version(candidate, flavour, info)
    unit = units.of_process(process.unit, process.uid, process.cgroup)
    pending = canonical(units.environment_of(unit).values, flavour) if unit else {}
    resolved = resolve(flavour, version, _start(process, environment, pending))
    if not family(flavour, resolved):
        return None
    argv, argv_secrets = redact_argv(_without_code(process), options_of(flavour))
    kept, environment_secrets = redact_environment(environment, flavour)
    subject = Subject(process, flavour, environment, version, resolved)
    listeners = classify(subject, candidate.listeners, infos)
    service = Service(
        name=slug(_title(process, flavour, environment, info)),
        flavour=flavour.name,
        version=version,
        pid=process.pid,
        uid=process.uid,
        executable=process.executable or process.argv[0],
        netns=netns,
        listeners=listeners,
        argv=argv,
        environment=kept,
        secrets=(*argv_secrets, *environment_secrets),
        user=_user(process.uid),
        unit=process.unit,
        container=process.container,
        cgroup=process.cgroup or None,
        started=process.started,
        cache_dir=_cache(process, flavour, environment),
        restart=unit.last("Restart") if unit else None,
        start_limit=unit.start_limit if unit else None,
        settings=resolved.settings,
        info=info,
    )
    return service, (*resolved.gaps, *(unit.gaps if unit else ()), *_unanswered(service, answers))


def _unanswered(service: Service, answers: Answers) -> Iterator[Gap]:
    """Why a Spotify Connect listener did not say who it is. Of another listener nobody expects it."""
    for owned in service.listeners:
        told = answers.get(owned.listener)
        if owned.surface == "connect" and isinstance(told, getinfo.NoInfo):
            place = f"tcp {owned.listener.address} port {owned.listener.port}"
            yield Gap(
                f"who {service.flavour} (pid {service.pid}) says it is (getInfo, {place})",
                told.why,
                "look what listens there, and whether a rule keeps this host itself out: an app that gets no such answer can't use it",
            )


def _start(process: Process, environment: Mapping[str, str], pending: Mapping[str, tuple[str, str]]) -> Start:
    argv = process.argv
    if is_java(process.executable, argv[0]):
        place = argv.index("-jar") + 1 if "-jar" in argv[:-1] else 0
        argv = argv[place:]
    return Start(
        argv=argv,
        environment=environment,
        pending=pending,
        root=f"/proc/{process.pid}/root",
        working=working_folder(process.pid),
        home=home_of(process.uid),
    )


def family(flavour: Flavour, resolved: Resolved) -> bool:
    """Whether it belongs to the family at all: a snapserver only does with a source that is one of it, or if that can't be told."""
    if flavour.receiver or not flavour.setting("source"):
        return True
    return resolved.unread or any(name in source for source in resolved.every.get("source", ()) for name in _SOURCES)


def _flavour(candidate: Candidate, info: Info | None, catalog: Catalog) -> Flavour | None:
    """What it is: by its own answer, unless its program already says something that the answer does not contradict."""
    answered = catalog.by_getinfo(info.brand, info.model) if info else None
    known = candidate.flavour
    if answered is None:
        return known if candidate.certain else None
    if known is not None and (known.getinfo.brand, known.getinfo.model) == (
        answered.getinfo.brand,
        answered.getinfo.model,
    ):
        return known
    return answered


def _version(candidate: Candidate, flavour: Flavour, info: Info | None) -> str | None:
    if info and info.library_version and flavour.getinfo.version:
        return info.library_version
    if candidate.package is not None and flavour.python_package:
        return package_version(candidate.package, flavour.python_package)
    return candidate.version if candidate.flavour is flavour else None


def _title(process: Process, flavour: Flavour, environment: Mapping[str, str], info: Info | None) -> str:
    if info and info.remote_name:
        return info.remote_name
    given = values_of(process.argv, flavour.arguments.name, flavour.arguments.flags) if not is_python(process) else []
    return given[-1][1] if given else environment.get(flavour.arguments.name_environment or "", "") or flavour.name


def slug(title: str) -> str:
    """A name of small letters, digits and dashes for what may be called anything."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:60].strip("-")


def unique(services: Iterable[Service]) -> tuple[Service, ...]:
    """The services in a lasting order, the oldest first, each with a name of its own."""
    taken: set[str] = set()
    found = []
    for service in sorted(services, key=lambda s: (s.started or 0.0, s.pid)):
        base = service.name or service.flavour
        name, count = base, 1
        while name in taken:
            count += 1
            name = f"{base}-{count}"
        taken.add(name)
        found.append(replace(service, name=name))
    return tuple(found)


def _without_code(process: Process) -> tuple[str, ...]:
    """The arguments without program text given by `-c`: it may hold anything."""
    place = code_of(process.argv) if is_python(process) else None
    if place is None:
        return process.argv
    index, offset = place
    text = process.argv[index]
    return (
        *process.argv[:index],
        f"{text[:offset]}<program text, {len(text) - offset} characters>",
        *process.argv[index + 1 :],
    )


def _user(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def _cache(process: Process, flavour: Flavour, environment: Mapping[str, str]) -> str | None:
    """The folder with the stored credentials: options in their order of precedence, then variables."""
    for name in flavour.arguments.cache:
        given = values_of(process.argv, [name], flavour.arguments.flags)
        if given:
            return given[-1][1]
    return next((environment[v] for v in flavour.arguments.cache_environment if environment.get(v)), None)
