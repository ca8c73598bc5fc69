"""Send prompts to the endpoints that are set up for their length, as a pod label tells it (`0-8192,65536-131072`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from epp.domain import Endpoint
from epp.scheduling.framework import Filter, Query, Scorer

Range = tuple[int, int]
IN_RANGE, NO_LABEL = 0.3, 0.5
WIDTH_SCALE = 10_000


@dataclass(slots=True)
class ContextLengthAware(Filter, Scorer):
    """In range: `0.3 + 0.7 * (0.7 / (1 + width / 10000) + 0.3 * headroom)`, headroom `(high - tokens) / high`.

    Out of range below 0.3, by the distance: `0.3 / (1 + distance / tokens)`; no label 0.5 (llm-d). As a filter, where
    `enable_filtering` asks for it, it keeps endpoints in range and those without the label; all where none is left.
    """

    type: ClassVar[str] = "context-length-aware"
    differs: ClassVar[str] = "The scale out of range is ours; in both it stays below 0.3 and falls with the distance."
    label: str = "llm-d.ai/context-length-range"
    enable_filtering: bool = False

    def __post_init__(self) -> None:
        if not self.label:
            raise ValueError("label must not be empty")

    def keep(self, query: Query, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """Those whose range holds the prompt, or that have none."""
        if not self.enable_filtering:
            return list(endpoints)
        tokens = query.request.prompt_tokens
        told = [(e, _ranges(e.labels.get(self.label, ""))) for e in endpoints]
        kept = [e for e, ranges in told if not ranges or any(low <= tokens <= high for low, high in ranges)]
        return kept or list(endpoints)

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """One score per endpoint from its label and the prompt's tokens."""
        tokens = query.request.prompt_tokens
        by_label: dict[str, float] = {}
        for label in {e.labels.get(self.label, "") for e in endpoints}:
            by_label[label] = max((_score(tokens, one) for one in _ranges(label)), default=NO_LABEL)
        return [by_label[e.labels.get(self.label, "")] for e in endpoints]


def _score(tokens: int, within: Range) -> float:
    low, high = within
    if low <= tokens <= high:
        headroom = (high - tokens) / high if high else 0.0
        return IN_RANGE + 0.7 * (0.7 / (1.0 + (high - low) / WIDTH_SCALE) + 0.3 * headroom)
    distance = low - tokens if tokens < low else tokens - high
    return IN_RANGE / (1.0 + distance / max(tokens, 1))


@lru_cache(maxsize=1024)
def _ranges(label: str) -> tuple[Range, ...]:
    """`low-high`, several by commas; what is no range is as if it were not there."""
    found = []
    for part in label.split(","):
        low, dash, high = part.strip().partition("-")
        if dash and low.isascii() and low.isdigit() and high.isascii() and high.isdigit() and int(low) <= int(high):
            found.append((int(low), int(high)))
    return tuple(found)
