"""Enforcement points: how a policy is written for each of them, and effects as values (`steps`)."""
