"""`onehop bench compare A B`: what moved from one result to another beyond noise.

Runs of the same seed have the same arrivals and classes, so their difference is taken seed by seed; a number has moved
where the 95 % t-interval of the mean difference does not hold 0. With many numbers, some intervals will miss it by
chance, one in twenty: the last line says how many that would be. Files of `bench sim` and of `bench shedding`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.sim.statistics import interval

HIGHER_IS_BETTER: Mapping[str, bool] = {
    "goodput": True,
    "token_goodput": True,
    "ttft_mean": False,
    "ttft_p50": False,
    "ttft_p95": False,
    "ttft_p99": False,
    "tpot_mean": False,
    "tpot_p99": False,
    "hit_rate": True,
    "shed": False,
    "errors": False,
    "fairness_tokens": True,
    "preemptions": False,
    "waiting_engines_mean": False,
    "waiting_engines_max": False,
    "recovery_s": False,
}
SAME = ("workload_identity", "fleet", "slo", "rate", "mix", "requests")


@dataclass(slots=True, frozen=True)
class Moved:
    """One number of one pair; `verdict` is better, worse, noise, or same."""

    who: str
    part: str
    metric: str
    before: float
    after: float
    interval: list[float] | None
    verdict: str


def run(arguments: list[str]) -> int:
    """0; with `--strict` 1 where something got worse; 2 where the two cannot be compared."""
    parser = argparse.ArgumentParser(prog="onehop bench compare", description="What moved from A to B beyond noise.")
    parser.add_argument("before", type=Path, metavar="A")
    parser.add_argument("after", type=Path, metavar="B")
    parser.add_argument("--strict", action="store_true", help="exit 1 where something got worse")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args(arguments)
    try:
        moved = compare(_results(given.before), _results(given.after))
    except ValueError as wrong:
        print(f"onehop bench compare: {wrong}", file=sys.stderr)
        return 2
    print(table(moved))
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(each) for each in moved], indent=2) + "\n")
    return 1 if given.strict and any(each.verdict == "worse" for each in moved) else 0


def compare(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[Moved]:
    """Pair by policy, admission and load, or the only result with the only result. Raises ValueError."""
    pairs = [(before[0], after[0])] if len(before) == len(after) == 1 else _pairs(before, after)
    if not pairs:
        raise ValueError("the two have no policy in common at one load")
    several = len({_load(one) for one, _ in pairs}) > 1
    return [moved for one, other in pairs for moved in _moved(one, other, _load(one) if several else "")]


def table(moved: Sequence[Moved]) -> str:
    """Markdown; what did not move is counted only."""
    lines = ["| what | | before | after | difference, 95 % | of before | |", "|---|---|---|---|---|---|---|"]
    for each in moved:
        if each.verdict in ("better", "worse"):
            low, high = each.interval or (0.0, 0.0)
            bounds = f"{low:+.4g} to {high:+.4g}"
            cells = (
                each.who,
                f"{each.part} {each.metric}",
                f"{each.before:.4g}",
                f"{each.after:.4g}",
                bounds,
                f"{each.after / each.before - 1:+.1%}" if each.before else "-",
                each.verdict,
            )
            lines.append(f"| {' | '.join(cells)} |")
    still = sum(each.verdict not in ("better", "worse") for each in moved)
    tested = sum(each.verdict != "same" for each in moved)
    return "\n".join(
        [
            *(lines if len(lines) > 2 else ["Nothing moved beyond noise."]),
            "",
            f"{still} numbers did not move. Were it all noise, about {tested / 20:.0f} of the {tested} that differ "
            "would be said to have moved, by chance.",
        ]
    )


def _results(path: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(path.read_text())
    except ValueError as broken:
        raise ValueError(f"{path}: {broken}") from broken
    if isinstance(content, dict) and isinstance(content.get("results"), list):
        content = content["results"]
    found = content if isinstance(content, list) else [content]
    if not all(isinstance(each, dict) and "per_seed" in each for each in found):
        raise ValueError(f"{path} holds no results of `bench sim` or `bench shedding`")
    return found


def _pairs(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    known = {(one["policy"], one["admission"], _load(one)): one for one in before}
    keys = [((other["policy"], other["admission"], _load(other)), other) for other in after]
    return [(known[key], other) for key, other in keys if key in known]


def _load(result: Mapping[str, Any]) -> str:
    """What was asked of the policy: parts of the knee, a step, or a rate."""
    if result.get("step"):
        return "through the step"
    load, rate = result.get("load"), result.get("rate")
    return f"at {load:g}x" if load is not None else f"at {rate:.6g} req/s" if rate is not None else ""


def _moved(one: Mapping[str, Any], other: Mapping[str, Any], load: str) -> list[Moved]:
    differing = [key for key in SAME if one.get(key) != other.get(key)]
    if differing:
        raise ValueError(f"{_name(one)} and {_name(other)} differ in {', '.join(differing)}")
    seeds = {row["seed"]: row for row in one["per_seed"]}
    rows = [(seeds[row["seed"]], row) for row in other["per_seed"] if row["seed"] in seeds]
    if len(rows) < 2:
        raise ValueError("it takes at least two seeds that both have")
    who = _name(one) if _name(one) == _name(other) else f"{_name(one)} -> {_name(other)}"
    who = f"{who} {load}".strip()
    found = _part(who, "all", rows)
    asked = [name for name, part in rows[0][0]["classes"].items() if part.get("offered")]
    for name in asked:
        if len(asked) > 1:
            found += _part(who, name, [(a["classes"][name], b["classes"][name]) for a, b in rows])
    return found


def _part(who: str, part: str, rows: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[Moved]:
    found = []
    for metric, higher in HIGHER_IS_BETTER.items():
        pairs = [(a[metric], b[metric]) for a, b in rows if a.get(metric) is not None and b.get(metric) is not None]
        if len(pairs) < 2:
            continue
        differences = [b - a for a, b in pairs]
        bounds = interval(differences)
        verdict = _verdict(bounds, higher) if any(differences) else "same"
        before, after = fmean(a for a, _ in pairs), fmean(b for _, b in pairs)
        found.append(Moved(who, part, metric, before, after, bounds, verdict))
    return found


def _verdict(bounds: Sequence[float] | None, higher_is_better: bool) -> str:
    if bounds is None or bounds[0] <= 0 <= bounds[1]:
        return "noise"
    return "better" if (bounds[0] > 0) == higher_is_better else "worse"


def _name(result: Mapping[str, Any]) -> str:
    admission = result["admission"]
    return str(result["policy"]) + ("" if admission == "none" else f" + {admission}")
