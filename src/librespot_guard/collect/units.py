"""systemd units as their files say: the file that wins, its drop-ins, and what they set. systemd itself is not asked.

systemd.unit(5) (folders, drop-ins, specifiers), systemd.service(5) (Exec lines, Restart=, start limits), systemd.exec(5) (Environment=,
EnvironmentFile=). A user's units are looked for in the folders of every user that has some.
"""

import glob
import os
import pwd
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from librespot_guard.collect.formats import MalformedError, parse
from librespot_guard.collect.textfile import exists, read
from librespot_guard.snapshot import Gap

ADMIN = "/etc/systemd/system"
# the search path of systemd.unit(5), in its order
SYSTEM = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    ADMIN,
    "/run/systemd/system",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
)
USER = (
    "/etc/systemd/user",
    "/run/systemd/user",
    "/usr/local/lib/systemd/user",
    "/usr/lib/systemd/user",
    "/lib/systemd/user",
)
_FOLDERS = {"C": "/var/cache", "S": "/var/lib", "L": "/var/log", "t": "/run", "E": "/etc", "T": "/tmp", "V": "/var/tmp"}  # noqa: S108 - what %T means
_MAX_UNITS = 5000
_MAX_FILES = 100
_LINGERS = Path("/var/lib/systemd/linger")  # what `loginctl enable-linger` writes (loginctl(1))


@dataclass(frozen=True, slots=True)
class Line:
    """One assignment of a unit: `origin` is its "FILE:LINE"."""

    section: str
    key: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit with its drop-ins.

    Attributes:
        name: "raspotify.service".
        files: the unit file and its drop-ins, in the order in which they are read.
        lines: what they assign, in that order.
        home: the folder of the user whose unit it is; "" for a system unit.
    """

    name: str
    files: tuple[str, ...]
    lines: tuple[Line, ...]
    home: str = ""
    gaps: tuple[Gap, ...] = ()

    def last(self, key: str, section: str = "Service") -> str | None:
        """The value that holds of a setting that is given once; None if nothing is said, or it was reset."""
        found = None
        for line in self.lines:
            if (line.section, line.key) == (section, key):
                found = line.value or None
        return found

    def all(self, key: str, section: str = "Service") -> tuple[Line, ...]:
        """The values of a setting that adds up; an empty one forgets those before it."""
        found: list[Line] = []
        for line in self.lines:
            if (line.section, line.key) == (section, key):
                found = [*found, line] if line.value else []
        return tuple(found)

    @property
    def start_limit(self) -> str | None:
        """After how many starts in what time it stays down, as its files say (`StartLimitBurst=`, `StartLimitIntervalSec=`)."""
        sections = ("Unit", "Service")  # both were right in their time
        burst = next((v for s in sections if (v := self.last("StartLimitBurst", s))), None)
        keys = ("StartLimitIntervalSec", "StartLimitInterval")
        interval = next((v for s in sections for k in keys if (v := self.last(k, s))), None)
        if interval is not None and re.fullmatch(r"0+s?", interval):
            return "none"
        return None if burst is None and interval is None else f"{burst or 5} in {interval or '10s'}"

    def expand(self, text: str) -> str:
        """A text with its specifiers expanded, those of them that do not need systemd itself."""
        name = self.name.removesuffix(".service")
        prefix, _, instance = name.partition("@")
        values = {
            "n": self.name,
            "N": name,
            "p": prefix,
            "i": instance,
            "I": instance,
            "j": prefix.rpartition("-")[2],
            "H": os.uname().nodename,
            "%": "%",
            **_FOLDERS,
        }
        if self.home:
            values |= {
                "C": f"{self.home}/.cache",
                "S": f"{self.home}/.config",
                "E": f"{self.home}/.config",
                "h": self.home,
            }
        else:
            values["h"] = "/root"
        return re.sub(r"%(.)", lambda m: values.get(m[1], m[0]), text)


@dataclass(frozen=True, slots=True)
class Environment:
    """The variables of a unit: name -> (value, origin), and what could not be read."""

    values: dict[str, tuple[str, str]] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()


def environment_of(unit: Unit) -> Environment:
    """Environment= and, over it, EnvironmentFile= (systemd.exec(5): a file wins, of two files the later one)."""
    values: dict[str, tuple[str, str]] = {}
    gaps: list[Gap] = []
    for line in unit.all("Environment"):
        words = words_of(unit, line)
        if words is None:
            gaps.append(Gap(f"Environment= in {line.origin}", "its quotes do not match"))
            continue
        for word in words:
            name, equals, value = word.partition("=")
            if equals:
                values[name] = (value, line.origin)
    for path in [
        p for line in unit.all("EnvironmentFile") for p in files_of(unit.expand(line.value.removeprefix("-")))
    ]:
        content = read(path)
        if content.gap:
            gaps.append(content.gap)
        try:
            entries = parse(content.text or "", "env")
        except MalformedError as error:
            gaps.append(Gap(f"the configuration file {path}", f"malformed: {error}", "mend it: it may be half written"))
            continue
        for entry in entries:
            values[entry.key] = (entry.value, f"{path}:{entry.line}")
    for line in unit.all("UnsetEnvironment"):
        for word in words_of(unit, line) or ():
            name, equals, value = word.partition("=")
            if name in values and (not equals or values[name][0] == value):
                del values[name]
    return Environment(values, tuple(gaps))


def files_of(pattern: str) -> list[str]:
    """The files that EnvironmentFile= names: it may be a pattern, whose files are read in the order of their names."""
    if not any(c in pattern for c in "*?["):
        return [pattern]
    return sorted(glob.glob(pattern))[:_MAX_FILES]  # noqa: PTH207 - the pattern is one of a whole path


def words_of(unit: Unit, line: Line) -> list[str] | None:
    """The words of a line such as Environment=, specifiers expanded; None if its quotes do not match."""
    try:
        return [unit.expand(word) for word in shlex.split(line.value)]
    except ValueError:
        return None


def of_process(name: str | None, uid: int, cgroup: str) -> Unit | None:
    """The unit that a process runs in, by its name and whether its cgroup is under that user's manager."""
    if name is None:
        return None
    if "/user@" in cgroup and not name.startswith("user@"):
        try:
            home = pwd.getpwuid(uid).pw_dir
        except KeyError:
            return None
        return load(name, user_folders(home), home)
    return load(name)


def user_folders(home: str) -> tuple[str, ...]:
    """Where the units of a user are, those that win first."""
    return (f"{home}/.config/systemd/user", *USER[:2], f"{home}/.local/share/systemd/user", *USER[2:])


def load(name: str, folders: Sequence[str] | None = None, home: str = "") -> Unit | None:
    """The unit of this name with its drop-ins; None if no folder (of the system, unless others are given) has it."""
    folders = SYSTEM if folders is None else folders
    if "/" in name or not name.endswith((".service", ".target")):
        return None
    template = re.sub(r"@[^.]*\.", "@.", name)
    names = tuple(dict.fromkeys((template, name)))
    main = next((p for n in reversed(names) for f in folders if os.path.lexists(p := f"{f}/{n}")), None)
    drop_ins = {
        Path(p).name: p
        for f in reversed(folders)
        for n in (name.rpartition(".")[2], *_prefixes(name), *names)
        for p in _drop_ins(f"{f}/{n}.d")
    }
    files = [*([main] if main else []), *(drop_ins[n] for n in sorted(drop_ins))]
    if not files or (main and _masked(main)):
        return None
    lines: list[Line] = []
    gaps: list[Gap] = []
    for file in files:
        content = read(file)
        if content.gap:
            gaps.append(Gap(f"the unit file {file}", content.gap.why, content.gap.hint))
        lines += _lines(content.text or "", file)
    return Unit(name, tuple(files), tuple(lines), home, tuple(gaps))


def _prefixes(name: str) -> Iterator[str]:
    """The names of folders that hold drop-ins of all units with a prefix, the widest first: "a-.service" for "a-b.service" (systemd.unit(5))."""
    stem, _, kind = name.rpartition(".")
    parts = stem.partition("@")[0].split("-")
    for count in range(1, len(parts)):
        yield f"{'-'.join(parts[:count])}-.{kind}"


def _masked(path: str) -> bool:
    try:
        return os.path.realpath(path) == "/dev/null" or Path(path).stat().st_size == 0
    except OSError:
        return False


def _drop_ins(folder: str) -> list[str]:
    try:
        return [f"{folder}/{n}" for n in sorted(os.listdir(folder)) if n.endswith(".conf")]  # noqa: PTH208 - thousands of folders are not there
    except OSError:
        return []


def _lines(text: str, file: str) -> Iterator[Line]:
    section, start, waiting = "", 0, ""
    for number, raw in enumerate(text.splitlines(), start=1):
        plain = raw.strip()
        if waiting and plain.startswith(("#", ";")):
            continue
        if not waiting:
            start = number
            if not plain or plain[0] in "#;":
                continue
            if plain.startswith("["):
                section = plain.strip("[]")
                continue
        whole = f"{waiting} {plain}" if waiting else plain
        if whole.endswith("\\"):
            waiting = whole[:-1].rstrip()
            continue
        waiting = ""
        key, equals, value = whole.partition("=")
        if equals:
            yield Line(section, key.strip(), value.strip(), f"{file}:{start}")


def homes() -> dict[str, str]:
    """The home folder of every user that has units of its own, or whose manager starts with this host, by user name."""
    found = {}
    for entry in pwd.getpwall():
        if not entry.pw_dir.startswith("/") or entry.pw_dir == "/":
            continue
        if exists(Path(entry.pw_dir) / ".config/systemd/user") or exists(_LINGERS / entry.pw_name):
            found[entry.pw_name] = entry.pw_dir
    return found


def _alias(entry: "os.DirEntry[str]") -> bool:
    """Whether it is another name of a unit (`Alias=`), which is no service of its own."""
    if not entry.is_symlink():
        return False
    target = os.path.realpath(entry.path).rpartition("/")[2]
    return target.endswith(".service") and target != entry.name


def names_in(folders: Sequence[str]) -> list[str]:
    """Every service that has a file in one of the folders; instances are those that something wants (`*.wants/x@y.service`)."""
    found: dict[str, None] = {}
    for folder in folders:
        try:
            entries = sorted(os.scandir(folder), key=lambda e: e.name)
        except OSError:
            continue
        for entry in entries[:_MAX_UNITS]:
            if entry.name.endswith(".service") and "@." not in entry.name and not _alias(entry):
                found.setdefault(entry.name)
            elif entry.name.endswith((".wants", ".requires")):
                try:
                    wanted = [e for e in os.scandir(entry.path) if e.name.endswith(".service")]
                    found.update(dict.fromkeys(sorted(e.name for e in wanted if "@" in e.name or not _alias(e))))
                except OSError:
                    continue
    return list(found)
