"""The last decisions, by id: bounded rings that `/debug/decisions` reads. Hold names and numbers, never prompts.

Must stay true: neither the count nor the bytes of what is kept pass their bounds; refusals are kept whatever the
sample, and in a ring of their own, so that no rush of routed requests pushes out why one was refused.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from heapq import merge
from itertools import dropwhile, islice
from typing import Any, Literal

from epp.domain import Candidate, Choice, Receipt, Spilled

Fate = Literal["stored", "sampled_out", "gave_way"]
FATES: tuple[Fate, ...] = ("stored", "sampled_out", "gave_way")
KEPT_MAX, BYTES_MAX = 2048, 64 << 20
REFUSALS = 0.25  # of both bounds
# A receipt with its choice measured 2 KB; a row is an endpoint and its total, a cell a score: each a float in a list.
RECEIPT_BYTES, ROW_BYTES, CELL_BYTES = 2500, 48, 32
SEEN_BYTES = 160  # an endpoint that the gate saw: five numbers, and its share of the lists
HEAD_BYTES = 1500  # a classifier's answer: a dictionary of up to 22 labels
ID_DIGITS, ID_VALUES = 8, 1 << 32  # of a receipt's id, in hexadecimal: the dice of the sample


@dataclass(frozen=True, slots=True)
class Keeping:
    """How many receipts are kept, and about how many bytes of them; `sample` is the part of routed ones, 0 to 1."""

    count_max: int = KEPT_MAX
    bytes_max: int = BYTES_MAX
    sample: float = 1.0


class Receipts:
    """Newest first. `wall_offset_s` turns the monotonic times of receipts into wall-clock ones when shown.

    `on_fate` is told what became of each.
    """

    def __init__(
        self,
        wall_offset_s: float = 0.0,
        keeping: Keeping | None = None,
        on_fate: Callable[[Fate], None] = lambda fate: None,
    ) -> None:
        keeping = keeping or Keeping()
        self._wall_offset_s = wall_offset_s
        self._sample = keeping.sample
        self._on_fate = on_fate
        refused = max(1, int(keeping.count_max * REFUSALS))
        refused_bytes = int(keeping.bytes_max * REFUSALS)
        self._refused = _Ring(refused, refused_bytes)
        self._routed = _Ring(max(1, keeping.count_max - refused), keeping.bytes_max - refused_bytes)

    def add(self, receipt: Receipt) -> None:
        """Keep a receipt, which may still change while its request runs; the oldest give way."""
        refused = receipt.status is not None and receipt.status >= 400
        if not refused and not self.samples(receipt.id):
            self._on_fate("sampled_out")
            return
        gone = (self._refused if refused else self._routed).add(receipt)
        self._on_fate("stored")
        for _ in range(gone):
            self._on_fate("gave_way")

    def samples(self, receipt_id: str) -> bool:
        """Whether the receipt of a routed request with that id is one to keep: anyone who knows the id can tell."""
        if self._sample >= 1:
            return True
        try:
            return int(receipt_id[:ID_DIGITS], 16) < self._sample * ID_VALUES
        except ValueError:
            return False

    def get(self, receipt_id: str) -> dict[str, Any] | None:
        """The rendered receipt of that id, None when it is unknown or has given way."""
        receipt = self._routed.find(receipt_id) or self._refused.find(receipt_id)
        return None if receipt is None else self.render(receipt)

    def latest(
        self, count: int, tenant: str | None = None, pool: str | None = None, before: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """The newest `count`, newest first; of one tenant and of one pool's port where these are given.

        Only those after that of the id `before` in this order: none where that has given way.
        """
        newest = self.newest()
        if before is not None:
            newest = islice(dropwhile(lambda receipt: receipt.id != before, newest), 1, None)
        chosen = (r for r in newest if tenant in (None, r.tenant) and pool in (None, r.pool))
        return (self.render(receipt) for receipt in islice(chosen, count))

    def newest(self) -> Iterator[Receipt]:
        """All that are kept, newest first, as they are."""
        return merge(self._routed.newest(), self._refused.newest(), key=lambda receipt: -receipt.time)

    def kept(self, *, refused: bool) -> tuple[Iterator[Receipt], bool]:
        """Those of refused requests or the others, newest first, and whether older ones have given way."""
        ring = self._refused if refused else self._routed
        return ring.newest(), ring.gave_way

    @property
    def sample(self) -> float:
        """The part of routed requests whose receipts are kept."""
        return self._sample

    def told_at(self, receipt: Receipt) -> str:
        """When its request came, as ISO 8601."""
        return datetime.fromtimestamp(receipt.time + self._wall_offset_s, UTC).isoformat()

    def render(self, receipt: Receipt) -> dict[str, Any]:
        """A receipt as JSON-ready data; field names as in the interface document."""
        choice, first, decided = receipt.choice, receipt.first_answer_s, receipt.decided_s
        return {
            "id": receipt.id,
            "request_id": receipt.request_id,
            "trace_id": receipt.trace_id,
            "time": self.told_at(receipt),
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
            "needs": asdict(receipt.needs),
            "stream": receipt.stream,
            "cached_tokens": receipt.cached_tokens,
            "hashed_tokens": receipt.hashed_tokens,
            "signals": _signals(choice) if choice else {},
            "classification": choice.classification if choice else "skipped",
            "decision": choice.decision if choice else None,
            "why": choice.reason if choice else "",
            "candidates": [_candidate(c, receipt) for c in (choice.candidates if choice else ())],
            "endpoints": receipt.pick.explain() if receipt.pick else [],
            "spill": None if receipt.spill is None else _spill(receipt.spill),
            "unused_scorers": dict(receipt.pick.unused) if receipt.pick else {},
            "waited_s": receipt.waited_s,
            "slo_ttft_s": receipt.slo_ttft_s,
            "slo_asked_s": receipt.slo_asked_s,
            "gate": None if receipt.gate is None else receipt.gate.told(),
            "picked": receipt.picked,
            "served": receipt.served,
            "decided_s": decided,
            "predicted_ttft_s": receipt.predicted_ttft_s,
            "ttft_s": first,
            "ttft_from_decision_s": None if first is None or decided is None else first - decided,
            "ended_s": receipt.ended_s,
            "usage": asdict(receipt.usage) if receipt.usage else None,
            "answer_bytes": receipt.answer_bytes,
            "status": receipt.status,
            "fault": receipt.fault,
            "outcome": receipt.outcome,
            "message": receipt.message,
        }


class _Ring:
    """Receipts by id, newest last, up to a count and to about so many bytes; the newest is always kept."""

    def __init__(self, count_max: int, bytes_max: int) -> None:
        self._kept: OrderedDict[str, tuple[Receipt, int]] = OrderedDict()
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self.gave_way = False

    def add(self, receipt: Receipt) -> int:
        """How many had to give way."""
        size = weight(receipt)
        self._kept[receipt.id] = receipt, size
        self._bytes += size
        gone = 0
        while len(self._kept) > self._count_max or (self._bytes > self._bytes_max and len(self._kept) > 1):
            _, (_, oldest) = self._kept.popitem(last=False)
            self._bytes -= oldest
            gone += 1
        self.gave_way = self.gave_way or gone > 0
        return gone

    def find(self, receipt_id: str) -> Receipt | None:
        found = self._kept.get(receipt_id)
        return None if found is None else found[0]

    def newest(self) -> Iterator[Receipt]:
        return (receipt for receipt, _ in reversed(self._kept.values()))


def weight(receipt: Receipt) -> int:
    """About how many bytes of memory it holds, unrendered: most of them are endpoints and their scores."""
    texts = len(receipt.path) + len(receipt.request_id) + len(receipt.tenant) + len(receipt.asked_model or "")
    rows, columns = receipt.pick.size() if receipt.pick is not None else (0, 0)
    heads = receipt.choice.signals.get("heads") if receipt.choice is not None else None
    answers = sum(map(len, heads.values())) if heads else 0
    seen = 0 if receipt.gate is None else len(receipt.gate.addresses)
    return RECEIPT_BYTES + texts + seen * SEEN_BYTES + answers * HEAD_BYTES + rows * (ROW_BYTES + columns * CELL_BYTES)


def _candidate(candidate: Candidate, receipt: Receipt) -> dict[str, Any]:
    """`quality` is the configured score; without one, 1 for the first and less by the margin for the others."""
    why = receipt.excluded.get(candidate.model)
    return {
        "model": candidate.model,
        "quality": round(1.0 - candidate.margin, 6) if candidate.quality is None else candidate.quality,
        "margin": candidate.margin,
        "excluded": why is not None,
        "reason": "" if why is None else why.value,
    }


def _spill(spill: Spilled) -> dict[str, Any]:
    return {
        "from": spill.origin,
        "to": spill.to,
        "reason": spill.reason.value,
        "wait_s": spill.wait_s,
        "ttft_s": spill.ttft_s,
        "ttft_to_s": spill.ttft_to_s,
    }


def _signals(choice: Choice) -> dict[str, Any]:
    """The category, and what else was seen."""
    told = {"domain": {"label": choice.category, "confidence": choice.confidence}, **choice.signals}
    if "heads" in told:
        told["heads"] = {about: {name: asdict(a) for name, a in said.items()} for about, said in told["heads"].items()}
    return told
