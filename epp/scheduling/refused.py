"""The Go picker's plugin types that are not here, each with what to use instead. A file that names one is refused."""

from __future__ import annotations

_ENCODER = "caches of encoded images are not followed; prefix-cache-scorer covers images, which are part of the prompt"
_PLACES = "there is no topology of endpoints here; label-selector-filter can keep those of one zone"
_CLUSTERS = "endpoints of other clusters are not told apart; list them in a discovery file and use the plain scorers"
_GRPC = "only HTTP bodies are read; send engines' gRPC traffic past this picker"

REFUSED = {
    "burst-prefix-cache-producer": "approx-prefix-cache-producer notes a prompt at the moment of the choice, so that"
    " the next one of a burst already sees it",
    "dcgm-data-source": "GPU metrics are not read; kv-cache-utilization-scorer and queue-scorer go by the engine's own",
    "dcgm-extractor": "GPU metrics are not read; kv-cache-utilization-scorer and queue-scorer go by the engine's own",
    "k8s-notification-source": "pods, pools, objectives and rewrites are always watched, and nothing else is",
    "mm-embeddings-cache-producer": _ENCODER,
    "mm-embeddings-cache-scorer": _ENCODER,
    "p2p-source-producer": "KV caches are not copied between engines by our word; leave the plugin out",
    "precise-prefix-cache-scorer": "it became two plugins: use precise-prefix-cache-producer and prefix-cache-scorer",
    "program-aware-fairness": "round-robin-fairness-policy takes turns; token-fairness-policy (ours) gives tenants"
    " equal shares of tokens, which is what waits and services of programs come to",
    "sglanghttp-parser": "use passthrough-parser: a body of SGLang's own API goes on unread",
    "topology-affinity-filter": _PLACES,
    "topology-affinity-scorer": _PLACES,
    "topology-extractor": _PLACES,
    "vertexai-parser": _GRPC,
    "vllmgrpc-parser": _GRPC,
}
_BY_PREFIX = {"multicluster-": _CLUSTERS}


def instead_of(type_name: str) -> str | None:
    """What to use instead of a type of the Go picker's that is not here; None for a name that it does not have."""
    found = REFUSED.get(type_name)
    return found or next((text for prefix, text in _BY_PREFIX.items() if type_name.startswith(prefix)), None)
