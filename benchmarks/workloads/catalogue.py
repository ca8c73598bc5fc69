"""Workloads by name: traces from a folder, and generators that need nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.workloads.read import read
from benchmarks.workloads.shared_prefix import SharedPrefix
from benchmarks.workloads.workload import Workload

TRACES: Mapping[str, str] = {
    "conversation": "mooncake_conversation.jsonl.gz",
    "agent": "agent_lmcache.jsonl.gz",
    "chat": "azure2023_conv.csv.gz",
    "servegen": "servegen_sample_deepseek-r1_1h.csv.gz",
}
GENERATORS: Mapping[str, Callable[[], Workload]] = {
    "shared-prefix": SharedPrefix,
}
NAMES = (*TRACES, *GENERATORS)


def find(name: str, data: Path | None) -> Workload:
    """The workload of that name; `data` is the folder of traces. Raises ValueError."""
    if name in GENERATORS:
        return GENERATORS[name]()
    if data is None:
        raise ValueError(f"workload {name!r} is a trace: say where the traces are by --data or ONEHOP_TRACES")
    return read(data / TRACES[name], name)
