"""A configuration file that settings can be changed in: read by `collect`, never part of a snapshot, as it may hold secrets."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SettingFile:
    """One file of a service.

    Attributes:
        path: where it is; for a relative or home path of the catalogue, resolved.
        form: one of `catalog.FORMATS`.
        section: the table that holds top-level keys, "" if there is none.
        data: its bytes; None if it is not there or can't be edited.
        problem: why it can't be edited, "" if it can or is not there.
    """

    path: str
    form: str
    section: str = ""
    data: bytes | None = field(default=None, repr=False)
    problem: str = ""
