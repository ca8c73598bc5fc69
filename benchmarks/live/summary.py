"""Slices to numbers: what each case was like on each target, and what the target adds to the first one.

Latencies are those of whole answers with status 200, from the time the request was meant to be sent; everything else
is in `statuses`. Means, percentiles and differences pool the rounds; the interval of a difference is the 95 %
t-interval over the rounds, each a pair of the same requests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from benchmarks.live.measure import Held, Slice
from benchmarks.live.messages import Result, Sample
from benchmarks.sim.statistics import interval

P99_SAMPLES_MIN = 100
"""Of fewer the 99th percentile is the largest, so none is told."""
ADDED = {"e2e_p50": ("e2e", "p50"), "e2e_p99": ("e2e", "p99"), "ttft_p50": ("ttft", "p50"), "tpot_p50": ("tpot", "p50")}

Row = dict[str, Any]


def rows(slices: Sequence[Slice], wiring: str | None = None) -> list[Row]:
    """A row for each case and target, in the order in which they were first played."""
    groups: dict[tuple[str, str], list[Slice]] = {}
    for one in slices:
        groups.setdefault((one.case.name, one.target.name), []).append(one)
    found = []
    for (case, target), parts in groups.items():
        first = next(t for c, t in groups if c == case)
        base = None if target == first else groups[case, first]
        found.append({"wiring": wiring, "case": case, "target": target, **_row(parts), "added": _added(parts, base)})
    return found


def _row(parts: Sequence[Slice]) -> Row:
    case, samples = parts[0].case, [sample for part in parts for sample in counted(part)]
    whole = [sample for sample in samples if sample.status == "200"]
    seconds = sum(_seconds(part) for part in parts)
    return {
        "loop": "closed" if case.connections else "open",
        "rate": case.rate,
        "connections": case.connections or None,
        "prompt_bytes": case.prompt_bytes,
        "answer_tokens": case.answer_tokens,
        "rounds": len(parts),
        "offered": len(samples),
        "done": len(whole),
        "statuses": dict(sorted(Counter(sample.status for sample in samples).items())),
        "requests_per_s": len(whole) / seconds if seconds > 0 else 0.0,
        **latencies(whole),
        "itl": spread(np.concatenate([np.frombuffer(r.gaps, np.float32) for p in parts for r in p.results])),
        "tokens": sum(sample.tokens for sample in whole),
        "tokens_per_read": _ratio(sum(sample.tokens for sample in whole), sum(sample.reads for sample in whole)),
        **_worth(parts, len(samples)),
        **_costs(parts),
        "generator": _generator(parts, samples),
    }


def latencies(samples: Sequence[Sample]) -> dict[str, Any]:
    """Seconds: the whole answer, the first event, and each token after the first in the mean."""
    e2e = [s.e2e_s for s in samples if s.e2e_s is not None]
    ttft = [s.ttft_s for s in samples if s.ttft_s is not None]
    pace = [
        (s.e2e_s - s.ttft_s) / (s.tokens - 1)
        for s in samples
        if s.e2e_s is not None and s.ttft_s is not None and s.tokens > 1
    ]
    return {"e2e": spread(e2e), "ttft": spread(ttft), "tpot": spread(pace)}


def spread(values: Any) -> dict[str, float] | None:
    """Mean, median and, where there are enough, the 99th percentile; None of nothing."""
    if not len(values):
        return None
    told = {"mean": float(np.mean(values)), "p50": float(np.percentile(values, 50))}
    return told | ({"p99": float(np.percentile(values, 99))} if len(values) >= P99_SAMPLES_MIN else {})


def counted(part: Slice) -> list[Sample]:
    """Those that count: in a closed loop, what ended after the warm-up and before the last answers."""
    return [
        sample
        for result in part.results
        for sample in result.samples
        if result.counted_from <= sample.at + (sample.e2e_s or 0.0) <= result.counted_to
    ]


def _seconds(part: Slice) -> float:
    """In which those that count ended."""
    return max(min(result.seconds, result.counted_to) - result.counted_from for result in part.results)


def _worth(parts: Sequence[Slice], offered: int) -> Row:
    """The part of all that were asked for that kept the objectives, and of prompt tokens that were cached."""
    judged = [part.judged for part in parts if part.judged is not None]
    met = sum(one.met for one in judged)
    hit, queried = sum(one.hit_tokens for one in judged), sum(one.queried_tokens for one in judged)
    return {"goodput": _ratio(met, offered) if judged else None, "hit_rate": _ratio(hit, queried)}


def _costs(parts: Sequence[Slice]) -> Row:
    """CPU seconds a request, a message and a token, of all that were sent; bytes of memory at the end."""
    asked = sum(_asked(result) for part in parts for result in part.results)
    tokens = sum(sample.tokens for part in parts for result in part.results for sample in result.samples)
    messages = sum(part.messages for part in parts)
    seen = all(part.target.admin is not None for part in parts)  # an Envoy that would count them
    found: Row = {"messages_per_request": _ratio(messages, asked) if seen else None}
    for role in ("picker", "envoy", "servers"):
        used = sum(part.cpu_s[role] for part in parts) if all(role in part.cpu_s for part in parts) else None
        found[f"{role}_cpu_s"] = None if used is None else _ratio(used, asked)
        found[f"{role}_cpu_per_token_s"] = None if used is None else _ratio(used, tokens)
        found[f"{role}_cpu_per_message_s"] = None if used is None or role == "servers" else _ratio(used, messages)
        found[f"{role}_share"] = None if used is None else _ratio(used, sum(part.seconds for part in parts))
        found[f"{role}_rss_bytes"] = max((part.rss.get(role, 0) for part in parts), default=0) or None
    return found


def _asked(result: Result) -> int:
    return sum(sample.late_s is not None for sample in result.samples)


def _generator(parts: Sequence[Slice], samples: Sequence[Sample]) -> Row:
    """The load generators: the busiest one's share of a core, seconds of lateness, CPU seconds a request."""
    results = [result for part in parts for result in part.results]
    late = [sample.late_s for sample in samples if sample.late_s is not None]
    return {
        "share": max((result.cpu_s / result.seconds for result in results if result.seconds > 0), default=0.0),
        "late": None if parts[0].case.connections else spread(late),
        "late_max": None if parts[0].case.connections else max(late, default=None),
        "cpu_s": _ratio(sum(result.cpu_s for result in results), sum(map(_asked, results))),
    }


def _added(parts: Sequence[Slice], base: Sequence[Slice] | None) -> Row | None:
    """Beyond the base, in seconds."""
    if base is None:
        return None
    found: Row = {}
    with_it, without = _of_rounds(parts), _of_rounds(base)
    for name, (what, which) in ADDED.items():
        pooled, bare = _pick(_latencies(parts), what, which), _pick(_latencies(base), what, which)
        found[name] = None if pooled is None or bare is None else pooled - bare
        pairs = [
            (_pick(with_it[n], what, which), _pick(without[n], what, which)) for n in with_it.keys() & without.keys()
        ]
        found[f"{name}_interval"] = interval([a - b for a, b in pairs if a is not None and b is not None])
    return found


def _of_rounds(parts: Sequence[Slice]) -> dict[int, Row]:
    return {part.round: _latencies([part]) for part in parts}


def _latencies(parts: Iterable[Slice]) -> Row:
    return latencies([sample for part in parts for sample in counted(part) if sample.status == "200"])


def _pick(told: Row, what: str, which: str) -> float | None:
    value: float | None = (told[what] or {}).get(which)
    return value


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def memories(held: Sequence[Held], wiring: str) -> list[Row]:
    """Bytes with requests held open."""
    return [
        {
            "wiring": wiring,
            "target": one.target,
            "streams": one.hold.streams,
            "prompt_bytes": one.hold.prompt_bytes,
            **{f"{role}_rss_bytes": size for role, size in one.rss.items()},
            **{f"{role}_peak_bytes": size for role, size in one.peak.items()},
        }
        for one in held
    ]


def requests(slices: Sequence[Slice], wiring: str | None = None) -> list[Row]:
    """Every request, for who wants to look closer; times in seconds, `at` since the slice began."""
    told: list[Row] = []
    for part in slices:
        where = {"wiring": wiring, "case": part.case.name, "target": part.target.name, "round": part.round}
        for result in part.results:
            for s in result.samples:
                told.append(
                    {**where, "at_s": round(s.at, 6), "status": s.status, "late_s": s.late_s, "ttft_s": s.ttft_s}
                    | {"e2e_s": s.e2e_s, "tokens": s.tokens, "reads": s.reads}
                )
    return told
