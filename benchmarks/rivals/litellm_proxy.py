"""LiteLLM's proxy (`litellm[proxy]`, MIT): a Python gateway to many providers, with routing among deployments.

Strategies: its documentation's `router_settings.routing_strategy`. `simple-shuffle` is its default and the one that it
recommends for production; `least-busy` counts requests in flight. Nothing is cached, logged or kept in a database here,
and one worker runs, as it does by default. It would ask the internet for prices and tell its project of its use, which
is off, and would not start without a key for its clients, which on loopback is not needed.
"""

from __future__ import annotations

import json

from benchmarks.rivals.rival import Place, Rival


def words(place: Place, policy: str) -> list[str]:
    """Writes its configuration: a deployment for each worker."""
    deployments = [
        {
            "model_name": place.model,
            "litellm_params": {"model": f"openai/{place.model}", "api_base": f"{url}/v1", "api_key": "none"},
        }
        for url in place.urls
    ]
    settings = {"model_list": deployments, "router_settings": {"routing_strategy": policy}}
    file = place.folder / "litellm.yaml"
    file.write_text(json.dumps(settings))  # which is YAML, too
    return [f"--config={file}", "--host=127.0.0.1", f"--port={place.port}", "--telemetry=False"]


def ready(page: str, workers: int) -> bool:
    """Of `/health/readiness`: the deployments are in its configuration."""
    return bool(json.loads(page).get("status") in ("healthy", "connected"))


RIVAL = Rival(
    "litellm",
    "litellm",
    "litellm",
    ("simple-shuffle", "least-busy", "latency-based-routing"),
    words,
    "/health/readiness",
    ready,
    {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"},
)
