"""Results side by side, as a Markdown table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.sim.cells import cell, milliseconds

Format = Callable[[Any], str]


_percent = cell(".1%")
COLUMNS: Sequence[tuple[str, str, Format]] = (
    ("goodput", "goodput", _percent),
    ("in tokens", "token_goodput", _percent),
    ("TTFT mean ms", "ttft_mean", milliseconds),
    ("p50", "ttft_p50", milliseconds),
    ("p99", "ttft_p99", milliseconds),
    ("TPOT p99 ms", "tpot_p99", milliseconds),
    ("hits", "hit_rate", _percent),
    ("shed", "shed", str),
)
ANSWERS: Sequence[tuple[str, str, Format]] = (
    ("quality", "quality", _percent),
    ("right in time", "right_in_time", _percent),
    ("GPU-s an answer", "cost", cell(".3f")),
    ("E2E mean ms", "e2e_mean", milliseconds),
    ("spilled", "spill_share", _percent),
)


def table(results: Sequence[dict[str, Any]]) -> str:
    """One row a policy, and one for each class where there are several."""
    columns = [*COLUMNS, *(ANSWERS if any("quality" in result["summary"] for result in results) else ())]
    rows = [["policy", *(name for name, _, _ in columns)]]
    for result in results:
        label = result["policy"] + (f" + {result['admission']}" if result["admission"] != "none" else "")
        rows.append([label, *_row(columns, result["summary"], result["intervals"])])
        classes = {name: part for name, part in result["classes"].items() if part.get("offered")}
        if len(classes) > 1:
            rows += [[f"- {name}", *_row(columns, part, {})] for name, part in classes.items()]
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with columns of one width; the first row is its head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (rows[0], ["-" * width for width in widths], *rows[1:])
    ]
    return "\n".join(lines)


def _row(columns: Sequence[tuple[str, str, Format]], summary: dict[str, Any], intervals: dict[str, Any]) -> list[str]:
    cells = []
    for _, key, shown in columns:
        value, bounds = summary.get(key), intervals.get(key)
        cell = "-" if value is None else shown(value)
        if bounds is not None and key == "goodput":
            cell += f" ±{(bounds[1] - bounds[0]) * 50:.1f}"
        cells.append(cell)
    return cells
