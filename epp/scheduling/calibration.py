"""Is an endpoint's cache as large as thought? Compares the hits that were predicted with those its answers tell.

Below 0.9 of what was predicted the capacity shrinks by 5 %, above 0.98 it grows by 5 %: what is forgotten too late is
predicted in vain, what is forgotten too early is not predicted at all. Looked at every `REQUESTS` answers, because one
answer is all or nothing. Must stay true: an endpoint that never tells of a hit teaches nothing, since most engines
only tell when they are asked to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from epp.domain import Endpoint

REQUESTS = 32
TOO_FEW, ENOUGH = 0.9, 0.98
SHRINK, GROW = 0.95, 1.05


@dataclass(slots=True)
class _Seen:
    requests: int = 0
    predicted: float = 0.0
    observed: float = 0.0
    tells: bool = False


@dataclass(slots=True)
class Calibration:
    """What the answers of each endpoint told since it was last looked at."""

    _seen: WeakKeyDictionary[Endpoint, _Seen] = field(default_factory=WeakKeyDictionary)

    def note(self, endpoint: Endpoint, predicted: float, observed: float) -> float:
        """One answer: shares of its prompt thought cached, and really so. By how much to scale the capacity now."""
        seen = self._seen.setdefault(endpoint, _Seen())
        seen.tells = seen.tells or observed > 0.0
        if not seen.tells or predicted <= 0.0:
            return 1.0
        seen.requests += 1
        seen.predicted += predicted
        seen.observed += min(observed, predicted)
        if seen.requests < REQUESTS:
            return 1.0
        ratio = seen.observed / seen.predicted
        seen.requests, seen.predicted, seen.observed = 0, 0.0, 0.0
        return SHRINK if ratio < TOO_FEW else GROW if ratio > ENOUGH else 1.0
