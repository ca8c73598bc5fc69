"""Any endpoint with equal chance."""

from __future__ import annotations

from epp.scheduling.framework import Profile
from epp.scheduling.plugins.random import RandomPicker


def profile() -> Profile:
    """Uniform at random."""
    return Profile("random", picker=RandomPicker())
