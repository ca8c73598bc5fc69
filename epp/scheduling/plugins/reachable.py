"""Leave out endpoints whose last contact failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.domain import Endpoint
from epp.plugin import Stage
from epp.scheduling.framework import Filter, Query


@dataclass(slots=True)
class ReachableFilter(Filter):
    """Keeps reachable endpoints; when none is, keeps all, since our own network may be what failed."""

    type: ClassVar[str] = "reachable-filter"
    stage: ClassVar[Stage] = "ours"

    def keep(self, query: Query, endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
        """The reachable endpoints, or all of them."""
        for endpoint in endpoints:
            if not endpoint.reachable:
                return [e for e in endpoints if e.reachable] or list(endpoints)
        return endpoints if isinstance(endpoints, tuple) else list(endpoints)
