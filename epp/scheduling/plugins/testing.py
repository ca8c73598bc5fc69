"""Let a test say where its request goes. For conformance tests and their gateways, not for production."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.domain import Endpoint
from epp.plugin import Stage
from epp.scheduling.framework import Filter, Query

HEADER = "test-epp-endpoint-selection"


@dataclass(slots=True)
class HeaderBasedTestingFilter(Filter):
    """Keeps the endpoints of the header `test-epp-endpoint-selection`, by `ip` or `ip:port`; without it all (llm-d)."""

    type: ClassVar[str] = "header-based-testing-filter"
    stage: ClassVar[Stage] = "test"

    def keep(self, query: Query, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """Those named, in their own order."""
        header = query.request.headers.get(HEADER)
        if not header:
            return list(endpoints)
        named = {part.strip() for part in header.split(",")}
        named |= {part.strip("[]") for part in named}
        return [e for e in endpoints if e.address in named or e.address.rpartition(":")[0].strip("[]") in named]

    def notes(self) -> list[str]:
        """Every client may choose its endpoint."""
        return [f"any client can choose its endpoint with the header {HEADER}: for tests only"]
