"""All checks, by id."""

from librespot_guard.audit.checks import (
    api,
    boot,
    cgroups,
    created,
    exposure,
    families,
    family,
    forwards,
    helpers,
    listing,
    packet_filter,
    paths,
    process,
    quality,
    rebinding,
    reloads,
    settings,
    structure,
    takeover,
)
from librespot_guard.audit.model import Check

CHECKS: tuple[Check, ...] = tuple(
    sorted(
        (
            check
            for module in (
                exposure,
                families,
                family,
                forwards,
                helpers,
                api,
                rebinding,
                boot,
                reloads,
                cgroups,
                created,
                settings,
                takeover,
                process,
                packet_filter,
                structure,
                quality,
                paths,
                listing,
            )
            for check in module.CHECKS
        ),
        key=lambda c: c.id,
    )
)
"""Every check, sorted by id."""

BY_ID = {check.id: check for check in CHECKS}
