"""What a run says: goodput, latencies, hits, sheds; of all requests and of each class.

Every request counts that arrives after the first tenth of the arrivals, the same for every policy. Goodput is the
fraction of those *offered* that met both objectives: sheds and failures did not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.sim.flight import Flight

WARM_UP = 0.1


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


def measured(flights: Sequence[Flight]) -> Sequence[Flight]:
    """Those that count, in the order of arrival."""
    return flights[int(len(flights) * WARM_UP) :]


def summarize(flights: Sequence[Flight], slo: Slo, isolated: Callable[[int], float]) -> dict[str, Any]:
    """The numbers of these requests; None where there is nothing to take one of."""
    met = np.array([slo.met(f, isolated(f.ask.prompt_tokens)) for f in flights], dtype=bool)
    tokens = np.array([f.ask.prompt_tokens + f.ask.output_tokens for f in flights], dtype=float)
    ttft = np.array([t for f in flights if (t := f.ttft_s) is not None])
    tpot = np.array([t for f in flights if (t := f.tpot_s) is not None])
    served = [f for f in flights if f.first_token is not None]
    reasons = Counter(f.reason for f in flights if f.end == "shed")
    return {
        "goodput": _mean(met),
        "token_goodput": float(tokens[met].sum() / tokens.sum()) if len(flights) else None,
        "ttft_mean": _mean(ttft),
        **{f"ttft_p{q}": _percentile(ttft, q) for q in (50, 95, 99)},
        "tpot_mean": _mean(tpot),
        "tpot_p99": _percentile(tpot, 99),
        "hit_rate": _ratio(sum(f.cached_tokens for f in served), sum(f.ask.prompt_tokens for f in served)),
        "offered": len(flights),
        "done": sum(f.end == "done" for f in flights),
        "shed": sum(f.end == "shed" for f in flights),
        "errors": sum(f.end == "error" for f in flights),
        "shed_reasons": dict(sorted(reasons.items())),
    }


def _mean(values: Any) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _percentile(values: Any, q: float) -> float | None:
    return float(np.percentile(values, q)) if len(values) else None


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
