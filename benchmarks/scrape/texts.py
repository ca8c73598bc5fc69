"""The /metrics of a vLLM in full: what the simulated replica tells, and the families that a real one has besides.

Must stay true: the families and buckets are vLLM's own (V1, late 2025), so that sizes are: about 45 KB for one engine,
150 KB for four data parallel ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from benchmarks.simulator.config import ReplicaConfig
from benchmarks.simulator.exposition import expose
from benchmarks.simulator.profiles import find_profile
from benchmarks.simulator.replica import Replica

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
_LATENCY = (
    0.3,
    0.5,
    0.8,
    1.0,
    1.5,
    2.0,
    2.5,
    5.0,
    10.0,
    15.0,
    20.0,
    30.0,
    40.0,
    50.0,
    60.0,
    120.0,
    240.0,
    480.0,
    960.0,
)
_TPOT = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
_ITERATION = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_HTTP = (0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 7.5, 10, 30, 60)
_HISTOGRAMS = {
    "request_prompt_tokens": _TOKENS,
    "request_generation_tokens": _TOKENS,
    "request_max_num_generation_tokens": _TOKENS,
    "request_params_max_tokens": _TOKENS,
    "request_params_n": (1, 2, 5, 10, 20),
    "iteration_tokens_total": _ITERATION,
    "request_queue_time_seconds": _LATENCY,
    "request_inference_time_seconds": _LATENCY,
    "request_prefill_time_seconds": _LATENCY,
    "request_decode_time_seconds": _LATENCY,
    "request_time_per_output_token_seconds": _TPOT,
    "time_per_output_token_seconds": _TPOT,
    "kv_block_lifetime_seconds": _LATENCY,
    "kv_block_idle_before_evict_seconds": _LATENCY,
    "kv_block_reuse_gap_seconds": _LATENCY,
}
_HANDLERS = ("/v1/chat/completions", "/v1/completions", "/v1/models", "/health", "/metrics", "none")


def vllm(ranks: int = 1, seed: int = 1) -> bytes:
    """One exposition of a server with so many engines behind it."""
    rng = Random(seed)
    config = ReplicaConfig.of(find_profile("llama3-8b", "h100"))
    ours = expose(Replica(config), MODEL, 4, 1_700_000_000.0, 1_700_000_100.0)
    labels = [f'engine="{rank}",model_name="{MODEL}"' for rank in range(ranks)]
    lines = [*_process(rng), *_ranked(ours, ranks)]
    for name, bounds in _HISTOGRAMS.items():
        lines += _histogram(f"vllm:{name}", labels, bounds, rng)
    lines += _success(labels, rng)
    handlers = [f'handler="{handler}",method="POST"' for handler in _HANDLERS]
    lines += _histogram("http_request_duration_seconds", handlers, _HTTP, rng)
    return ("\n".join(lines) + "\n").encode()


def _ranked(text: str, ranks: int) -> Iterator[str]:
    """Each series of the replica once for every rank."""
    for line in text.splitlines():
        if line.startswith("#"):
            yield line
        else:
            yield from (
                line.replace('engine="0"', f'engine="{rank}"') for rank in range(ranks if "engine=" in line else 1)
            )


def _histogram(name: str, labels: list[str], bounds: tuple[float, ...], rng: Random) -> Iterator[str]:
    yield f"# HELP {name} Histogram of {name.partition(':')[2].replace('_', ' ')}."
    yield f"# TYPE {name} histogram"
    for each in labels:
        total = 0
        for bound in (*map(float, bounds), "+Inf"):
            total += rng.randrange(1000)
            yield f'{name}_bucket{{{each},le="{bound}"}} {float(total)}'
        yield f"{name}_count{{{each}}} {float(total)}"
        yield f"{name}_sum{{{each}}} {rng.random() * total!r}"
    yield f"# TYPE {name}_created gauge"
    yield from (f"{name}_created{{{each}}} 1.7e+09" for each in labels)


def _success(labels: list[str], rng: Random) -> Iterator[str]:
    yield "# TYPE vllm:request_success_total counter"
    for each in labels:
        yield from (
            f'vllm:request_success_total{{{each},finished_reason="{why}"}} {float(rng.randrange(9999))}'
            for why in ("stop", "length", "abort", "error", "repetition")
        )


def _process(rng: Random) -> Iterator[str]:
    for generation in range(3):
        for family in ("objects_collected", "objects_uncollectable", "collections"):
            yield f'python_gc_{family}_total{{generation="{generation}"}} {float(rng.randrange(99999))}'
    for name in ("virtual_memory_bytes", "resident_memory_bytes", "cpu_seconds_total", "open_fds", "max_fds"):
        yield f"process_{name} {rng.random() * 1e9!r}"
