"""What would change -> JSON-ready data, and lines for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from epp.replay.again import ROUTED, Outcome

NOBODY = "(nobody)"
REFUSED = "refused"
WHAT = ("model", "endpoint", "fate", "spill")


def summary(outcomes: Sequence[Outcome], notes: Sequence[str]) -> dict[str, Any]:
    """Counts, moves from what to what, and one row for each request that would change."""
    decided = [each for each in outcomes if each.decided]
    changed = [each for each in decided if each.changes]
    lacking = Counter(_plain(each.lacking) for each in outcomes if each.lacking)
    return {
        "receipts": len(outcomes),
        "decided_again": len(decided),
        "endpoints_known": sum(bool(each.endpoints) for each in decided),
        "by_other_receipts": sum(bool(each.borrowed) for each in decided),
        "unchanged": len(decided) - len(changed),
        "changed": {what: sum(what in each.changes for each in decided) for what in WHAT},
        "refused": _both(decided, lambda e: e.recorded.fate.startswith(REFUSED), lambda e: e.fate.startswith(REFUSED)),
        "waits": _both(decided, lambda e: e.recorded.fate == "waits", lambda e: e.fate == "waits"),
        "spilled": _both(decided, lambda e: bool(e.recorded.spill), lambda e: bool(e.spill)),
        "models": _moves((e.recorded.model, e.model) for e in decided if "model" in e.changes),
        "endpoints": _moves((e.recorded.picked, _most(e)) for e in decided if "endpoint" in e.changes),
        "fates": _moves((e.recorded.fate, e.fate) for e in decided if "fate" in e.changes),
        "share_by_model": _shares(decided),
        "lacking": dict(lacking.most_common()),
        "notes": list(notes),
        "changes": [row(each) for each in changed],
    }


def row(outcome: Outcome) -> dict[str, Any]:
    """One request, before and after."""
    then = outcome.recorded
    return {
        "id": then.id,
        "time": then.told.get("time"),
        "changes": outcome.changes,
        "asked_model": then.told.get("asked_model"),
        "before": {
            "decision": then.told.get("decision"),
            "model": then.model,
            "endpoint": then.picked,
            "fate": then.fate,
            "spill": then.spill,
        },
        "after": {
            "decision": outcome.decision,
            "model": outcome.model,
            "endpoint": _most(outcome),
            "fate": outcome.fate,
            "spill": outcome.spill,
        },
        "lacking": outcome.lacking,
        "borrowed": list(outcome.borrowed),
    }


def lines(told: Mapping[str, Any], listed_max: int) -> Iterator[str]:
    """The summary, then the first of the requests that would change."""
    decided, changes = told["decided_again"], told["changes"]
    yield f"{told['receipts']} receipts, {decided} decided again, {len(changes)} would change"
    for note in told["notes"]:
        yield f"  note: {note}"
    if told["by_other_receipts"]:
        yield f"  {told['by_other_receipts']} of them by what other receipts of the same moment tell of endpoints"
    for why, count in told["lacking"].items():
        yield f"  {count} cannot be told: {why}"
    yield "  of those decided again: " + "; ".join(
        f"{title} {told[what]['before']}, now {told[what]['after']}"
        for title, what in (("refused", "refused"), ("waited", "waits"), ("left for another model", "spilled"))
    )
    for title, what in (("model", "models"), ("endpoint", "endpoints"), ("admission", "fates")):
        if told[what]:
            yield ""
            yield title.upper()
            yield from (f"{move['count']:6d}  {move['from']} -> {move['to']}" for move in told[what])
    if told["share_by_model"]:
        yield ""
        yield "SHARE OF ROUTED REQUESTS          before   after"
        for name, (before, after) in told["share_by_model"].items():
            yield f"  {name[:30]:30}  {before:7.1%} {after:7.1%}"
    if changes:
        yield ""
        yield "REQUESTS"
        yield from (_line(each) for each in changes[:listed_max])
        if len(changes) > listed_max:
            yield f"  and {len(changes) - listed_max} more: --list {len(changes)}, or --json"


def _line(each: Mapping[str, Any]) -> str:
    before, after = each["before"], each["after"]
    said = []
    for what in ("decision", *WHAT):
        if before[what] != after[what] and (what == "decision" or what in each["changes"]):
            said.append(f"{before[what] or NOBODY} -> {after[what] or NOBODY}")
    unknown = f" ({each['lacking']})" if each["lacking"] else ""
    return f"  {each['id']}  {each['asked_model']}: {'; '.join(said)}{unknown}"


def _both(
    decided: Sequence[Outcome], before: Callable[[Outcome], bool], after: Callable[[Outcome], bool]
) -> dict[str, int]:
    return {"before": sum(map(before, decided)), "after": sum(map(after, decided))}


def _most(outcome: Outcome) -> str | None:
    if not outcome.endpoints:
        return None
    return max(sorted(outcome.endpoints), key=lambda address: outcome.endpoints[address])


def _moves(pairs: Iterator[tuple[str | None, str | None]]) -> list[dict[str, Any]]:
    counts = Counter(pairs)
    return [{"from": a or NOBODY, "to": b or NOBODY, "count": count} for (a, b), count in counts.most_common()]


def _shares(decided: Sequence[Outcome]) -> dict[str, tuple[float, float]]:
    """By model, the part of routed requests before and after; nothing where all stays."""
    before = Counter(str(e.recorded.model) for e in decided if e.recorded.fate in ROUTED)
    after = Counter(str(e.model) for e in decided if e.fate in ROUTED and e.model is not None)
    if before == after:
        return {}
    names = sorted(before.keys() | after.keys())
    one, other = before.total() or 1, after.total() or 1
    return {name: (before[name] / one, after[name] / other) for name in names}


def _plain(lacking: str) -> str:
    return lacking.removesuffix(".")
