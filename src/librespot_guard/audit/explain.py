"""Find the page of a check or a concept."""

import difflib

from librespot_guard.audit.concepts import CONCEPTS, Explanation, of_check
from librespot_guard.audit.registry import BY_ID, CHECKS
from librespot_guard.errors import InputError


def explain(name: str) -> Explanation:
    """The page of a check ("LG101", in any case) or a concept ("may-must").

    Raises:
        InputError: there is none of this name; the hint names the nearest one.
    """
    if name.upper() in BY_ID:
        return of_check(BY_ID[name.upper()])
    key = name.strip().lower().replace("_", "-").replace(" ", "-")
    if key in CONCEPTS:
        return CONCEPTS[key]
    names = [*CONCEPTS, *(check.id.lower() for check in CHECKS)]
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    suggestion = near[0].upper() if near and near[0].upper() in BY_ID else near[0] if near else ""
    hint = (
        f"did you mean `{suggestion}`? `librespot-guard explain` lists all"
        if near
        else "`librespot-guard explain` lists all checks and concepts"
    )
    raise InputError(f"there is no check and no concept `{name}`", hint=hint)


def all_explanations() -> tuple[Explanation, ...]:
    """Every page: the checks by id, then the concepts by name."""
    return (*(of_check(check) for check in CHECKS), *(CONCEPTS[name] for name in sorted(CONCEPTS)))
