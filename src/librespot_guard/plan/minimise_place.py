"""Where a setting of a service is changed: a key of its configuration file, a variable of its env file, or a drop-in of its unit."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from librespot_guard.catalog import Flavour, Setting
from librespot_guard.errors import Refused
from librespot_guard.snapshot import Service
from librespot_guard.snapshot.setting_file import SettingFile
from librespot_guard.targets import settings

_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+\.service")


@dataclass(frozen=True, slots=True)
class Place:
    """One setting in one file. `file` None is a drop-in of a unit, which is written anew."""

    path: str
    key: str
    value: str
    kind: str
    form: str
    file: SettingFile | None = None

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
        path = f"/etc/systemd/system/{unit}.d/50-librespot-guard-{setting.name}.conf"
        return Place(path, setting.environment, value, setting.kind, "unit")
    if setting.code:
        raise Refused(f"it is set by `{setting.code}` in the program that uses the library: change it there")
    reasons.append("it takes this setting from no file that was found: set it where the service is started")
    raise Refused("; ".join(reasons))


def key_in(file: SettingFile, setting: Setting) -> str | None:
    """The name of a setting in a file of this format, None if it has none there."""
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
