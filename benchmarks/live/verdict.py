"""Whether the numbers are of what was measured, or of the one who measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

SHARE_MAX = 0.7
"""Of a core: a generator that uses more has requests wait for it."""
LATE_PART_MAX = 0.2
"""Of the median latency: later than this at the 99th percentile, and the tail is that of the machine."""
LATE_S_MIN = 0.002
SERVERS_SHARE_MAX = 0.8


def verdicts(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Sentences: how the generator did, and what is wrong with the numbers."""
    share = max((row["generator"]["share"] for row in rows), default=0.0)
    late = [row["generator"]["late"]["p50"] for row in rows if row["generator"]["late"]]
    told = f"The load generator used at most {share:.0%} of a core"
    if late:
        told += f" and was {max(late) * 1e3:.2f} ms late at the median of its worst case"
    fine = not any(row["client"] for row in rows)
    told += ": it was not the bottleneck." if fine else "."
    return [told, *_clients(rows), *_servers(rows), *_failures(rows)]


def client(row: dict[str, Any]) -> str | None:
    """`bottleneck` where the load generator was in the way, `late` where what it runs on was, None where neither."""
    generator = row["generator"]
    if generator["share"] > SHARE_MAX:
        return "bottleneck"
    late = (generator["late"] or {}).get("p99", generator["late_max"])
    if late is not None and row["e2e"] and late > max(LATE_S_MIN, LATE_PART_MAX * row["e2e"]["p50"]):
        return "late"
    return None


def _clients(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        if row["client"] == "bottleneck":
            yield (
                f"THE CLIENT WAS THE BOTTLENECK in {_name(row)}: it used {row['generator']['share']:.0%} of a core; "
                "more --clients or a lower --rate, or the numbers are its own."
            )
    late = [row for row in rows if row["client"] == "late"]
    if late:
        worst = max(late, key=lambda row: row["generator"]["late_max"])
        yield (
            f"The machine was busy: in {len(late)} of {len(rows)} rows requests left late though the generator had "
            f"CPU to spare, by up to {worst['generator']['late_max'] * 1e3:.1f} ms ({_name(worst)}). That is in the "
            "latencies, in their tails above all, of every target alike."
        )


def _servers(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        if (row["servers_share"] or 0.0) > SERVERS_SHARE_MAX:
            yield (
                f"The model servers were the bottleneck in {_name(row)}: their process used "
                f"{row['servers_share']:.0%} of a core; a lower rate or a larger --time-factor helps."
            )


def _failures(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        bad = {status: count for status, count in row["statuses"].items() if status != "200"}
        if bad:
            told = ", ".join(f"{count} x {status}" for status, count in bad.items())
            yield f"Not answered as they should in {_name(row)}: {told} of {row['offered']}."


def _name(row: dict[str, Any]) -> str:
    return ", ".join(filter(None, (row["wiring"], row["case"], row["target"])))
