"""The service manager, and those of its units that matter to who reaches a service while the host comes up, and after.

Read from the files, as systemd.unit(5) orders them; systemd itself is asked for its version only (systemctl(1)).
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from librespot_guard.collect import loaded, transactions, units
from librespot_guard.collect.textfile import read
from librespot_guard.snapshot import Boot, Gap, LoadedLine, UnitFacts, UnitLine

_SECONDS = 5
_MOST_UNITS, _MOST_FILES = 300, 64
_ORDER = ("After", "Before", "Wants", "Requires", "BindsTo", "Upholds", "DefaultDependencies")
_CONFINE = (
    "SocketBindAllow", "SocketBindDeny", "RestrictNetworkInterfaces", "IPAddressAllow", "IPAddressDeny", "NFTSet", "Slice",
)  # fmt: skip
_EXEC = ("ExecStartPre", "ExecStart", "ExecStartPost", "ExecReload", "ExecStop", "ExecStopPost")
# what stands between a packet filter and the network, by systemd.special(7), and who brings the network up
_STAGES = (
    "network-pre.target", "network.target", "network-online.target", "sysinit.target", "basic.target", "multi-user.target",
    "networking.service", "systemd-networkd.service", "NetworkManager.service", "dhcpcd.service", "connman.service",
)  # fmt: skip
_PROGRAMS = r"(?:nft|ip6?tables(?:-[a-z]+)*|ufw-init|ufw|firewalld|netfilter-persistent|ferm|foomuuri|shorewall6?)"
_RUNS = re.compile(rf"(?:^|[\s/;&|(\"'@+!:-]){_PROGRAMS}(?=[\s\"';]|$)")
_REMOVES = re.compile(r"\bflush\s+ruleset\b|\bip6?tables(?:-[a-z]+)*\b[^#;|&]*\s(?:-F|--flush)(?=\s*(?:$|[#;&|'\"`)]))")
_INCLUDE = re.compile(r"^\s*include\s+[\"']([^\"']+)[\"']")
_STARTS = ("ExecStartPre", "ExecStart", "ExecStartPost")


def read_boot(
    services: Iterable[str | None], *, of_users: Iterable[tuple[str, str, str]] = (), root: str = ""
) -> tuple[Boot, tuple[Gap, ...]]:
    """The manager, the units that load a packet filter, and the units of these names with all that orders them.

    Args:
        services: names of units; None is left out.
        of_users: units of users' managers: name, user, and the user's home folder. Only they themselves are read.
        root: the folder whose units are read, "" for this host, whose systemd is then asked for its version.
    """
    reader = _Reader(root)
    for name in reader.names:
        if name.endswith(".service") and reader.loads_filter(name):
            reader.take(name, filters=True)
    for name in (*filter(None, services), *_STAGES):
        reader.take(name)
    reader.follow()
    version, features = ("", ()) if root else _manager()
    theirs = [unit for one in sorted(set(of_users)) if (unit := reader.of_user(*one)) is not None]
    found = (*sorted(reader.found.values(), key=lambda u: u.name), *theirs)
    return Boot(version, features, found), tuple(dict.fromkeys(reader.gaps))


def _manager() -> tuple[str, tuple[str, ...]]:
    """Version and build options: of the systemd that runs, or of none."""
    program = shutil.which("systemctl", path=f"{os.environ.get('PATH', os.defpath)}:/usr/bin:/bin")
    if program is None or not Path("/run/systemd/system").is_dir():
        return "", ()
    try:
        done = subprocess.run(
            [program, "show", "--property=Version", "--property=Features"],
            capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return "", ()
    said = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    return said.get("Version", ""), tuple(said.get("Features", "").split())


@dataclass(slots=True)
class _Reader:
    """The units of one root folder, as they are taken."""

    root: str
    folders: tuple[str, ...] = ()
    names: list[str] = field(default_factory=list)
    wants: dict[str, list[str]] = field(default_factory=dict)
    found: dict[str, UnitFacts] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folders = tuple(f"{self.root}{folder}" for folder in units.SYSTEM)
        self.names = units.names_in(self.folders)
        for folder in self.folders:
            for one in sorted(Path(folder).glob("*.wants")) + sorted(Path(folder).glob("*.requires")):
                for entry in sorted(one.iterdir()) if os.access(one, os.R_OK) else ():
                    self.wants.setdefault(entry.name, []).append(one.stem)

    def loads_filter(self, name: str) -> bool:
        """Whether a unit runs a program that writes a packet filter, or a script of the administrator that does."""
        paths = [Path(folder, name) for folder in self.folders]
        if any(path.is_symlink() and Path(os.path.realpath(path)).name not in (name, "null") for path in paths):
            return False  # another name of a unit that is looked at under its own
        template = re.sub(r"@[^.]*\.", "@.", name)
        texts = (read(f"{folder}/{one}").text for folder in self.folders for one in (name, template))
        text = next((t for t in texts if t), "")
        starts = [m[1] for m in re.finditer(r"^\s*ExecStart\w*\s*=\s*(.*)$", text, re.MULTILINE)]
        if any(_RUNS.search(s) for s in starts):
            return True
        own = Path(f"{self.root}{units.ADMIN}", name)
        return (
            own.is_file()
            and not own.is_symlink()
            and any(_RUNS.search(self._script(s.split()[0].lstrip("@-:+!"))) for s in starts if s.split())
        )

    def _script(self, path: str) -> str:
        text = read(path, root=self.root or "/").text or ""
        return text if text.startswith("#!") else ""

    def take(self, name: str, *, filters: bool = False) -> None:
        """Keep a unit with what matters of it."""
        if name in self.found or len(self.found) >= _MOST_UNITS:
            return
        unit = units.load(name, self.folders)
        if unit is None:
            return
        lines = self._lines(unit, (*_ORDER, *_CONFINE, *(_EXEC if filters else ())))
        facts = UnitFacts(name, lines, tuple(dict.fromkeys(self.wants.get(name, ()))), filters)
        if filters:
            starts = (line.value for key in _STARTS for line in facts.all(key))
            removes = tuple(self._removing(facts.all(*_EXEC)))
            runs = [(key, line.value, line.origin) for key in _EXEC for line in facts.all(key)]
            steps = transactions.steps_of(runs, self.root)
            facts = replace(facts, removes=removes, brings=loaded.tables(starts, self.root), steps=steps)
        self.found[name] = facts

    def of_user(self, name: str, user: str, home: str) -> UnitFacts | None:
        """A unit of a user's manager, with what confines it: nothing of the system's is ordered by it."""
        folders = tuple(f"{self.root}{folder}" for folder in units.user_folders(home))
        unit = units.load(name, folders, home)
        return None if unit is None else UnitFacts(name, self._lines(unit, _CONFINE), user=user)

    def _lines(self, unit: units.Unit, keys: Collection[str]) -> tuple[UnitLine, ...]:
        self.gaps += unit.gaps
        return tuple(
            UnitLine(one.section, one.key, unit.expand(one.value), self._seen(one.origin))
            for one in unit.lines
            if one.key in keys and one.section in ("Unit", "Service")
        )

    def follow(self) -> None:
        """Keep what the kept units are ordered after, and so on."""
        waiting = list(self.found)
        while waiting:
            for name in sorted(self.found[waiting.pop()].names("After")):
                known = name in self.found
                self.take(name)
                if name in self.found and not known:
                    waiting.append(name)

    def _seen(self, origin: str) -> str:
        return origin.removeprefix(self.root)

    def _removing(self, lines: tuple[UnitLine, ...]) -> Iterator[LoadedLine]:
        """The lines that remove rules: of Exec settings that hold, and of the files that these load."""
        waiting: list[tuple[str, bool]] = []
        for line in lines:
            if _REMOVES.search(line.value):
                yield LoadedLine(f"{line.key}={line.value}", line.origin)
            waiting += _files(line.value)
        seen: set[str] = set()
        while waiting and len(seen) < _MOST_FILES:
            path, ruled = waiting.pop()
            if path in seen:
                continue
            seen.add(path)
            content = read(path, root=self.root or "/")
            if content.gap is not None and ruled:
                self.gaps.append(content.gap)
            whole = content.text or ""
            for number, text in enumerate(whole.splitlines() if ruled or whole.startswith("#!") else (), start=1):
                plain = text.strip()
                if not plain.startswith("#") and _REMOVES.search(plain):
                    yield LoadedLine(plain, f"{path}:{number}")
                if found := _INCLUDE.match(text):
                    waiting += [(one, True) for one in loaded.included(found[1], self.root)]


def _files(command: str) -> Iterator[tuple[str, bool]]:
    """The files of a command line, and whether it loads them: what follows `-f` or `<`; the others are programs, perhaps scripts."""
    try:
        words = shlex.split(command.lstrip("@-:+!"))
    except ValueError:
        return
    words = [part for word in words for part in (word.split() if " " in word else [word])]
    for before, word in zip(["", *words], words, strict=False):
        if word.startswith("/"):
            yield word, before in ("-f", "--file", "<")
