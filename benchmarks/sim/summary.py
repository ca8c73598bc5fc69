"""What a run says: goodput, latencies, hits, sheds; of all requests and of each class.

Every request counts that arrives after the warm-up, which is the first tenth of the arrivals for every policy alike
(a workload about beginnings has none). Goodput is the
fraction of those *offered* that met both objectives: sheds and failures did not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.sim.fairness import of_tenants
from benchmarks.sim.flight import Flight
from benchmarks.sim.statistics import jain


@dataclass(slots=True, frozen=True)
class Slo:
    """Seconds to the first token: a constant and a factor on the request's own isolated prefill; seconds a token."""

    ttft_s: float = 2.0
    ttft_prefill_factor: float = 2.0
    tpot_s: float = 0.1

    def met(self, flight: Flight, isolated_s: float) -> bool:
        """Whether both objectives were met."""
        ttft, tpot = flight.ttft_s, flight.tpot_s
        if ttft is None or tpot is None:
            return False
        return ttft <= self.ttft_s + self.ttft_prefill_factor * isolated_s and tpot <= self.tpot_s


def measured(flights: Sequence[Flight], warm_up: float) -> Sequence[Flight]:
    """Those that count, in the order of arrival."""
    return flights[int(len(flights) * warm_up) :]


def summarize(flights: Sequence[Flight], slo: Slo, isolated: Callable[[int], float]) -> dict[str, Any]:
    """The numbers of these requests; None where there is nothing to take one of."""
    met = np.array([slo.met(f, isolated(f.ask.prompt_tokens)) for f in flights], dtype=bool)
    tokens = np.array([f.ask.prompt_tokens + f.ask.output_tokens for f in flights], dtype=float)
    ttft = np.array([t for f in flights if (t := f.ttft_s) is not None])
    tpot = np.array([t for f in flights if (t := f.tpot_s) is not None])
    served = [f for f in flights if f.first_token is not None]
    whole = np.array([f.ended - f.arrived for f in flights if f.end == "done" and f.ended is not None])
    shed = [f for f in flights if f.end == "shed"]
    reasons = Counter(f.reason for f in shed)
    told = np.array([f.retry_after_s for f in shed if f.retry_after_s is not None])
    return {
        "goodput": _mean(met),
        "token_goodput": float(tokens[met].sum() / tokens.sum()) if len(flights) else None,
        "ttft_mean": _mean(ttft),
        **{f"ttft_p{q}": _percentile(ttft, q) for q in (50, 95, 99)},
        "tpot_mean": _mean(tpot),
        "tpot_p99": _percentile(tpot, 99),
        "e2e_mean": _mean(whole),
        "output_tokens_per_s": _output_rate(flights),
        "hit_rate": _ratio(sum(f.cached_tokens for f in served), sum(f.ask.prompt_tokens for f in served)),
        "offered": len(flights),
        "done": sum(f.end == "done" for f in flights),
        "shed": len(shed),
        "errors": sum(f.end == "error" for f in flights),
        "shed_reasons": dict(sorted(reasons.items())),
        "retry_after_told": len(told),
        **{f"retry_after_p{q}": _percentile(told, q) for q in (50, 90, 100)},
        "fairness": _fairness(flights, met),
        "fairness_tokens": of_tenants(flights, met),
        **(_answers(flights, met) if any(f.ask.question is not None for f in flights) else {}),
    }


def _answers(flights: Sequence[Flight], met: Any) -> dict[str, Any]:
    """What the answers were worth. `quality` is of those that were given; `right_in_time` of all that were asked for,
    the part with a right answer inside both objectives."""
    right = np.array([bool(f.right) for f in flights], dtype=bool)
    done = np.array([f.end == "done" for f in flights], dtype=bool)
    models = Counter(f.model for f in flights if f.model is not None)
    return {
        "quality": _mean(right[done]),
        "right_in_time": _mean(right & met),
        "spill_share": _mean(np.array([f.spilled for f in flights])),
        "models": dict(sorted(models.items())),
    }


def _output_rate(flights: Sequence[Flight]) -> float | None:
    """Tokens of whole answers, from the first arrival to the last end: of a fleet that is saturated, its throughput."""
    done = [(f.ended, f.ask.output_tokens) for f in flights if f.end == "done" and f.ended is not None]
    if not done:
        return None
    return _ratio(sum(tokens for _, tokens in done), max(ended for ended, _ in done) - flights[0].arrived)


def _fairness(flights: Sequence[Flight], met: Iterable[Any]) -> float | None:
    """Jain's index over tenants of the fraction of their requests that met both objectives; None for one tenant."""
    offered, good = Counter[str](), Counter[str]()
    for flight, fine in zip(flights, met, strict=True):
        tenant = flight.ask.tenant or ""
        offered[tenant] += 1
        good[tenant] += bool(fine)
    return jain([good[tenant] / count for tenant, count in offered.items()]) if len(offered) > 1 else None


def _mean(values: Any) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _percentile(values: Any, q: float) -> float | None:
    return float(np.percentile(values, q)) if len(values) else None


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
