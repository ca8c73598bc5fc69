"""Who decides about refusals, and in front of which choice of replicas.

The first four differ in admission only, so that what they differ in is not the routing; the fifth is the Go picker as
it comes.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.sim.policies import OURS, OWN_GATE


@dataclass(slots=True, frozen=True)
class Contender:
    """`name` is a short word for tables, `title` says more."""

    name: str
    title: str
    policy: str
    admission: str


CONTENDERS = (
    Contender("no shedding", "our routing, everything is let in", OURS, "none"),
    Contender("llm-d legacy", "our routing behind llm-d's legacy admission", OURS, "llm-d-legacy"),
    Contender("llm-d probabilistic", "our routing behind llm-d's probabilistic admitter", OURS, "llm-d-probabilistic"),
    Contender("OneHop", "our routing behind our gate: the default", OURS, OWN_GATE),
    Contender(
        "llm-d as it comes", "llm-d's default routing behind its legacy admission", "llm-d-default", "llm-d-legacy"
    ),
)


def named(policy: str, admission: str) -> Contender:
    """The contender of a result."""
    return next(c for c in CONTENDERS if (c.policy, c.admission) == (policy, admission))


def chosen(names: str) -> list[Contender]:
    """Those of the names, with commas between. Raises ValueError."""
    found = [next((c for c in CONTENDERS if c.name.lower() == name.strip().lower()), None) for name in names.split(",")]
    if None in found:
        raise ValueError("there are " + ", ".join(c.name for c in CONTENDERS))
    return [c for c in CONTENDERS if c in found]
