"""Keep a session where it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.domain import Endpoint
from epp.plugin import Stage
from epp.scheduling.affinity import SessionAffinity
from epp.scheduling.framework import Filter, Query, Scorer

_DIFFERS = "The token names the endpoint that really served, also after a retry of the gateway's."


@dataclass(slots=True)
class SessionAffinityScorer(SessionAffinity, Scorer):
    """1 for the session's endpoint, 0 for the others; the answer's headers carry the token that names it (llm-d)."""

    type: ClassVar[str] = "session-affinity-scorer"
    stage: ClassVar[Stage] = "alpha"
    differs: ClassVar[str] = _DIFFERS

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """One score per endpoint."""
        pinned = self.pinned(query, endpoints)
        return [float(e is pinned) for e in endpoints]


@dataclass(slots=True)
class SessionAffinityFilter(SessionAffinity, Filter):
    """Keeps the session's endpoint alone; all where it has none yet, or that one is gone (llm-d)."""

    type: ClassVar[str] = "session-affinity-filter"
    stage: ClassVar[Stage] = "alpha"
    differs: ClassVar[str] = _DIFFERS

    def keep(self, query: Query, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """One endpoint, or all."""
        pinned = self.pinned(query, endpoints)
        return list(endpoints) if pinned is None else [pinned]
