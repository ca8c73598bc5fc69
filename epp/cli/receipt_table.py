"""A receipt, as `/debug/decisions/ID` tells it -> lines for a terminal.

Must stay true: no line is longer than the width; what is not in the receipt is not made up.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from epp.cli.terminal import cut, printable

Receipt = Mapping[str, Any]

COLUMNS_MIN = 80
BAR, BAR_SIZE = "#", 20
LABEL = 13
AT_ONCE_S = 0.001  # at the gate: what it takes to look whether there is room
NAME_MAX = 40
WHY = {
    "context_length": "prompt and output limit are beyond its context window",
    "tools": "it does not call tools",
    "images": "it does not read images",
    "audio": "it does not hear audio",
    "json_mode": "it has no JSON mode",
    "never_degrade": "weaker than the first, and the request must not be degraded",
    "no_endpoint": "no endpoint of its own could be used",
    "no_room": "no endpoint of its own had room",
    "screened": "screeners kept none of its endpoints",
}
UNRELATED = 1.0  # a margin: the decision does not name it, and no score compares it
LAST_RESORT = "the default, where nobody else can answer"
HELD = {
    "held_no_other": "no other acceptable model could take it",
    "held_no_gain": "no other would have been a quarter quicker",
    "held_share": "enough requests had left it already",
}


def lines(receipt: Receipt, width: int = 100) -> list[str]:
    """What was asked, decided and chosen, and why not the others."""
    width = max(width, COLUMNS_MIN)
    told = [*_head(receipt), "", *_facts(receipt, width)]
    for part in (_candidates(receipt), _endpoints(receipt)):
        told += ["", *rows] if (rows := list(part)) else []
    return [cut(line, width) for line in told]


def _head(receipt: Receipt) -> Iterator[str]:
    when = f"{str(receipt.get('time') or '')[:19].replace('T', ' ')} UTC"
    status = receipt.get("status")
    yield f"RECEIPT {receipt.get('id')}  {when}  {receipt.get('outcome')}{f' ({status})' if status else ''}"
    who = ("request_id", "request"), ("pool", "pool"), ("tenant", "tenant"), ("objective", "objective")
    if receipt.get("trace_id"):
        yield f"  trace {receipt['trace_id']}"
    named = [f"{word} {receipt[key]}" for key, word in who if receipt.get(key)]
    yield "  " + ", ".join([*named, f"priority {receipt.get('priority', 0)}"])


def _facts(receipt: Receipt, width: int) -> Iterator[str]:
    facts = (
        ("asked for", _asked(receipt)),
        ("refused", str(receipt.get("message") or "")),
        ("no room", _no_room(receipt)),
        ("signals", _signals(receipt)),
        ("why", str(receipt.get("why") or "")),
        ("spill", _spill(receipt.get("spill") or {})),
        ("went to", _went(receipt)),
        ("not asked", ", ".join(f"{_short(name)} ({why})" for name, why in _unused(receipt))),
        ("took", _took(receipt)),
        ("first token", _first_token(receipt)),
        ("tokens", _tokens(receipt)),
    )
    for label, said in facts:
        if said:
            yield from textwrap.wrap(
                printable(said), width, initial_indent=f"{label:{LABEL}}", subsequent_indent=" " * LABEL
            )


def _asked(receipt: Receipt) -> str:
    asked, chosen = receipt.get("asked_model"), receipt.get("selected_model")
    said = f"{asked or 'no model'}"
    if chosen and chosen != asked:
        said += f", answered by {chosen}"
    if receipt.get("rewrite"):
        said += f", rewritten by {receipt['rewrite']}"
    return said + (f", decision {receipt['decision']}" if receipt.get("decision") else "")


def _signals(receipt: Receipt) -> str:
    said = []
    for name, signal in (receipt.get("signals") or {}).items():
        if isinstance(signal, list):  # of signals by kind and name, `domain:math`
            kinds = dict.fromkeys(str(one).partition(":")[0] for one in signal)
            said += [f"{name}: {', '.join(kinds)}"] if kinds else []
            continue
        label = signal.get("label") if isinstance(signal, Mapping) else signal
        sure = signal.get("confidence") if isinstance(signal, Mapping) else None
        if label is not None:
            said.append(f"{name} {label}" + (f" ({sure:.2f})" if isinstance(sure, float | int) else ""))
    how = receipt.get("classification")
    return ", ".join([*said, f"classification {how}"]) if how else ", ".join(said)


def _spill(spill: Mapping[str, Any]) -> str:
    if not spill:
        return ""
    origin, to, reason = spill.get("from"), spill.get("to"), spill.get("reason")
    wait, here, there = (_seconds(spill.get(key)) for key in ("wait_s", "ttft_s", "ttft_to_s"))
    if reason in ("no_endpoint", "no_room"):
        return f"from {origin} to {to}: {WHY[str(reason)]}"
    if to is None:
        return f"stayed with {origin} in spite of a predicted wait of {wait}: {HELD.get(str(reason), reason)}"
    why = f"it would have waited {wait}" if reason == "wait" else "its conversation had been sent there before"
    return f"from {origin} to {to}: {why}; first token predicted after {there}, not {here}"


def _went(receipt: Receipt) -> str:
    picked, served = receipt.get("picked"), receipt.get("served")
    if picked is None:
        return ""
    return f"{picked}" + (f", but {served} served it" if served not in (None, picked) else "")


def _took(receipt: Receipt) -> str:
    said = []
    waited_s = receipt.get("waited_s")
    if waited_s is not None:
        said.append(f"waited {_seconds(waited_s)} for room" if waited_s >= AT_ONCE_S else "went on at once")
    if receipt.get("decided_s") is not None:
        said.append(f"decided after {_seconds(receipt['decided_s'])}")
    if receipt.get("ended_s") is not None:
        said.append(f"ended after {_seconds(receipt['ended_s'])}")
    return ", ".join(said)


def _first_token(receipt: Receipt) -> str:
    """Both count from the decision on."""
    predicted, actual = receipt.get("predicted_ttft_s"), receipt.get("ttft_from_decision_s")
    if predicted is None and actual is None:
        return ""
    said = f"predicted {_seconds(predicted)}, " if predicted is not None else "not predicted, "
    if actual is None:
        return said + "not seen yet"
    ratio = f" ({actual / predicted:.2f} of it)" if predicted else ""
    return f"{said}came {_seconds(actual)} after the decision{ratio}"


def _tokens(receipt: Receipt) -> str:
    if not receipt.get("prompt_tokens"):
        return ""
    said = f"about {receipt['prompt_tokens']} in the prompt"
    if receipt.get("hashed_tokens"):
        said += f", {receipt.get('cached_tokens', 0)} of {receipt['hashed_tokens']} looked up were thought to be cached"
    usage = receipt.get("usage") or {}
    if usage:
        said += (
            f"; by the server {usage.get('prompt')} ({usage.get('cached')} cached) and {usage.get('completion')} out"
        )
    return said


def _candidates(receipt: Receipt) -> Iterator[str]:
    rows: Sequence[Mapping[str, Any]] = receipt.get("candidates") or []
    if not rows:
        return
    name = _width([str(row.get("model")) for row in rows], "MODEL")
    yield f"  {'MODEL':{name}}  QUALITY"
    for row in rows:
        mark = "x" if row.get("excluded") else ">" if row.get("model") == receipt.get("selected_model") else " "
        why = WHY.get(str(row.get("reason")), str(row.get("reason") or ""))
        unrelated = row.get("margin") == UNRELATED
        why = "answers" if mark == ">" else why or (LAST_RESORT if unrelated else "")
        quality = None if unrelated or not receipt.get("decision") else row.get("quality")
        number = f"{'-':>7}" if quality is None else f"{quality:7.2f}"
        shown = cut(str(row.get("model")), name)
        yield f"{mark} {shown:{name}}  {number} {_bar(quality, 1.0)}  {why}".rstrip()


def _no_room(receipt: Receipt) -> str:
    """What the gate saw of one that could not go on at once."""
    gate: Mapping[str, Any] = receipt.get("gate") or {}
    rows: Sequence[Mapping[str, Any]] = gate.get("endpoints") or []
    if not rows:
        return ""
    least = min(rows, key=lambda row: float(row["wait_s"]))
    said = f"{gate['before_s']:.2f} s of prompts waited before it, and " if gate["before_s"] else ""
    said += f"the soonest of {len(rows)} endpoints, {least['address']}, would have begun in {least['wait_s']:.2f} s"
    due = receipt.get("slo_ttft_s")
    return said + (f"; it takes {gate['own_s']:.2f} s itself and was due in {due:.2f} s" if due else "")


def _endpoints(receipt: Receipt) -> Iterator[str]:
    """The picked one first, then the best, each with what it was behind in."""
    rows: Sequence[Mapping[str, Any]] = receipt.get("endpoints") or []
    if not rows:
        return
    scored = [row for row in rows if not row.get("excluded")]
    scored.sort(key=lambda row: (row.get("address") != receipt.get("picked"), -(row.get("total") or 0.0)))
    best = max((row.get("total") or 0.0 for row in scored), default=0.0)
    name = _width([str(row.get("address")) for row in rows], "ENDPOINT")
    yield f"  {'ENDPOINT':{name}}    TOTAL"
    for place, row in enumerate(scored):
        picked = row.get("address") == receipt.get("picked")
        why = _scores(row) if picked or not place else _behind(row, scored[0])
        total = row.get("total") or 0.0
        shown = cut(str(row.get("address")), name)
        yield f"{'>' if picked else ' '} {shown:{name}}  {total:7.2f} {_bar(total, best)}  {why}".rstrip()
    for row in rows:
        if row.get("excluded"):
            shown = cut(str(row.get("address")), name)
            yield f"x {shown:{name}}  {'-':>7}  left out by {row.get('reason')}"


def in_seconds(row: Mapping[str, Any]) -> str:
    """What the default policy goes by; nothing for profiles that do not reckon in seconds."""
    told = row.get("details") or {}
    if "prefill_s" not in told:
        return ""
    parts = (
        f"wait {told['wait_s']:.3f} s",
        f"own prefill {told['prefill_s']:.3f} s",
        f"{told['cached_tokens']:.0f} tokens cached",
        f"{told['in_flight']:.0f} in flight",
    )
    return ", ".join(parts)


def _scores(row: Mapping[str, Any]) -> str:
    return in_seconds(row) or ", ".join(
        f"{_short(name)} {value:.2f}" for name, value in (row.get("scores") or {}).items()
    )


def _behind(row: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    """How far from the one picked, and the score in which it differs most."""
    behind = (first.get("total") or 0.0) - (row.get("total") or 0.0)
    if abs(behind) < 0.00005:
        return "equal: drawn by lot"
    own, others = row.get("scores") or {}, first.get("scores") or {}
    worse = {name: others[name] - value for name, value in own.items() if name in others}
    most = max(worse, key=lambda name: worse[name], default=None)
    if behind < 0 or most is None or worse[most] <= 0:
        return f"{abs(behind):.2f} {'more' if behind < 0 else 'less'}"
    if "prefill_s" in (row.get("details") or {}):
        return f"{behind:.2f} less: {in_seconds(row)}"
    return f"{behind:.2f} less, most in {_short(most)} ({own[most]:.2f}, not {others[most]:.2f})"


def _unused(receipt: Receipt) -> Iterator[tuple[str, Any]]:
    """Scorers that had nothing to go by."""
    yield from (receipt.get("unused_scorers") or {}).items()


def _short(scorer: str) -> str:
    return scorer.removesuffix("-scorer")


def _bar(value: float | None, most: float) -> str:
    """What is above 0 has a mark."""
    length = 0 if not value or most <= 0 or value < 0 else max(1, round(BAR_SIZE * min(value / most, 1.0)))
    return f"{BAR * length:{BAR_SIZE}}"


def _width(names: Sequence[str], head: str) -> int:
    return min(NAME_MAX, max(len(head), *map(len, names)))


def _seconds(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value * 1000:.1f} ms" if value < 0.1 else f"{value:.2f} s"
