"""Policies by name: ours, and every baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from epp.scheduling.default import default_profile
from epp.scheduling.framework import Profile

OURS = "default"
BASELINES: Mapping[str, str] = {
    "llm-d-default": "llm_d_default",
    "lmetric": "lmetric",
    "least-request": "least_request",
    "round-robin": "round_robin",
    "random": "random_choice",
    "p2c": "power_of_two",
}


def names() -> list[str]:
    """What `--policy` takes."""
    return [OURS, *BASELINES]


def maker(name: str) -> Callable[[], Profile]:
    """Makes a profile with a memory of its own. Raises ValueError for a name there is not."""
    if name == OURS:
        return default_profile
    if name not in BASELINES:
        raise ValueError(f"there is no policy {name!r}; there are {', '.join(names())}")
    made: Callable[[], Profile] = import_module(f"benchmarks.baselines.{BASELINES[name]}").profile
    return made
