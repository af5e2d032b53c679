"""The second engine, behind the extra `[bdd]` (oxidd): see `engine`. Import `engine` only where `available` says so."""

from importlib.util import find_spec


def available() -> bool:
    """Whether the extra `[bdd]` is installed."""
    return find_spec("oxidd") is not None
