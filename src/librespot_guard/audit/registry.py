"""All checks, by id."""

from librespot_guard.audit.checks import (  # a room of checks
    api,
    exposure,
    families,
    filter,  # noqa: A004
    listing,
    paths,
    process,
    settings,
    structure,
    takeover,
)
from librespot_guard.audit.model import Check

CHECKS: tuple[Check, ...] = tuple(
    sorted(
        (
            check
            for module in (exposure, families, api, settings, takeover, process, filter, structure, paths, listing)
            for check in module.CHECKS
        ),
        key=lambda c: c.id,
    )
)
"""Every check, sorted by id."""

BY_ID = {check.id: check for check in CHECKS}
