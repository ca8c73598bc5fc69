"""SGLang's model gateway (`sglang-router`, Apache-2.0): a Rust reverse proxy in a Python wheel.

Flags and defaults: its `sglang-router launch --help`, version 0.3.2. `cache_aware` is its default policy with threshold
0.3, balance at 64 requests and 1.5 times, trees of 67,108,864 characters a worker swept every 60 s: these defaults are
what its documentation gives, so they stay. It asks no metrics of the workers: load is what it has in flight itself.
Retries (5), circuit breaker and health checks stay at their defaults, too, and so does its limit of requests at once:
without one it refuses nobody. Only the log is quieter than by default, as ours is, and the ports are on loopback.
"""

from __future__ import annotations

import json

from benchmarks.rivals.rival import Place, Rival


def words(place: Place, policy: str) -> list[str]:
    """`launch` with workers that are there already."""
    return [
        "launch",
        "--host=127.0.0.1",
        f"--port={place.port}",
        "--prometheus-host=127.0.0.1",
        f"--prometheus-port={place.metrics_port}",
        f"--policy={policy}",
        "--log-level=warn",
        "--worker-urls",
        *place.urls,
    ]


def ready(page: str, workers: int) -> bool:
    """Of `/readiness`: workers are registered one by one after the start."""
    return bool(json.loads(page).get("healthy_workers", 0) >= workers)


RIVAL = Rival(
    "sglang-router",
    "sglang-router",
    "sglang-router",
    ("cache_aware", "power_of_two", "round_robin", "random"),
    words,
    "/readiness",
    ready,
)
