"""Which of a decision's models comes first: by weight, by several factors, and by what the request needs. Pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from semantic.asked import Need
from semantic.cards import Abilities
from semantic.plan import FACTORS, Algorithm, Card, Factor, ModelRef

OUTPUT_TOKENS = 256
"""Room for an answer beside the prompt, where the client names none."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of a model's servers now: requests in flight on each (mean), seconds until one would be free."""

    inflight: float | None = None
    wait_s: float | None = None


Measure = Callable[[str], Measured]


def unmeasured(model: str) -> Measured:
    """For whoever has no servers to ask."""
    return Measured()


def order(
    refs: Sequence[ModelRef], algorithm: Algorithm, cards: Mapping[str, Card], measure: Measure
) -> list[ModelRef]:
    """Most wanted first. Empty only where `multi_factor` is told to fail."""
    if algorithm.type == "static" or len(refs) < 2:
        return list(refs)
    factors = [_factors(cards.get(ref.model), measure(ref.served)) for ref in refs]
    kept = [n for n, values in enumerate(factors) if _within(values, algorithm)]
    if not kept:
        return _without(refs, factors, algorithm)
    scores = _scores([factors[n] for n in kept], algorithm.weights)
    ranked = [refs[n] for _, n in sorted(zip(scores, kept, strict=True), key=lambda pair: (-pair[0], pair[1]))]
    # Those over a limit may still answer when nobody else can.
    return ranked + [ref for n, ref in enumerate(refs) if n not in kept]


def may(card: Card | None, can: Abilities, needs: frozenset[Need], tokens: int) -> bool:
    """Whether a model may take a request with these needs and of this length, as far as its card says."""
    if card is not None and card.context_tokens is not None and tokens > card.context_tokens:
        return False
    lacks: Mapping[Need, bool] = {
        "tools": can.tools is False,
        "vision": can.images is False,
        "json": can.json_mode is False,
    }
    return not any(lacks[need] for need in needs)


def _factors(card: Card | None, measured: Measured) -> dict[Factor, float | None]:
    """As they are; of quality more is better, of the others less. Milliseconds for latency."""
    return {
        "quality": None if card is None else card.quality,
        "latency": None if measured.wait_s is None else measured.wait_s * 1000,
        "cost": None if card is None else card.cost_per_1m,
        "load": measured.inflight,
    }


def _within(values: Mapping[Factor, float | None], algorithm: Algorithm) -> bool:
    limits = algorithm.limits
    ceilings: Mapping[Factor, float | None] = {
        "latency": limits.ttft_ms,
        "cost": limits.cost_per_1m,
        "load": limits.inflight,
    }
    return not any(
        ceiling is not None and (value := values[factor]) is not None and value > ceiling
        for factor, ceiling in ceilings.items()
    )


def _scores(rows: Sequence[Mapping[Factor, float | None]], weights: Mapping[Factor, float]) -> list[float]:
    """Each factor from 0 (worst of these) to 1 (best), weighted; what is not known, or the same for all, is halfway."""
    totals = [0.0] * len(rows)
    for factor in FACTORS:
        known = [value for row in rows if (value := row[factor]) is not None]
        least, most = min(known, default=0.0), max(known, default=0.0)
        for n, row in enumerate(rows):
            value = row[factor]
            share = 0.5 if value is None or most == least else (value - least) / (most - least)
            totals[n] += weights[factor] * (share if factor == "quality" else 1 - share)
    return totals


def _without(
    refs: Sequence[ModelRef], factors: Sequence[Mapping[Factor, float | None]], algorithm: Algorithm
) -> list[ModelRef]:
    """Every model is over a limit."""
    if algorithm.on_no_candidates == "fail":
        return []
    if algorithm.on_no_candidates == "first":
        return list(refs)

    def cost(n: int) -> float:
        value = factors[n]["cost"]
        return math.inf if value is None else value

    return [refs[n] for n in sorted(range(len(refs)), key=cost)]
