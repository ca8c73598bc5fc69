"""Keep the endpoints that can do one stage of a request: encode, prefill or decode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.domain import Endpoint
from epp.scheduling.framework import Filter, Query

ROLE = "llm-d.ai/role"
ALL_STAGES = frozenset({"encode-prefill-decode"})
ENCODE = ALL_STAGES | {"encode", "encode-prefill"}
PREFILL = ALL_STAGES | {"prefill", "encode-prefill", "prefill-decode", "both"}
DECODE = ALL_STAGES | {"decode", "prefill-decode", "both"}


@dataclass(slots=True)
class DecodeFilter(Filter):
    """Keeps endpoints whose `llm-d.ai/role` includes decode, and those without a role (llm-d)."""

    type: ClassVar[str] = "decode-filter"

    def keep(self, query: Query, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """Those that decode."""
        return [e for e in endpoints if (role := e.labels.get(ROLE)) is None or role in DECODE]


@dataclass(slots=True)
class PrefillFilter(Filter):
    """Keeps endpoints whose `llm-d.ai/role` includes prefill; one without a role is none of them (llm-d)."""

    type: ClassVar[str] = "prefill-filter"

    def keep(self, query: Query, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """Those that prefill."""
        return [e for e in endpoints if e.labels.get(ROLE) in PREFILL]


@dataclass(slots=True)
class EncodeFilter(Filter):
    """Keeps endpoints whose `llm-d.ai/role` includes encode; one without a role is none of them (llm-d)."""

    type: ClassVar[str] = "encode-filter"

    def keep(self, query: Query, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """Those that encode."""
        return [e for e in endpoints if e.labels.get(ROLE) in ENCODE]
