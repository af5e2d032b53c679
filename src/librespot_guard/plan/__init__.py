"""From policy and snapshot to steps: what would change, why, and what speaks against it."""

from librespot_guard.plan.make import make, present
from librespot_guard.plan.model import EffectiveRule, Lockout, Plan
from librespot_guard.plan.proof import Claim, Counterexample, Proof, prove

__all__ = ["Claim", "Counterexample", "EffectiveRule", "Lockout", "Plan", "Proof", "make", "present", "prove"]
