"""What happened when, in bins of the arrivals' seconds: offered, met and refused by class, first tokens, queues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.sim.flight import Flight
from benchmarks.sim.queues import Queues
from benchmarks.sim.site import CLASSES


def timeline(flights: Sequence[Flight], met: Sequence[bool], queues: Queues, bin_s: float) -> dict[str, Any]:
    """Lists of a number for each bin; a request counts where it arrived, whenever it was done."""
    bins = 1 + int(max((f.arrived for f in flights), default=0.0) // bin_s)
    counts = {name: {key: [0] * bins for key in ("offered", "met", "shed")} for name in CLASSES}
    waited: dict[str, list[list[float]]] = {name: [[] for _ in range(bins)] for name in CLASSES}
    for flight, fine in zip(flights, met, strict=True):
        n, of = int(flight.arrived // bin_s), counts[flight.klass]
        of["offered"][n] += 1
        of["met"][n] += bool(fine)
        of["shed"][n] += flight.end == "shed"
        if flight.ttft_s is not None:
            waited[flight.klass][n].append(flight.ttft_s)
    classes = {name: {**of, "ttft_p99": [_p99(values) for values in waited[name]]} for name, of in counts.items()}
    return {"bin_s": bin_s, "classes": classes, **_queues(queues, bins, bin_s)}


def mean(timelines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Bin by bin, over the seeds that have a number there; as long as the shortest."""
    found: dict[str, Any] = {}
    for key, value in timelines[0].items():
        parts = [t[key] for t in timelines]
        if isinstance(value, Mapping):
            found[key] = mean(parts)
        elif isinstance(value, list):
            found[key] = [_mean([v for v in at if v is not None]) for at in zip(*parts, strict=False)]
        else:
            found[key] = value
    return found


def _queues(queues: Queues, bins: int, bin_s: float) -> dict[str, list[float | None]]:
    places = [int(at // bin_s) for at in queues.at]
    found = {}
    for name, values in (("waiting_engines", queues.engines), ("waiting_gate", queues.gate)):
        seen: list[list[float]] = [[] for _ in range(bins)]
        for place, value in zip(places, values, strict=True):
            if place < bins:
                seen[place].append(value)
        found[name] = [_mean(values) for values in seen]
    return found


def _p99(values: Sequence[float]) -> float | None:
    return float(np.percentile(values, 99)) if values else None


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
