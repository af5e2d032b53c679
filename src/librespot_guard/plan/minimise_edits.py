"""From proposals to changed files: all settings of one file are one edit, and one way back."""

from collections.abc import Iterable
from dataclasses import dataclass

from librespot_guard.plan.minimise import Review
from librespot_guard.targets import settings
from librespot_guard.targets.settings import Wanted
from librespot_guard.targets.steps import RestartUnit, Step


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
    after: dict[str, bytes] = {}
    why: dict[str, list[str]] = {}
    units: list[str] = []
    for review in reviews:
        for proposal in review.proposals:
            place = proposal.place
            if place is None:
                continue
            if place.file is None or place.file.data is None:
                before[place.path] = None
                after[place.path] = _drop_in(place.key, place.value)
            else:
                before.setdefault(place.path, place.file.data)
                wanted = Wanted(place.key, place.value, place.kind)
                after[place.path] = settings.edited(after.get(place.path, place.file.data), place.form, wanted)
            why.setdefault(place.path, []).append(f"{place.key} for `{review.use}`")
            if review.service.unit and review.service.unit.endswith(".service"):
                units.append(review.service.unit)
    pairs = [
        settings.steps(path, before[path], new, f"settings: {', '.join(dict.fromkeys(why[path]))}")
        for path, new in after.items()
        if new != before[path]
    ]
    if not pairs:
        return Edits()
    again = tuple(RestartUnit(unit, "the new settings take effect") for unit in dict.fromkeys(units) if restart)
    diff = "\n".join(settings.difference(path, before[path], new) for path, new in after.items() if new != before[path])
    return Edits((*(p[0] for p in pairs), *again), (*(p[1] for p in pairs), *again), diff)


def _drop_in(variable: str, value: str) -> bytes:
    return f'# Written by librespot-guard.\n[Service]\nEnvironment="{variable}={value}"\n'.encode()
