"""What `/debug/pools` told -> lines for a terminal.

Must stay true: no line is longer than the width; what a model server or an object named itself cannot move the cursor.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from epp.cli.terminal import cut, printable

COLUMNS_MIN = 80
NAME_MIN, ADDRESS_MIN, MODELS_MIN = 14, 14, 6
NUMBERS = ("SENT", "TOKENS", "WAIT", "RUN", "KV", "PREFIX", "AGE")
ONE_PORT = "-rank-0"
LEGEND = "SENT, TOKENS: ours in flight; WAIT, RUN, KV: the server's sample of that AGE; PREFIX: blocks held"


def lines(told: Mapping[str, Any], width: int = 100) -> list[str]:
    """The table of every pool, and what is wrong in words below."""
    width = max(width, COLUMNS_MIN)
    pools = told["pools"]
    said = [line for each in pools for line in _pool(each, width)]
    if any(each.get("endpoints") for each in pools):
        said += [cut(LEGEND, width)]
    return [*said, *_process(told, pools, width)]


def _pool(pool: Mapping[str, Any], width: int) -> Iterator[str]:
    endpoints = pool.get("endpoints") or []
    key = str(pool.get("key") or pool.get("name"))
    ejected = sum(bool(_ejected(e)) for e in endpoints)
    count = f"{len(endpoints)} endpoint{'' if len(endpoints) == 1 else 's'}"
    yield cut(f"POOL {key}: {count}{f', {ejected} ejected' if ejected else ''}", width)
    if endpoints:
        yield from _table(endpoints, key.rpartition("/")[0], width)
    yield from _paragraphs(_about(pool), width)
    yield ""


def _about(pool: Mapping[str, Any]) -> Iterator[str]:
    """Sentences below the table."""
    for endpoint in pool.get("endpoints") or []:
        if why := _ejected(endpoint):
            yield f"ejected {endpoint.get('name')}: {why}"
        else:
            for path, trouble in (endpoint.get("troubles") or {}).items():
                yield f"trouble {endpoint.get('name')}: {path}: {trouble}"
    yield from _series(pool.get("endpoints") or [])
    objectives = pool.get("objectives") or {}
    if objectives:
        ranked = sorted(objectives.items(), key=lambda item: (-item[1], item[0]))
        yield f"objectives: {', '.join(f'{name} {priority}' for name, priority in ranked)}"
    for rewrite in pool.get("rewrites") or []:
        model = "any other model" if rewrite.get("model") is None else rewrite["model"]
        targets = rewrite.get("targets") or {}
        shares = ", ".join(name if share == 1 else f"{name} {share:.0%}" for name, share in targets.items())
        yield f"rewrite: {model} to {shares} by {rewrite.get('rewrite')} rule {rewrite.get('rule')}"
    yield from (f"conflict: {each}" for each in pool.get("conflicts") or [])
    yield from (f"note: {each}" for each in pool.get("conditions") or [])


def _series(endpoints: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What endpoints do not tell, those that lack the same in one sentence."""
    alike: dict[tuple[str, str], list[str]] = {}
    for endpoint in endpoints:
        missing = (endpoint.get("series") or {}).get("missing") or {}
        if missing:
            key = str(endpoint.get("engine")), ", ".join(map(str, missing))
            alike.setdefault(key, []).append(str(endpoint.get("name")))
    for (engine, signals), names in alike.items():
        who = names[0] if len(names) == 1 else f"{len(names)} endpoints ({names[0]}, ...)"
        yield f"series {who}: this {engine} does not tell {signals}"


def _process(told: Mapping[str, Any], pools: Sequence[Mapping[str, Any]], width: int) -> Iterator[str]:
    """Conditions of the process, and of the port that decides over all pools."""
    shown = {each for pool in pools for each in pool.get("conflicts") or []}
    shared = [each for each in (told.get("all") or {}).get("conflicts") or [] if each not in shown]
    said = [f"conflict: {each}" for each in shared] if len(told["pools"]) > 1 else []
    conditions = dict(told.get("conditions") or {})
    for at_the_endpoints in ("scrape", "series", "ejected"):
        conditions.pop(at_the_endpoints, None)
    for name, each in conditions.items():
        fresh = [one for one in each if one not in shown] if isinstance(each, list) else each
        said += [f"{name}: {words}"] if (words := _words(fresh)) else []
    if said:
        yield "this process"
        yield from _paragraphs(said, width)


def _table(endpoints: Sequence[Mapping[str, Any]], namespace: str, width: int) -> Iterator[str]:
    rows = [_row(endpoint) for endpoint in endpoints]
    for cut_off in (f"{namespace}/", ONE_PORT):
        if all(row[0].startswith(cut_off) or row[0].endswith(cut_off) for row in rows):
            rows = [[row[0].removeprefix(cut_off).removesuffix(cut_off), *row[1:]] for row in rows]
    head = ["ENDPOINT", "ADDRESS", *NUMBERS, "MODELS"]
    needed = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    numbers = needed[2:-1]
    name, address, models = _widths(needed[0], needed[1], needed[-1], width - 8 - sum(numbers) - len(numbers) + 1)
    marks = [" ", *(" " if e.get("reachable", True) and not _ejected(e) else "!" for e in endpoints)]
    for mark, row in zip(marks, [head, *rows], strict=True):
        counts = " ".join(cell.rjust(size) for cell, size in zip(row[2:-1], numbers, strict=True))
        texts = f"{_cut_front(row[0], name):{name}}  {_cut_front(row[1], address):{address}}"
        yield cut(f"{mark} {texts}  {counts}  {cut(row[-1], models)}".rstrip(), width)


def _widths(name: int, address: int, models: int, room: int) -> tuple[int, int, int]:
    """Of the three columns of text. Names are most worth reading, then models; a cut address is whole in --json."""
    address = min(address, max(ADDRESS_MIN, room - name - models))
    models = min(models, max(MODELS_MIN, room - address - name))
    return min(name, max(NAME_MIN, room - address - models)), address, models


def _row(endpoint: Mapping[str, Any]) -> list[str]:
    kv_usage, age = endpoint.get("kv_usage"), endpoint.get("age_s")
    return [
        printable(str(endpoint.get("name"))),
        printable(str(endpoint.get("address"))),
        *(_number(endpoint.get(key)) for key in ("inflight_requests", "inflight_tokens", "waiting", "running")),
        "-" if kv_usage is None else f"{100 * kv_usage:.0f}%",
        _number(endpoint.get("prefix_blocks")),
        "-" if age is None else _age(age),
        _models(endpoint),
    ]


def _models(endpoint: Mapping[str, Any]) -> str:
    """Base models first; what the server itself has not said has a question mark."""
    models = endpoint.get("models")
    if models is None:
        return "any"
    adapters = endpoint.get("adapters") or {}
    doubt = "?" if endpoint.get("models_from") == "declared" else ""
    return printable(", ".join(f"{name}{doubt}" for name in sorted(models, key=lambda name: (name in adapters, name))))


def _ejected(endpoint: Mapping[str, Any]) -> str:
    return str(endpoint.get("ejected") or "")


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    for unit, size in (("M", 1_000_000), ("k", 1000)):
        if value >= 10 * size:
            return f"{value / size:.0f}{unit}"
    return f"{value:.0f}"


def _age(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f}s"
    for unit, size in (("s", 1), ("m", 60), ("h", 3600)):
        if seconds < 100 * size:
            return f"{seconds // size:.0f}{unit}"
    return f"{seconds // 86_400:.0f}d"


def _words(condition: Any) -> str:
    """A condition's value as words; nothing, and counts that are all zero, say nothing."""
    if isinstance(condition, Mapping):
        parts = [f"{name} {words}" for name, each in condition.items() if (words := _words(each))]
        return ", ".join(parts)
    if isinstance(condition, list):
        return "; ".join(filter(None, map(_words, condition)))
    return "" if condition in (None, "", 0, False) else str(condition)


def _paragraphs(sentences: Iterable[str], width: int) -> Iterator[str]:
    for sentence in sentences:
        yield from textwrap.wrap(printable(sentence), width, initial_indent="  ", subsequent_indent="      ")


def _cut_front(text: str, size: int) -> str:
    """Ends tell pods apart."""
    return text if len(text) <= size else "…" + text[len(text) - size + 1 :]
