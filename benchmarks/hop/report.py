"""The rows as tables to read. Ratios within one run are what counts: the machine is in every absolute number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.hop.measure import Memory, Row

NONE = "none"


def fill_added(rows: Sequence[Row]) -> None:
    """The latency beyond that of the same requests without a picker."""
    bare = {(row.wiring, row.case): row for row in rows if row.picker == NONE}
    for row in rows:
        base = bare.get((row.wiring, row.case))
        if base is not None and row.picker != NONE:
            row.added_p50_s = row.p50_s - base.p50_s
            row.added_p99_s = row.p99_s - base.p99_s


def tables(rows: Sequence[Row], memories: Sequence[Memory]) -> str:
    """Markdown."""
    return "\n".join([*_requests(rows), "", *_memory(memories)]) + "\n"


def _requests(rows: Sequence[Row]) -> Iterator[str]:
    yield "| Wiring | Case | Picker | req/s | p50 ms | p99 ms | added | added | picker us | Envoy us | picker/Envoy |"
    yield "|" + "---|" * 11
    for row in sorted(rows, key=lambda row: (row.wiring, row.case)):
        ratio = None if row.picker_cpu_s is None else row.picker_cpu_s / row.envoy_cpu_s
        cells = [
            row.wiring,
            row.case,
            row.picker,
            f"{row.requests_per_s:,.0f}",
            _ms(row.p50_s),
            _ms(row.p99_s),
            _ms(row.added_p50_s),
            _ms(row.added_p99_s),
            _us(row.picker_cpu_s),
            _us(row.envoy_cpu_s),
            "" if ratio is None else f"{ratio:.2f}",
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield "| Wiring | Case | Picker | messages a request | picker us a message | client us a request | answers |"
    yield "|" + "---|" * 7
    for row in sorted(rows, key=lambda row: (row.wiring, row.case)):
        answers = " ".join(f"{status}:{count}" for status, count in row.statuses.items())
        per_message, client = _us(row.picker_cpu_per_message_s), _us(row.client_cpu_s)
        start = f"| {row.wiring} | {row.case} | {row.picker} "
        yield f"{start}| {row.messages:.1f} | {per_message} | {client} | {answers} |"


def _memory(memories: Sequence[Memory]) -> Iterator[str]:
    yield "| Wiring | Picker | open streams | picker MiB | Envoy MiB |"
    yield "|" + "---|" * 5
    for memory in memories:
        picker = "" if memory.picker_rss is None else f"{memory.picker_rss / 2**20:.0f}"
        start = f"| {memory.wiring} | {memory.picker} | {memory.streams:,} "
        yield f"{start}| {picker} | {memory.envoy_rss / 2**20:.0f} |"


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.2f}"


def _us(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e6:.0f}"
