"""vLLM's router (`vllm-router`, Apache-2.0): a Rust reverse proxy in a Python wheel, begun from SGLang's.

Flags and defaults: its `vllm-router --help`, version 0.1.17. `cache_aware` is its default policy (threshold 0.3,
balance at 64 requests and 1.5 times, trees of 33,554,432 characters a worker swept every 120 s). `consistent_hash` and
`sticky_least_loaded` go by a session that the client names, and `kv_aware` needs the engines' events over ZeroMQ, so
neither is here. Retries, circuit breaker, queue (100) and limit of requests at once (32,768) are its defaults.
"""

from __future__ import annotations

from benchmarks.rivals import sglang_router
from benchmarks.rivals.rival import Place, Rival


def words(place: Place, policy: str) -> list[str]:
    """Workers that are there already."""
    return [
        "--host=127.0.0.1",
        f"--port={place.port}",
        "--prometheus-host=127.0.0.1",
        f"--prometheus-port={place.metrics_port}",
        f"--policy={policy}",
        "--log-level=warning",
        "--worker-urls",
        *place.urls,
    ]


RIVAL = Rival(
    "vllm-router",
    "vllm-router",
    "vllm-router",
    ("cache_aware", "power_of_two", "round_robin", "random"),
    words,
    "/readiness",
    sglang_router.ready,
)
