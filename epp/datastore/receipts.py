"""The last decisions, by id: a bounded ring that `/debug/decisions` reads. Holds names and numbers, never prompts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from epp.domain import Receipt

KEPT_MAX = 2048


class Receipts:
    """Newest last. `wall_offset_s` turns the monotonic times of receipts into wall-clock ones when shown."""

    def __init__(self, wall_offset_s: float = 0.0, kept_max: int = KEPT_MAX) -> None:
        self._by_id: OrderedDict[str, Receipt] = OrderedDict()
        self._wall_offset_s = wall_offset_s
        self._kept_max = kept_max

    def add(self, receipt: Receipt) -> None:
        """Keep a receipt, which may still change while its request runs; the oldest gives way."""
        self._by_id[receipt.id] = receipt
        if len(self._by_id) > self._kept_max:
            self._by_id.popitem(last=False)

    def get(self, receipt_id: str) -> dict[str, Any] | None:
        """The rendered receipt of that id, None when it is unknown or has given way."""
        receipt = self._by_id.get(receipt_id)
        return None if receipt is None else self.render(receipt)

    def latest(self, count: int, tenant: str | None = None, pool: str | None = None) -> Iterator[dict[str, Any]]:
        """The newest `count`, newest first; of one tenant and of one pool's port where these are given."""
        chosen = (
            receipt
            for receipt in reversed(self._by_id.values())
            if tenant in (None, receipt.tenant) and pool in (None, receipt.pool)
        )
        return (self.render(receipt) for receipt in islice(chosen, count))

    def render(self, receipt: Receipt) -> dict[str, Any]:
        """A receipt as JSON-ready data; field names as in the interface document."""
        choice = receipt.choice
        candidates = [
            {
                "model": c.model,
                "quality": 0.0 - c.margin,
                "excluded": c.model in receipt.excluded,
                "reason": receipt.excluded.get(c.model, ""),
            }
            for c in (choice.candidates if choice else ())
        ]
        return {
            "id": receipt.id,
            "request_id": receipt.request_id,
            "time": datetime.fromtimestamp(receipt.time + self._wall_offset_s, UTC).isoformat(),
            "first_stream": receipt.first,
            "path": receipt.path,
            "pool": receipt.pool,
            "tenant": receipt.tenant,
            "objective": receipt.objective,
            "priority": receipt.priority,
            "rewrite": receipt.rewrite,
            "asked_model": receipt.asked_model,
            "selected_model": receipt.model,
            "prompt_tokens": receipt.prompt_tokens,
            "signals": {"domain": {"label": choice.category, "confidence": choice.confidence}} if choice else {},
            "classification": choice.classification if choice else "skipped",
            "decision": choice.decision if choice else None,
            "why": choice.reason if choice else "",
            "candidates": candidates,
            "endpoints": receipt.pick.explain() if receipt.pick else [],
            "waited_s": receipt.waited_s,
            "picked": receipt.picked,
            "served": receipt.served,
            "decided_s": receipt.decided_s,
            "ttft_s": receipt.first_answer_s,
            "ended_s": receipt.ended_s,
            "usage": asdict(receipt.usage) if receipt.usage else None,
            "status": receipt.status,
            "outcome": receipt.outcome,
        }
