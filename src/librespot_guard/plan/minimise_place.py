"""Where a setting of a service is changed: a key of its configuration file, a variable of its env file, or a drop-in of its unit."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from librespot_guard.catalog import Flavour, Setting
from librespot_guard.errors import Refused
from librespot_guard.snapshot import Service
from librespot_guard.snapshot.setting_file import SettingFile
from librespot_guard.targets import settings

# read after `override.conf`, which `systemctl edit` writes: drop-ins are sorted by name
PREFIX = "zz-librespot-guard-"
OLD_PREFIX = "50-librespot-guard-"
"""What the drop-ins of earlier versions were called: they came before those of users, which then held without a word."""
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+\.service")


@dataclass(frozen=True, slots=True)
class Place:
    """One setting in one file. `file` None is one that is not there yet: a drop-in of a unit.

    `old` is a drop-in that an earlier version of this program wrote for the same setting: it goes when this one comes.
    """

    path: str
    key: str
    value: str
    kind: str
    form: str
    file: SettingFile | None = None
    old: SettingFile | None = None

    @property
    def text(self) -> str:
        """The line that will stand there, in words of its format."""
        if self.form == "yaml":
            return f"{self.key}: {self.value}"
        if self.form == "toml" and self.kind not in ("port", "switch", "flag"):
            return f'{self.key} = "{self.value}"'
        return f"{self.key}={self.value}" if self.form in ("env", "unit") else f"{self.key} = {self.value}"

    def to_json(self) -> dict[str, Any]:
        """The place as one JSON object."""
        return {"file": self.path, "key": self.key, "value": self.value, "line": self.text}


def place_of(service: Service, flavour: Flavour, setting: Setting, value: str, files: Sequence[SettingFile]) -> Place:
    """Where this service takes the setting from. Raises Refused where it can't be changed for certain, with the reason."""
    reasons = []
    for file in files:
        key = key_in(file, setting)
        if key is None:
            continue
        if file.problem:
            raise Refused(f"{file.path}: {file.problem}")
        if file.data is None:
            reasons.append(f"{file.path} is not there")
            continue
        if unset := _unset(files, setting, value):
            raise Refused(f"{unset} takes `{key}` away from it, whatever a file says: change it there")
        place = Place(file.path, key, value, setting.kind, file.form, file)
        try:
            settings.edited(file.data, file.form, settings.Wanted(key, value, setting.kind))
        except Refused as error:
            raise Refused(f"{file.path}: {error}") from None
        return place
    unit = service.unit or ""
    if setting.environment and "environment" in flavour.arguments.precedence and _UNIT.fullmatch(unit):
        if service.container:
            raise Refused("it runs in a container: set it where the container is defined")
        return _drop_in(service, flavour, setting, value, files)
    if setting.code:
        raise Refused(f"it is set by `{setting.code}` in the program that uses the library: change it there")
    reasons.append("it takes this setting from no file that was found: set it where the service is started")
    raise Refused("; ".join(reasons))


def _drop_in(service: Service, flavour: Flavour, setting: Setting, value: str, files: Sequence[SettingFile]) -> Place:
    """A drop-in that is read after those of others (systemd.unit(5): sorted by name, whatever folder they are in)."""
    if "/user@" in (service.cgroup or ""):
        raise Refused(f"it is a unit of {service.user or 'a user'}: `systemctl --user edit {service.unit}` there")
    folder, name = f"/etc/systemd/system/{service.unit}.d", f"{PREFIX}{setting.name}.conf"
    there = {f.path: f for f in files if f.form == "unit"}
    if f"/run/systemd/transient/{service.unit}" in there:
        raise Refused("it was started by `systemd-run`, and its unit ends with it: set it where that is called")
    counts = setting.kind != "flag" or flavour.arguments.flag_values
    if later := _unset(files, setting, value) or _overruled(there.values(), name, setting, value if counts else None):
        raise Refused(f"{later} is read after what would be written, and says otherwise: change it there")
    own = there.get(f"{folder}/{name}")
    if own is not None and own.problem:
        raise Refused(f"{own.path}: {own.problem}")
    old = there.get(f"{folder}/{OLD_PREFIX}{setting.name}.conf")
    return Place(f"{folder}/{name}", setting.environment or "", value, setting.kind, "unit", own, old)


def _overruled(files: Iterable[SettingFile], name: str, setting: Setting, value: str | None) -> str:
    """The line of a drop-in that is read after the one of this name and gives a variable another value (any is right if `value` is None)."""
    by = ""
    for file in files:
        path = PurePosixPath(file.path)
        for line in file.variables if path.parent.suffix == ".d" and path.name > name else ():
            if not line.unset and line.name in ("*", setting.environment):
                right = line.value is not None and value in (None, line.value)
                by = "" if right else line.origin
    return by


def _unset(files: Sequence[SettingFile], setting: Setting, value: str) -> str:
    """The line of a unit that takes a variable away after all others have spoken, "" if there is none."""
    for file in files:
        for line in file.variables:
            if line.unset and line.name == setting.environment and line.value in (None, value):
                return line.origin
    return ""


def key_in(file: SettingFile, setting: Setting) -> str | None:
    """The name of a setting in a file of this format, None if it has none there."""
    if file.form == "unit":  # `_drop_in` looks at them
        return None
    if file.form == "env":
        return setting.environment
    if setting.key is None:
        return None
    if not file.section or "." in setting.key:
        return setting.key
    # spotifyd: its own section wins over the global one (src/config.rs)
    own = f"spotifyd.{setting.key}"
    if file.data is not None and file.section == "global" and _value(file, own) is not None:
        return own
    return f"{file.section}.{setting.key}"


def current(service: Service, flavour: Flavour, setting: Setting, files: Sequence[SettingFile]) -> str | None:
    """What is set now, by the process's environment or its files; None if nothing is, or it can't be told."""
    for file in files:
        key = key_in(file, setting)
        value = _value(file, key) if key else None
        if value is not None:
            return value
    environment = "environment" in flavour.arguments.precedence
    said = [v for f in files for v in f.variables if v.name in ("*", setting.environment) and not v.unset]
    if environment and said and said[-1].value is not None:
        return said[-1].value
    return service.environment.get(setting.environment) if environment and setting.environment else None


def _value(file: SettingFile, key: str) -> str | None:
    if file.data is None:
        return None
    try:
        return settings.value_of(file.data, file.form, key)
    except Refused:
        # `place_of` says why the file can't be read, when it comes to changing it
        return None


def wins(service: Service, flavour: Flavour, setting: Setting) -> str | None:
    """The option on the command line that sets it, and so wins over every file; None if there is none."""
    if flavour.arguments.precedence[:1] != ("argv",):
        return None
    for word in service.argv[1:]:
        name = word.partition("=")[0]
        if setting.long and name in (f"--{setting.long}", f"-{setting.long}" if len(setting.long) > 1 else ""):
            return name
        if setting.short and re.fullmatch(rf"-{re.escape(setting.short)}\S*", word):
            return f"-{setting.short}"
    return None
