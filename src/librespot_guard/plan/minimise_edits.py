"""From proposals to changed files: all settings of one file are one edit, and one way back."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from librespot_guard.errors import Refused
from librespot_guard.plan.minimise import Review
from librespot_guard.targets import settings
from librespot_guard.targets.settings import Wanted
from librespot_guard.targets.steps import RestartUnit, Step, WriteFile

# what `drop_in` writes, and nothing that somebody else put into it
_OURS = re.compile(rb'# Written by librespot-guard\.\n\[Service\]\nEnvironment="[A-Z0-9_]+=[!-~]*"\n')


@dataclass(frozen=True, slots=True)
class Edits:
    """What changes in programs' settings: steps, the steps back, and the changed lines for people."""

    steps: tuple[Step, ...] = ()
    back: tuple[Step, ...] = ()
    diff: str = ""

    def __bool__(self) -> bool:
        return bool(self.steps)


def edits(reviews: Iterable[Review], *, restart: bool = False) -> Edits:
    """The edits that reviews propose.

    Args:
        reviews: of all services; two services may share a file.
        restart: also restart the units of the services that change.

    Raises:
        Refused: settings that can each be changed contradict each other in one file.
    """
    before: dict[str, bytes | None] = {}
    # what each file is after each of its edits
    after: dict[str, list[bytes]] = {}
    said: dict[tuple[str, str], tuple[str, str]] = {}
    old: dict[str, bytes] = {}
    why: dict[str, list[str]] = {}
    units: list[str] = []
    for review in reviews:
        for proposal in review.proposals:
            place = proposal.place
            if place is None:
                continue
            value, who = said.setdefault((place.path, place.key), (place.value, review.service.name))
            if value != place.value:
                raise Refused(
                    f"{who} and {review.service.name} both read {place.path}, where `{place.key}` would have to be {value} for the one and "
                    f"{place.value} for the other: give each a file of its own, or an option on its command line"
                )
            if place.file is None or place.form == "unit":
                before[place.path] = place.file.data if place.file else None
                after[place.path] = [drop_in(place.key, place.value)]
                data = place.old.data if place.old else None
                if place.old is not None and data is not None and _OURS.fullmatch(data):
                    old[place.old.path] = data
            elif place.file.data is not None:
                before.setdefault(place.path, place.file.data)
                wanted = Wanted(place.key, place.value, place.kind)
                made = after.setdefault(place.path, [])
                made.append(settings.edited(made[-1] if made else place.file.data, place.form, wanted))
            why.setdefault(place.path, []).append(f"{place.key} for `{review.use}`")
            if review.service.unit and review.service.unit.endswith(".service"):
                units.append(review.service.unit)
    pairs: list[tuple[Step, Step]] = [
        settings.steps(
            path, before[path], made[-1], f"settings: {', '.join(dict.fromkeys(why[path]))}", between=made[:-1]
        )
        for path, made in after.items()
        if made[-1] != before[path]
    ]
    if not pairs:
        return Edits()
    pairs += [_gone(path, data) for path, data in old.items()]
    again = tuple(RestartUnit(unit, "the new settings take effect") for unit in dict.fromkeys(units) if restart)
    diff = "\n".join(
        settings.difference(path, one, other)
        for path, made in after.items()
        for one, other in pairwise([before[path], *made])
        if other is not None and other != one
    )
    diff = "\n".join([diff, *(settings.difference(path, data, b"") for path, data in old.items())])
    return Edits((*(p[0] for p in pairs), *again), (*(p[1] for p in pairs), *again), diff)


def _gone(path: str, data: bytes) -> tuple[Step, Step]:
    why = "a drop-in of an earlier version, whose place another takes"
    return WriteFile(path, None, 0o644, why), WriteFile(path, data.decode(), 0o644, f"back: {why}")


def drop_in(variable: str, value: str) -> bytes:
    """The drop-in of a unit that sets one variable (systemd.exec(5))."""
    return f'# Written by librespot-guard.\n[Service]\nEnvironment="{variable}={value}"\n'.encode()
