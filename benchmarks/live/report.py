"""The rows as Markdown tables. Ratios and differences within a run are what counts: the machine is in every number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.live.cases import size_name
from benchmarks.live.verdict import verdicts
from benchmarks.sim.cells import cell
from benchmarks.sim.table import aligned

Row = dict[str, Any]
Column = tuple[str, Callable[[Row], str]]
LONG_ANSWER = 100  # tokens
ms, us, mib, number = cell(",.2f", 1e3), cell(",.0f", 1e6), cell(",.0f", 2**-20), cell(",.1f")
percent = cell(".1%")


def _at(what: str, which: str) -> Callable[[Row], str]:
    return lambda row: ms((row[what] or {}).get(which))


def _added(name: str) -> Callable[[Row], str]:
    def shown(row: Row) -> str:
        if row["added"] is None:
            return ""
        bounds = row["added"][f"{name}_interval"]
        half = "" if bounds is None else f" ±{(bounds[1] - bounds[0]) / 2 * 1e3:.2f}"
        return ms(row["added"][name]) + half

    return shown


def _answers(row: Row) -> str:
    """How many, and of what status where one is not 200."""
    if set(row["statuses"]) <= {"200"}:
        return f"{row['done']:,}"
    return " ".join(f"{status}:{count}" for status, count in row["statuses"].items())


def _per_token(name: str) -> Callable[[Row], str]:
    """Of long answers: in a short one it is the request's cost divided by a few."""
    return lambda row: us(row[name]) if (row["answer_tokens"] or LONG_ANSWER) >= LONG_ANSWER else "-"


def _is(name: str, shown: Callable[[Any], str]) -> Callable[[Row], str]:
    return lambda row: shown(row[name])


HEAD: Sequence[Column] = (
    ("wiring", lambda row: row["wiring"] or ""),
    ("case", lambda row: row["case"]),
    ("target", lambda row: row["target"]),
)
LATENCY: Sequence[Column] = (
    *HEAD,
    ("req/s", _is("requests_per_s", number)),
    ("answers", _answers),
    ("goodput", _is("goodput", percent)),
    ("hits", _is("hit_rate", percent)),
    ("TTFT p50 ms", _at("ttft", "p50")),
    ("p99", _at("ttft", "p99")),
    ("TPOT p50 ms", _at("tpot", "p50")),
    ("ITL p99 ms", _at("itl", "p99")),
    ("e2e p50 ms", _at("e2e", "p50")),
    ("p99", _at("e2e", "p99")),
    ("TTFT p50 added", _added("ttft_p50")),
    ("e2e p50 added", _added("e2e_p50")),
    ("e2e p99 added", _added("e2e_p99")),
)
COST: Sequence[Column] = (
    *HEAD,
    ("messages a request", _is("messages_per_request", number)),
    ("picker us a request", _is("picker_cpu_s", us)),
    ("Envoy us a request", _is("envoy_cpu_s", us)),
    ("picker us a message", _is("picker_cpu_per_message_s", us)),
    ("picker us a token", _per_token("picker_cpu_per_token_s")),
    ("Envoy us a token", _per_token("envoy_cpu_per_token_s")),
    ("tokens a read", _is("tokens_per_read", number)),
    ("picker MiB", _is("picker_rss_bytes", mib)),
    ("Envoy MiB", _is("envoy_rss_bytes", mib)),
    ("client us a request", lambda row: us(row["generator"]["cpu_s"])),
    ("client late p50 ms", lambda row: ms((row["generator"]["late"] or {}).get("p50"))),
)
MEMORY: Sequence[Column] = (
    ("wiring", lambda row: row["wiring"]),
    ("target", lambda row: row["target"]),
    ("open requests", lambda row: f"{row['streams']:,}"),
    ("of", lambda row: size_name(row["prompt_bytes"])),
    ("picker MiB", lambda row: mib(row.get("picker_rss_bytes"))),
    ("most until then", lambda row: mib(row.get("picker_peak_bytes"))),
    ("Envoy MiB", lambda row: mib(row.get("envoy_rss_bytes"))),
    ("most until then", lambda row: mib(row.get("envoy_peak_bytes"))),
)


def tables(rows: Sequence[Row], memories: Sequence[Row], idle: Sequence[Row] = ()) -> str:
    """What to read on a terminal, or to paste."""
    parts = []
    if rows:
        parts += [_table(LATENCY, rows), _table(COST, rows)]
    if memories:
        parts.append(_table(MEMORY, memories))
    if rows:
        parts.append("\n".join(f"- {sentence}" for sentence in [*_idle(idle), *verdicts(rows)]))
    return "\n\n".join(parts) + "\n" if parts else ""


def _idle(idle: Sequence[Row]) -> list[str]:
    """What the CPU in the table leaves out."""
    most: dict[str, float] = {}
    for one in idle:
        if "picker" in one["cpu_share"]:
            most[one["target"]] = max(most.get(one["target"], 0.0), one["cpu_share"]["picker"])
    if not most:
        return []
    told = ", ".join(f"{target} {share:.1%}" for target, share in most.items())
    return [
        f"While nobody asks, a picker uses of a core: {told} (it reads its servers' metrics); not in the CPU above."
    ]


def _table(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """Without the columns in which nobody has anything to say."""
    shown = [[cell(row) for row in rows] for _, cell in columns]
    kept = [n for n, cells in enumerate(shown) if set(cells) - {"", "-"}]
    return aligned([[columns[n][0] for n in kept], *([shown[n][r] for n in kept] for r in range(len(rows)))])
