"""Tables of the comparison. Ratios within a run are what counts: the machine is in every number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.live.report import ms, percent, us
from benchmarks.rivals.facts import Fact
from benchmarks.rivals.port import BESIDE
from benchmarks.sim.table import aligned

Row = Mapping[str, Any]
BASE = "none"


def cost_table(rows: Sequence[Row]) -> str:
    """CPU of everything between client and server, in all and against an Envoy alone, and latency beyond it."""
    head = ["case", "target", "router us", "Envoy us", "sum to Envoy alone", "us a chunk, router", "Envoy"]
    head += ["e2e p50 added ms", "p99 added ms"]
    bare = {(row["wiring"], row["case"]): row["envoy_cpu_s"] for row in rows if row["target"] == BASE}
    table = [head]
    for row in rows:
        used = [value for value in (row["picker_cpu_s"], row["envoy_cpu_s"]) if value is not None]
        long = (row["answer_tokens"] or 0) >= 100
        added = row["added"] if row["loop"] == "open" else None  # at full speed a latency is that of a queue
        table.append(
            [
                row["case"],
                name(row),
                us(row["picker_cpu_s"]),
                us(row["envoy_cpu_s"]),
                f"{sum(used) / bare[row['wiring'], row['case']]:.2f}",
                tenths_us(row["picker_cpu_per_token_s"]) if long else "-",
                tenths_us(row["envoy_cpu_per_token_s"]) if long else "-",
                ms(added["e2e_p50"]) if added else "-",
                ms(added["e2e_p99"]) if added else "-",
            ]
        )
    return aligned(table)


def name(row: Row) -> str:
    """What stands there, in words."""
    if row["target"] == BASE:
        return "Envoy alone" + (" (again)" if row["wiring"] == "duplex" else "")
    return f"Envoy + OneHop, {row['wiring']}" if row["target"] == "native" else str(row["target"])


def tenths_us(value: float | None) -> str:
    """Microseconds, with a digit after the point."""
    return "-" if value is None else f"{value * 1e6:.1f}"


def routing_table(rows: Sequence[Row], policies: Mapping[str, Row]) -> str:
    """Each target, and beside it what virtual time says of the policy that stands for it."""
    head = ["target", "goodput", "hits", "TTFT p50 ms", "p99", "answers", "in virtual time", "goodput", "hits"]
    table = [[*head, "TTFT p50 ms", "p99"]]
    for row in rows:
        policy = BESIDE.get(row["target"])
        said = policies[policy] if policy else {}
        ttft = row["ttft"] or {}
        table.append(
            [
                name(row),
                percent(row["goodput"]),
                percent(row["hit_rate"]),
                ms(ttft.get("p50")),
                ms(ttft.get("p99")),
                ", ".join(f"{count} x {status}" for status, count in row["statuses"].items()),
                policy or "-",
                percent(said.get("goodput")),
                percent(said.get("hit_rate")),
                ms(said.get("ttft_p50")),
                ms(said.get("ttft_p99")),
            ]
        )
    return aligned(table)


def facts_table(facts: Sequence[Fact]) -> str:
    """A row a condition, a column a target."""
    targets = list(dict.fromkeys(fact.target for fact in facts))
    rows = [["what happens", *targets]]
    for condition in dict.fromkeys(fact.condition for fact in facts):
        said = {fact.target: fact.answer.replace("|", "\\|") for fact in facts if fact.condition == condition}
        rows.append([condition, *(said.get(target, "-") for target in targets)])
    return "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]])
