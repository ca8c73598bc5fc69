"""Trace files to workloads; what a file is shows in its content.

- Mooncake: JSON lines with `timestamp` (ms), `input_length`, `output_length`, `hash_ids` of 512-token blocks;
- agents: JSON lines with `session`, `turn`, `t_ms` since the session's start, lengths, `hash_ids` of 64 tokens each;
- Azure, ServeGen: CSV with `t_s`, `input_tokens`, `output_tokens` (and `client`); nothing is shared.

Must stay true: a file that is none of these is refused with the reason; block ids cover all tokens before them.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import count, pairwise
from pathlib import Path
from typing import Any

from benchmarks.workloads.sessions import SessionTrace, Turn
from benchmarks.workloads.trace import Recorded, TimedTrace
from benchmarks.workloads.workload import Ask, Workload, answer_block, with_answer

MOONCAKE_TOKENS = 512
AGENT_TOKENS = 64
UNSHARED_TOKENS = 512  # nothing is shared, so the block only rounds
GZIP = b"\x1f\x8b"

Row = Mapping[str, Any]


def read(path: Path, name: str | None = None) -> Workload:
    """The workload in a file, plain or gzipped. Raises ValueError for what is no trace we know."""
    data = path.read_bytes()
    identity = sha256(data).hexdigest()
    try:
        text = (gzip.decompress(data) if data[:2] == GZIP else data).decode()
    except (UnicodeDecodeError, EOFError, zlib.error, gzip.BadGzipFile) as broken:
        raise ValueError(f"{path}: is no text, plain or gzipped") from broken
    named = name or path.name.removesuffix(".gz").rpartition(".")[0] or path.name
    try:
        return _parse(text, named, identity)
    except (KeyError, TypeError, ValueError) as wrong:
        raise ValueError(f"{path}: {wrong if isinstance(wrong, ValueError) else f'a row lacks {wrong}'}") from wrong


def _parse(text: str, name: str, identity: str) -> Workload:
    if not text.lstrip().startswith("{"):
        return _table(csv.DictReader(io.StringIO(text)), name, identity)
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    if "session" in rows[0]:
        return _agents(rows, name, identity)
    if "timestamp" in rows[0]:
        return _mooncake(rows, name, identity)
    raise ValueError(f"rows with {', '.join(rows[0])} are neither Mooncake's nor of agents")


def _table(rows: csv.DictReader[str], name: str, identity: str) -> Workload:
    return TimedTrace(name, identity, UNSHARED_TOKENS, [Recorded(at, ask) for at, ask in table_asks(rows)])


def table_asks(rows: csv.DictReader[str]) -> list[tuple[float, Ask]]:
    """Seconds and requests of a table; no prompt shares anything with another."""
    missing = {"t_s", "input_tokens", "output_tokens"} - set(rows.fieldnames or ())
    if missing:
        raise ValueError(f"the table lacks {', '.join(sorted(missing))}")
    found = []
    for number, row in enumerate(rows):
        tokens = max(1, int(row["input_tokens"]))
        blocks = tuple(range(number << 12, (number << 12) + -(-tokens // UNSHARED_TOKENS)))
        tenant = f"client-{row['client']}" if row.get("client") else None
        found.append((float(row["t_s"]), Ask(tokens, max(1, int(row["output_tokens"])), blocks, tenant=tenant)))
    return found


def _mooncake(rows: Sequence[Row], name: str, identity: str) -> Workload:
    asks = [_ask(row, MOONCAKE_TOKENS, number) for number, row in enumerate(rows)]
    requests = [
        Recorded(row["timestamp"] / 1000, ask) for row, ask in zip(rows, _continued(asks, MOONCAKE_TOKENS), strict=True)
    ]
    return TimedTrace(name, identity, MOONCAKE_TOKENS, requests)


def _agents(rows: Sequence[Row], name: str, identity: str) -> Workload:
    by_session: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_session[row["session"]].append(row)
    holders = Counter(block for turns in by_session.values() for block in {b for t in turns for b in t["hash_ids"]})
    sessions, numbers = [], count()
    for turns in by_session.values():
        ordered = sorted(turns, key=lambda row: row["turn"])
        asks = _continued([_ask(row, AGENT_TOKENS, next(numbers)) for row in ordered], AGENT_TOKENS)
        times = [row["t_ms"] / 1000 for row in ordered]
        gaps = [0.0, *(max(0.0, b - a) for a, b in pairwise(times))]
        sessions.append([Turn(gap, ask) for gap, ask in zip(gaps, asks, strict=True)])
    shared = frozenset(block for block, count in holders.items() if count > 1)
    return SessionTrace(name, identity, AGENT_TOKENS, sessions, shared=shared)


def _ask(row: Row, block_tokens: int, number: int) -> Ask:
    tokens, output, blocks = max(1, row["input_length"]), max(1, row["output_length"]), tuple(row["hash_ids"])
    # Where the recording rounded the other way, what no id stands for is left out.
    tokens = min(tokens, max(1, len(blocks) * block_tokens))
    blocks = blocks[: -(-tokens // block_tokens)] or (answer_block(number, 0),)
    return Ask(
        tokens, output, blocks, with_answer(blocks[: tokens // block_tokens], tokens + output, block_tokens, number)
    )


def _continued(asks: Iterable[Ask], block_tokens: int) -> list[Ask]:
    """The same, and answers that a later prompt continues get that prompt's blocks, as far as they reach.

    A later prompt continues this one if it holds its last full block, which this one was the first to hold (a shared
    system prompt is no conversation), and has room for the answer.
    """
    ordered = list(asks)
    owner: dict[int, int] = {}
    waiting: dict[int, int] = {}
    for position, ask in enumerate(ordered):
        full = ask.prompt_tokens // block_tokens
        for block in ask.blocks[:full]:
            earlier = waiting.get(block)
            if earlier is not None and _continues(ordered[earlier], ask):
                ordered[earlier] = _extended(ordered[earlier], ask, block_tokens)
                del waiting[block]
            owner.setdefault(block, position)
        if full and owner[ask.blocks[full - 1]] == position:
            waiting[ask.blocks[full - 1]] = position
    return ordered


def _continues(ask: Ask, later: Ask) -> bool:
    return later.prompt_tokens >= ask.prompt_tokens + ask.output_tokens


def _extended(ask: Ask, later: Ask, block_tokens: int) -> Ask:
    """The answer's blocks are the later prompt's, and so is the text of the prompt's last block."""
    full = ask.prompt_tokens // block_tokens
    held = (ask.prompt_tokens + ask.output_tokens) // block_tokens
    return replace(ask, blocks=ask.blocks[:full] + later.blocks[full : len(ask.blocks)], hashes=later.blocks[:held])
