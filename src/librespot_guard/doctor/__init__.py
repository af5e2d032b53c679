"""Why a speaker is not discovered, or not reachable: causes with their evidence and their cure, out of a snapshot."""

from librespot_guard.doctor.model import CAUSES, Cause, Diagnosis
from librespot_guard.doctor.run import diagnose

__all__ = ["CAUSES", "Cause", "Diagnosis", "diagnose"]
