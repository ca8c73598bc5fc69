"""What is happening now, from the receipts of the last minute: rates, mixes, and a row for each of the newest.

Made when somebody looks and never before; it costs requests nothing. Must stay true: a rate is over the seconds that
the receipts looked at cover, which are fewer than a minute where there are many; what is not known is null.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from typing import Any

from epp.datastore.receipts import Receipts
from epp.domain import Receipt

WINDOW_S = 60.0
SPAN_S_MIN = 1.0
LOOKED_AT_MAX = 600  # of either kind: what a state costs; under load a rate is over the seconds that these cover
ROWS, ROWS_REFUSED = 40, 20
NAMES_MAX = 50
UNNAMED = "(unnamed)"

Level = Callable[[int], str]


def moment(receipts: Receipts, now: float, level: Level, since: float = -inf) -> dict[str, Any]:
    """Requests by model, decision and endpoint, refusals by reason and class, classification, first answers of streams.

    `level` gives the class of a priority, `since` when we began to take requests. Rates are requests a second; those of
    routed requests count the sample in.
    """
    routed, refused = _Routed(), Counter[tuple[str, str]]()
    routed_s = _walk(receipts, now, since, routed.add, refused=False)
    refused_s = _walk(receipts, now, since, lambda r: refused.update([(r.outcome, level(r.priority))]), refused=True)
    rate = 1.0 / receipts.sample / routed_s if receipts.sample else 0.0
    return {
        "span_s": round(routed_s, 1),
        "sample": receipts.sample,
        "routed_per_s": round(routed.count * rate, 3),
        "refused_per_s": round(refused.total() / refused_s, 3),
        "models": _shares(routed.models, rate),
        "decisions": _shares(routed.decisions, rate),
        "refusals": [
            {"reason": reason, "class": named, "per_s": round(count / refused_s, 3), "count": count}
            for (reason, named), count in refused.most_common(NAMES_MAX)
        ],
        "spilled": routed.spilled,
        "classification": dict(routed.classification),
        "scanned": _part(routed.scanned_bytes, routed.total_bytes),
        "first_answer_s": _quantiles(routed.first_answer_s),
        "waited_s": _quantiles(routed.waited_s),
        "endpoints": {
            address: {
                "per_s": round(count * rate, 3),
                "prefix_hit": _part(routed.cached[address], routed.hashed[address]),
            }
            for address, count in routed.endpoints.items()
        },
        "rows": rows(receipts),
    }


def rows(receipts: Receipts) -> list[dict[str, Any]]:
    """The newest decisions, newest first, and of refusals some more, which others may have pushed out of the first."""
    newest = list(islice(receipts.newest(), ROWS))
    refused = list(islice(receipts.kept(refused=True)[0], ROWS_REFUSED))
    every = {receipt.id: receipt for receipt in (*newest, *refused)}
    return [row(receipts, each) for each in sorted(every.values(), key=lambda receipt: -receipt.time)]


def row(receipts: Receipts, receipt: Receipt) -> dict[str, Any]:
    """One decision in a line; `/debug/decisions/{id}` has all of it. Keys as in a receipt."""
    choice = receipt.choice
    return {
        "id": receipt.id,
        "time": receipts.told_at(receipt),
        "pool": receipt.pool,
        "tenant": receipt.tenant,
        "priority": receipt.priority,
        "asked_model": receipt.asked_model,
        "selected_model": receipt.model,
        "decision": choice.decision if choice else None,
        "classification": choice.classification if choice else "skipped",
        "picked": receipt.picked,
        "spilled": receipt.spill is not None and receipt.spill.to is not None,
        "waited_s": receipt.waited_s,
        "ttft_s": receipt.first_answer_s,
        "ended_s": receipt.ended_s,
        "status": receipt.status,
        "outcome": receipt.outcome,
    }


@dataclass(slots=True)
class _Routed:
    """Counts over requests that went somewhere."""

    count: int = 0
    spilled: int = 0
    scanned_bytes: int = 0
    total_bytes: int = 0
    models: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    classification: Counter[str] = field(default_factory=Counter)
    endpoints: Counter[str] = field(default_factory=Counter)
    cached: Counter[str] = field(default_factory=Counter)
    hashed: Counter[str] = field(default_factory=Counter)
    first_answer_s: list[float] = field(default_factory=list)
    waited_s: list[float] = field(default_factory=list)

    def add(self, receipt: Receipt) -> None:
        if receipt.model is None and receipt.picked is None:
            return  # it waits for room, or gave up waiting: it has gone nowhere
        self.count += 1
        self.models[receipt.model or UNNAMED] += 1
        self.spilled += receipt.spill is not None and receipt.spill.to is not None
        if receipt.choice is not None:
            self._chosen(receipt)
        if receipt.picked is not None:
            self.endpoints[receipt.picked] += 1
            self.cached[receipt.picked] += min(receipt.cached_tokens, receipt.hashed_tokens)
            self.hashed[receipt.picked] += receipt.hashed_tokens
        if receipt.stream and receipt.first_answer_s is not None and (receipt.status or 200) < 400:
            self.first_answer_s.append(receipt.first_answer_s)
        if receipt.waited_s is not None:
            self.waited_s.append(receipt.waited_s)

    def _chosen(self, receipt: Receipt) -> None:
        assert receipt.choice is not None
        self.classification[receipt.choice.classification] += 1
        if receipt.choice.decision is not None:
            self.decisions[receipt.choice.decision] += 1
        coverage = receipt.choice.signals.get("coverage") or {}
        self.scanned_bytes += coverage.get("scanned_bytes", 0)
        self.total_bytes += coverage.get("total_bytes", 0)


def _walk(receipts: Receipts, now: float, since: float, add: Callable[[Receipt], object], *, refused: bool) -> float:
    """Add those of the window; the seconds that they cover."""
    found, gave_way = receipts.kept(refused=refused)
    seen, oldest = 0, now
    for receipt in found:
        if now - receipt.time > WINDOW_S:
            return WINDOW_S
        if seen == LOOKED_AT_MAX:
            gave_way = True
            break
        add(receipt)
        seen, oldest = seen + 1, receipt.time
    begun = oldest if gave_way else since
    return min(WINDOW_S, max(SPAN_S_MIN, now - begun))


def _shares(counts: Counter[str], rate: float) -> list[dict[str, Any]]:
    total = counts.total()
    return [
        {"name": name, "per_s": round(count * rate, 3), "share": round(count / total, 4)}
        for name, count in counts.most_common(NAMES_MAX)
    ]


def _part(some: int, all_of_it: int) -> float | None:
    return round(some / all_of_it, 4) if all_of_it else None


def _quantiles(values: list[float]) -> dict[str, float] | None:
    """The median and the 95th percentile (nearest rank), None where nothing was seen."""
    if not values:
        return None
    ranked = sorted(values)
    return {name: ranked[int(part * len(ranked))] for name, part in (("p50", 0.5), ("p95", 0.95))}
