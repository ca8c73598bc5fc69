"""Workloads by name: traces from a folder, and generators that need nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from benchmarks.workloads.generated import Generated, Groups, Lengths, SquareWave
from benchmarks.workloads.multi_turn import multi_turn
from benchmarks.workloads.questions import Topic, model_mix
from benchmarks.workloads.read import read
from benchmarks.workloads.servegen import servegen
from benchmarks.workloads.shared_prefix import SharedPrefix
from benchmarks.workloads.workload import Happening, Shape, Workload

TRACES: Mapping[str, str] = {
    "conversation": "mooncake_conversation.jsonl.gz",
    "agent": "agent_lmcache.jsonl.gz",
    "chat": "azure2023_conv.csv.gz",
}
SERVEGEN = ("servegen_rates_deepseek-r1.csv.gz", "servegen_sample_deepseek-r1_1h.csv.gz")
"""The only model of which the lengths are unbiased."""

ASKED, ANSWERED = Lengths(1_200, 1.0, least=16, most=16_000), Lengths(210, 0.8, least=2, most=2_000)
"""As the Azure conversation trace's means."""
NOISY = (("tenant-00", 0.5), *((f"tenant-{n:02}", 0.5 / 19) for n in range(1, 20)))
ADAPTERS = tuple(f"adapter-{n:02}" for n in range(12))
WARM_UP_S, WARM_UP_FACTOR = 20.0, 1.5
"""How long, and how much longer, the steps of an engine take that has just begun: assumed, for want of a source."""


def _starting(share: float, replica: int, after_s: float = 0.0) -> tuple[Happening, ...]:
    """A replica comes, and warms up."""
    return (
        Happening(share, "start", replica, after_s=after_s),
        Happening(share, "slow", replica, factor=WARM_UP_FACTOR, after_s=after_s),
        Happening(share, "list", replica, after_s=after_s),
        Happening(share, "slow", replica, after_s=after_s + WARM_UP_S),
    )


DYING = (
    Happening(0.3, "kill", 0),
    Happening(0.3, "list", 0, after_s=5.0),  # until then nobody but the requests has noticed
    *_starting(0.6, 0),
)
SLOW = (Happening(0.4, "slow", 1, factor=3.0), Happening(0.8, "slow", 1))
FAILING = (*DYING[:2], SLOW[0], *DYING[2:], SLOW[1])
RISING = tuple(happening for n in range(64) for happening in _starting(0.0, n, 10.0 + 2.0 * n))
GENERATORS: Mapping[str, Callable[[], Workload]] = {
    "shared-prefix": SharedPrefix,
    "multi-turn": multi_turn,
    "rag": partial(
        Generated,
        "rag",
        Lengths(300, 0.8, least=16, most=2_000),
        Lengths(150, 0.6, least=4, most=1_000),
        topics=500,
        topic_tokens=8_192,
    ),
    "bursts": partial(Generated, "bursts", ASKED, ANSWERED, Groups(256)),
    "square-wave": partial(Generated, "square-wave", ASKED, ANSWERED, SquareWave(0.5, 3.0, 60.0, 0.2)),
    "chat-short": partial(
        Generated,
        "chat-short",
        Lengths(400, 0.8, least=16, most=4_000),
        Lengths(120, 0.8, least=2, most=1_000),
        topics=100,
        topic_tokens=512,
    ),
    "decode-bound": partial(
        Generated,
        "decode-bound",
        Lengths(1_000, 0.5, least=64, most=8_000),
        Lengths(2_000, 0.8, least=64, most=8_000),
        requests=6_000,
    ),
    "mixed-tenants": partial(Generated, "mixed-tenants", ASKED, ANSWERED, tenants=NOISY),
    "mixed-priorities": partial(
        Generated, "mixed-priorities", ASKED, ANSWERED, tenants=NOISY, shape=Shape(mix=(0.2, 0.5, 0.3))
    ),
    "lora": partial(Generated, "lora", ASKED, ANSWERED, shape=Shape(adapters=ADAPTERS)),
    "heterogeneous": partial(
        Generated,
        "heterogeneous",
        Lengths(1_500, 1.0, least=16, most=16_000),
        ANSWERED,
        topics=200,
        topic_tokens=4_096,
        shape=Shape(gpus="h100:4,a100:4"),
    ),
    "failures": partial(Generated, "failures", ASKED, ANSWERED, shape=Shape(FAILING)),
    "replica-death": partial(Generated, "replica-death", ASKED, ANSWERED, shape=Shape(DYING)),
    "slow-replica": partial(Generated, "slow-replica", ASKED, ANSWERED, shape=Shape(SLOW)),
    "scale-from-zero": partial(
        Generated, "scale-from-zero", ASKED, ANSWERED, shape=Shape(RISING, absent=True, warm_up=0.0)
    ),
}
MIXES: Mapping[str, Topic | None] = {"model-mix": None, "model-mix-shift": Topic("math")}
NAMES = (*TRACES, "servegen", *MIXES, *GENERATORS)


def find(name: str, data: Path | None) -> Workload:
    """The workload of that name; `data` is the folder of traces, or of outcome tables. Raises ValueError."""
    if name in GENERATORS:
        return GENERATORS[name]()
    if name in MIXES:
        if data is None:
            raise ValueError(f"workload {name!r} needs answers: say where outcomes are by --data or ONEHOP_ROUTING")
        return model_mix(name, data, MIXES[name])
    if data is None:
        raise ValueError(f"workload {name!r} is a trace: say where the traces are by --data or ONEHOP_TRACES")
    if name == "servegen":
        return servegen(name, data / SERVEGEN[0], data / SERVEGEN[1])
    return read(data / TRACES[name], name)
