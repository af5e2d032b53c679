"""Containers as their engines tell: Docker and Podman over their unix sockets, by two kinds of GET of the Docker Engine API.

Nothing is ever changed: only `GET /containers/json` and `GET /containers/ID/json` are sent (Docker Engine API 1.24 and later, which Podman
answers too). The answers were written by whoever answers there: time, size and depth are bounded. Where nobody may talk to the engine, a
container is still told by its cgroup.
"""

import io
import json
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from librespot_guard.snapshot import Container, Gap, Published

SECONDS = 3.0
MAX_BYTES = 8 << 20
_MAX_CONTAINERS = 500
_ID = re.compile(r"[0-9a-f]{12,64}")
_SUDO = "run it with `sudo`, or let this user into the engine's group"


@dataclass(frozen=True, slots=True)
class Known:
    """A container with the process id of its first process, 0 if it does not run, its variables, and the folders its files are in, the upper first.

    `trusted`: root or the reader answers there; of anybody else's engine it is not believed which process is in its container.
    """

    container: Container
    pid: int
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    layers: tuple[str, ...] = ()
    trusted: bool = False


def sockets(environment: Mapping[str, str] = os.environ) -> Iterator[tuple[str, str]]:
    """(engine, path) of every socket that an engine may listen on: the usual places, rootless ones, and what DOCKER_HOST names."""
    places = [("docker", "/run/docker.sock"), ("docker", "/var/run/docker.sock"), ("podman", "/run/podman/podman.sock")]
    try:
        users = sorted(os.scandir("/run/user"), key=lambda e: e.name)
    except OSError:
        users = []
    for user in users:
        places += [("docker", f"{user.path}/docker.sock"), ("podman", f"{user.path}/podman/podman.sock")]
    for variable in ("DOCKER_HOST", "CONTAINER_HOST"):
        named = environment.get(variable, "")
        if named.startswith("unix://"):
            places.append(("podman" if "podman" in named else "docker", named.removeprefix("unix://")))
    seen: set[tuple[int, int]] = set()
    for engine, path in places:
        try:
            about = Path(path).stat()
        except OSError:
            continue
        if (about.st_dev, about.st_ino) not in seen:
            seen.add((about.st_dev, about.st_ino))
            yield engine, path


def read_containers(places: Iterable[tuple[str, str]] | None = None) -> tuple[tuple[Known, ...], tuple[Gap, ...]]:
    """Every container of every engine that answers, running or not, and what could not be asked."""
    found: list[Known] = []
    gaps: list[Gap] = []
    for engine, path in sockets() if places is None else places:
        try:
            found += _of_engine(engine, path)
        except PermissionError:
            gaps.append(Gap(f"the containers of {engine} ({path})", "only root and its group may ask it", _SUDO))
        except (FileNotFoundError, ConnectionRefusedError):
            continue  # nobody listens there: no engine runs
        except (OSError, ValueError, RecursionError) as error:
            why = (
                "it does not answer in time"
                if isinstance(error, TimeoutError)
                else _plain(str(error) or type(error).__name__)
            )
            gaps.append(Gap(f"the containers of {engine} ({path})", why))
    return tuple(found), tuple(gaps)


def _of_engine(engine: str, path: str) -> list[Known]:
    trusted = Path(path).stat().st_uid in (0, os.geteuid())
    listing = _get(path, "/v1.24/containers/json?all=1")
    if not isinstance(listing, list):
        raise ValueError("its list of containers is none")  # noqa: TRY004 - the answer is wrong, not its type here
    found = []
    for entry in listing[:_MAX_CONTAINERS]:
        identity = _text(entry, "Id")
        if _ID.fullmatch(identity):
            about = _get(path, f"/v1.24/containers/{identity}/json")
            if isinstance(about, dict):
                found.append(replace(_known(engine, identity, about), trusted=trusted))
    return found


def _get(path: str, target: str) -> Any:
    import http.client  # noqa: PLC0415 - it costs a tenth of a whole scan: only a host with an engine pays for it

    answer = http.client.HTTPResponse(_Received(_exchange(path, target)), method="GET")  # type: ignore[arg-type]
    try:
        answer.begin()
        body = answer.read()
    except http.client.HTTPException as error:
        raise ValueError(str(error) or type(error).__name__) from None
    finally:
        answer.close()
    if answer.status != 200:
        raise ValueError(f"it answers {answer.status} to GET {target.partition('?')[0]}")
    return json.loads(body)


@dataclass(frozen=True, slots=True)
class _Received:
    """What came, as something that http.client can read from."""

    data: bytes

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self.data)


def _exchange(path: str, target: str) -> bytes:
    """Everything that is answered to a GET. A user's own engine is anybody's program: neither slowness nor size may hold up the reader."""
    deadline = time.monotonic() + SECONDS
    received = bytearray()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.settimeout(SECONDS)
        channel.connect(path)
        channel.sendall(f"GET {target} HTTP/1.0\r\nHost: localhost\r\nAccept: application/json\r\n\r\n".encode("ascii"))
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            channel.settimeout(left)
            part = channel.recv(65536)
            if not part:
                return bytes(received)
            received += part
            if len(received) > MAX_BYTES:
                raise ValueError(f"its answer is larger than {MAX_BYTES >> 20} MiB")


def _known(engine: str, identity: str, about: Mapping[str, Any]) -> Known:
    state, config, host = (_table(about, key) for key in ("State", "Config", "HostConfig"))
    data = _table(_table(about, "GraphDriver"), "Data")
    pid = state.get("Pid")
    command = [_text(about, "Path"), *(a for a in _list(about, "Args") if isinstance(a, str))]
    return Known(
        Container(
            engine=engine,
            id=identity,
            name=_plain(_text(about, "Name").lstrip("/")),
            image=_plain(_text(config, "Image")),
            status=_plain(_text(state, "Status")),
            network=_plain(_text(host, "NetworkMode")) or "default",
            published=tuple(_published(about, host)),
            restart=_plain(_text(_table(host, "RestartPolicy"), "Name")),
            command=tuple(_plain(word) for word in command[:200]),
        ),
        pid=pid if isinstance(pid, int) and not isinstance(pid, bool) and 0 < pid < 1 << 31 else 0,
        environment=dict(e.partition("=")[::2] for e in _list(config, "Env")[:1000] if isinstance(e, str)),
        layers=tuple(
            layer for key in ("UpperDir", "LowerDir") for layer in _text(data, key).split(":") if layer.startswith("/")
        ),
    )


def _published(about: Mapping[str, Any], host: Mapping[str, Any]) -> Iterator[Published]:
    """The ports that are forwarded now, or that would be if it ran."""
    ports = _table(_table(about, "NetworkSettings"), "Ports") or _table(host, "PortBindings")
    seen = set()
    for inside, bindings in list(ports.items())[:1000]:
        number, _, proto = str(inside).partition("/")
        for binding in bindings if isinstance(bindings, list) else ():
            outside = _text(binding, "HostPort")
            if number.isdecimal() and outside.isdecimal() and len(number + outside) <= 10 and proto in ("tcp", "udp"):
                one = Published(proto, _address(_text(binding, "HostIp")), int(outside), int(number))
                if one not in seen:
                    seen.add(one)
                    yield one


def _address(text: str) -> str:
    return text if re.fullmatch(r"[0-9a-fA-F.:]+", text) else "0.0.0.0"  # noqa: S104 - what an empty one means


def _table(value: Any, key: str) -> Mapping[str, Any]:
    inner = value.get(key) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}


def _list(value: Any, key: str) -> list[Any]:
    inner = value.get(key) if isinstance(value, dict) else None
    return inner if isinstance(inner, list) else []


def _text(value: Any, key: str) -> str:
    inner = value.get(key) if isinstance(value, dict) else None
    return inner if isinstance(inner, str) else ""


def _plain(text: str) -> str:
    """A text without control characters, and of a length that can be shown."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)[:300]
