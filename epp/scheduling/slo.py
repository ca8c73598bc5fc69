"""What a request asks of its answer's pace, and how far endpoints are predicted to stay within it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from epp.domain import Endpoint
from epp.scheduling.framework import Query

TTFT_HEADERS = ("x-llm-d-slo-ttft-ms", "x-slo-ttft-ms")  # the newer name wins
TPOT_HEADERS = ("x-llm-d-slo-tpot-ms", "x-slo-tpot-ms")


@dataclass(slots=True, frozen=True)
class Slo:
    """Seconds to the first token and from token to token; None where the request does not say."""

    ttft_s: float | None = None
    tpot_s: float | None = None

    @property
    def asked(self) -> bool:
        """Whether there is anything to keep."""
        return self.ttft_s is not None or self.tpot_s is not None


def slo_of(headers: Mapping[str, str]) -> Slo:
    """What the headers say; a value that is no positive number says nothing."""
    return Slo(_milliseconds(headers, TTFT_HEADERS), _milliseconds(headers, TPOT_HEADERS))


def headrooms(query: Query, endpoints: Sequence[Endpoint]) -> list[tuple[float, float]] | None:
    """Seconds left of what the request asks for, to the first token and between tokens; None without predictions.

    What it does not ask for counts as 0 seconds: then the soonest endpoint has most left.
    """
    if not query.foreseen:
        return None
    slo = slo_of(query.request.headers)
    ttft, tpot = slo.ttft_s or 0.0, slo.tpot_s or 0.0
    seen = [query.foreseen[e] for e in endpoints]
    return [(ttft - each.ttft_s, tpot - (each.tpot_s or 0.0)) for each in seen]


def meets(slo: Slo, left: tuple[float, float]) -> bool:
    """Whether all that is asked for is predicted to be kept."""
    return (slo.ttft_s is None or left[0] >= 0.0) and (slo.tpot_s is None or left[1] >= 0.0)


def _milliseconds(headers: Mapping[str, str], names: Sequence[str]) -> float | None:
    text = next((headers[name] for name in names if headers.get(name)), None)
    try:
        value = float(text) if text is not None else 0.0
    except ValueError:
        return None
    return value / 1000.0 if isfinite(value) and value > 0 else None
