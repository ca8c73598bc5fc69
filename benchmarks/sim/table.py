"""Results side by side, as a Markdown table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Format = Callable[[Any], str]


def _percent(value: Any) -> str:
    return "-" if value is None else f"{value:.1%}"


def milliseconds(value: Any) -> str:
    """Of seconds; a dash for none."""
    return "-" if value is None else f"{value * 1e3:,.0f}"


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


def table(results: Sequence[dict[str, Any]]) -> str:
    """One row a policy, and one for each class where there are several."""
    rows = [["policy", *(name for name, _, _ in COLUMNS)]]
    for result in results:
        label = result["policy"] + (f" + {result['admission']}" if result["admission"] != "none" else "")
        rows.append([label, *_row(result["summary"], result["intervals"])])
        classes = {name: part for name, part in result["classes"].items() if part.get("offered")}
        if len(classes) > 1:
            rows += [[f"- {name}", *_row(part, {})] for name, part in classes.items()]
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with columns of one width; the first row is its head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (rows[0], ["-" * width for width in widths], *rows[1:])
    ]
    return "\n".join(lines)


def _row(summary: dict[str, Any], intervals: dict[str, Any]) -> list[str]:
    cells = []
    for _, key, shown in COLUMNS:
        value, bounds = summary.get(key), intervals.get(key)
        cell = "-" if value is None else shown(value)
        if bounds is not None and key == "goodput":
            cell += f" ±{(bounds[1] - bounds[0]) * 50:.1f}"
        cells.append(cell)
    return cells
