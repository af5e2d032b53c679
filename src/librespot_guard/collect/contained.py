"""Services and containers together: which container a service is in, and which containers would start one."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from librespot_guard.catalog import Catalog, Flavour
from librespot_guard.collect import declared, services
from librespot_guard.collect.engines import Known
from librespot_guard.collect.processes import Process, ancestors
from librespot_guard.collect.programs import Programs, interpreter, is_java
from librespot_guard.collect.redact import options_of, redact_argv, redact_environment, values_of
from librespot_guard.collect.settings import Start, canonical, resolve
from librespot_guard.snapshot import Container, Service

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def attach(
    running: Iterable[Service], boxes: Sequence[Known], processes: Mapping[int, Process], catalog: Catalog
) -> Iterator[Service]:
    """The services, each with what the engine says about its container: by the id in its cgroup, else by the container's first process."""
    by_pid = {box.pid: box for box in boxes if box.pid and box.trusted}
    for service in running:
        own = service.container or ""
        box = next((b for b in boxes if len(own) >= 12 and b.container.id.startswith(own)), None)
        if box is None:
            box = next((by_pid[p] for p in ancestors(processes, service.pid) if p in by_pid), None)
        if box is None:
            yield service
            continue
        flavour = catalog.flavour(service.flavour)
        yield replace(
            service,
            container=service.container or box.container.id,
            container_details=_clean(box.container, flavour),
            restart=service.restart or box.container.restart or None,
        )


def _clean(container: Container, flavour: Flavour | None) -> Container:
    """A container whose command line holds no secret."""
    return replace(container, command=redact_argv(container.command, options_of(flavour))[0])


def stopped(boxes: Iterable[Known], catalog: Catalog, netns: str) -> tuple[Service, ...]:
    """The services that containers which do not run would start."""
    programs = Programs(catalog)
    found = [_service(box, programs, netns) for box in boxes if not box.pid]
    return tuple(s for s in found if s is not None)


def _service(box: Known, programs: Programs, netns: str) -> Service | None:
    flavour, argv = _flavour(box, programs)
    if flavour is None:
        return None
    path = _inside(box, argv[0])
    version = programs.version_of(path) if path else None
    environment = canonical(box.environment, flavour)
    # its files can't be looked into while it does not run: the settings are those of its command line and variables
    resolved = resolve(flavour, version, Start(argv=argv, environment=environment, root="/nonexistent"))
    if not services.family(flavour, resolved):
        return None
    redacted, argv_secrets = redact_argv(argv, options_of(flavour))
    kept, environment_secrets = redact_environment(environment, flavour)
    given = values_of(argv, flavour.arguments.name, flavour.arguments.flags)
    title = given[-1][1] if given else environment.get(flavour.arguments.name_environment or "") or box.container.name
    return Service(
        name=services.slug(title) or flavour.name,
        flavour=flavour.name,
        version=version,
        pid=0,
        uid=-1,
        executable=argv[0],
        netns=netns,
        listeners=declared.listeners(flavour, version, argv, resolved),
        argv=redacted,
        environment=kept,
        secrets=(*argv_secrets, *environment_secrets),
        container=box.container.id,
        restart=box.container.restart or None,
        settings=resolved.settings,
        status="stopped",
        container_details=_clean(box.container, flavour),
    )


def _flavour(box: Known, programs: Programs) -> tuple[Flavour | None, tuple[str, ...]]:
    """The family member that a container's command starts, with the command from there on: by its content, else by its name."""
    words = box.container.command
    if not words:
        return None, words
    if is_java(words[0]):
        flavour, sure = programs.of_java(words, lambda path: _inside(box, path) or "/nonexistent")
        return flavour if sure or "-jar" in words else None, words
    path = _inside(box, words[0])
    held, readable = programs.of_executable(path) if path else (None, False)
    if held is not None:
        return held, words
    name = PurePosixPath(words[0]).name
    if interpreter(name):
        # `sh -c "exec librespot …"`: what a shell would start, as far as its words tell
        text = [part for word in words[1:] for part in re.split(r"[\s;&|]+", word) if part]
        for place, word in enumerate(text):
            flavour = programs.catalog.by_executable(PurePosixPath(word).name)
            if flavour is not None:
                return flavour, tuple(text[place:])
        return None, words
    return (None if readable else programs.catalog.by_executable(name)), words


def _inside(box: Known, program: str) -> str | None:
    """Where a program of a container is, in the layers of its file system; None if that can't be seen."""
    folders = [""] if program.startswith("/") else box.environment.get("PATH", _PATH).split(":")
    for layer in box.layers:
        for folder in folders:
            path = f"{layer}{folder}/{program.lstrip('/')}"
            try:
                with open(path, "rb"):  # noqa: PTH123 - only to see whether it can be
                    return path
            except OSError:
                continue
    return None
