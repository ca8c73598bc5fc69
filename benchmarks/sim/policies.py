"""Policies and admissions by name: ours, and every baseline.

`default:behind=0:decodes=0.1` is ours with other numbers in its formula (`LeastWorkScorer`): how these were found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from importlib import import_module

from benchmarks.baselines.admission import Admission, LegacyGate, ProbabilisticAdmitter
from epp.scheduling.default import default_profile
from epp.scheduling.framework import Profile
from epp.scheduling.reckoner import Prices

OURS, OWN_GATE = "default", "onehop"
PRICES = tuple(field.name for field in fields(Prices))
BASELINES: Mapping[str, str] = {
    "llm-d-default": "llm_d_default:profile",
    "llm-d-nohit": "llm_d_nohit:profile",
    "llm-d-token-aware": "llm_d_token_aware:profile",
    "llm-d-token-aware-tuned": "llm_d_token_aware:tuned",
    "llm-d-active-request": "llm_d_token_aware:active_request",
    "lmetric": "lmetric:profile",
    "least-request": "least_request:profile",
    "round-robin": "round_robin:profile",
    "random": "random_choice:profile",
    "p2c": "power_of_two:profile",
    "sglang-cache-aware": "sglang_cache_aware:profile",
    "dynamo": "dynamo:profile",
    "production-stack-prefix": "production_stack_prefix:profile",
    "production-stack-session": "production_stack_session:profile",
    "consistent-hash-prefix": "consistent_hash_prefix:profile",
}
"""Name -> module and function under `benchmarks.baselines`."""
ADMISSIONS: Mapping[str, Callable[[], Admission | None]] = {
    "none": lambda: None,
    "llm-d-legacy": LegacyGate,
    "llm-d-probabilistic": ProbabilisticAdmitter,
    OWN_GATE: lambda: None,
}
"""What stands before the picker; our own gate stands inside it."""


def own_admission(policy: str) -> str:
    """What stands before a policy where it comes from, by default."""
    if policy.partition(":")[0] == OURS:
        return OWN_GATE
    return "llm-d-legacy" if policy.startswith("llm-d-") else "none"


def names() -> list[str]:
    """What `--policy` takes."""
    return [OURS, *BASELINES]


def maker(name: str) -> Callable[[], Profile]:
    """Makes a profile with a memory of its own. Raises ValueError for a name there is not."""
    ours, _, numbers = name.partition(":")
    if ours == OURS:
        return _varied(numbers) if numbers else default_profile
    if name not in BASELINES:
        raise ValueError(f"there is no policy {name!r}; there are {', '.join(names())}")
    module, _, function = BASELINES[name].partition(":")
    made: Callable[[], Profile] = getattr(import_module(f"benchmarks.baselines.{module}"), function)
    return made


def _varied(text: str) -> Callable[[], Profile]:
    """Ours with numbers of its own; wrong ones are an error now and not when a profile is made."""
    numbers = {}
    for part in text.split(":"):
        name, _, value = part.partition("=")
        if name not in PRICES:
            raise ValueError(f"{OURS} has no number {name!r}; it has {', '.join(PRICES)}")
        try:
            numbers[name] = float(value)
        except ValueError:
            raise ValueError(f"{name} of {OURS} must be a number, not {value!r}") from None
    prices = Prices(**numbers)
    return partial(default_profile, prices)
