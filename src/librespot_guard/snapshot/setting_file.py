"""A configuration file that settings can be changed in: read by `collect`, never part of a snapshot, as it may hold secrets."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class UnitVariable:
    """What one line of a unit does to the environment (systemd.exec(5)).

    Attributes:
        name: the variable, "*" for all that came before (an empty `Environment=`).
        value: what it becomes; None where the line takes it away.
        origin: "FILE:LINE".
        unset: it is of `UnsetEnvironment=`, which holds over every other line and file; a `value` is then the only one that goes.
    """

    name: str
    value: str | None
    origin: str
    unset: bool = False


@dataclass(frozen=True, slots=True)
class SettingFile:
    """One file of a service.

    Attributes:
        path: where it is; for a relative or home path of the catalogue, resolved.
        form: one of `catalog.FORMATS`, or "unit" for a unit file or a drop-in, in the order in which systemd reads them.
        section: the table that holds top-level keys, "" if there is none.
        data: its bytes; None if it is not there or can't be edited.
        problem: why it can't be edited, "" if it can or is not there.
        variables: of a unit file, what it does to the environment.
    """

    path: str
    form: str
    section: str = ""
    data: bytes | None = field(default=None, repr=False)
    problem: str = ""
    variables: tuple[UnitVariable, ...] = field(default=(), repr=False)
