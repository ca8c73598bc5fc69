"""What a request waits for its LoRA adapter at an endpoint, in seconds.

An engine computes requests of only so many adapters at a time (vLLM's `max_loras`); those of a further one wait until
all requests of some other adapter are over. Which have requests there, the ledger knows at once and of ours alone; the
engine's sample is late and knows of all.
"""

from __future__ import annotations

from collections.abc import Sequence

from epp.domain import Endpoint

LOAD_S = 0.25  # an adapter that is not there is loaded first; from main memory at best
SLOT_S = 2.0  # until some other's requests are over: about the answer of a few hundred tokens


def adapter_of(model: str | None, endpoints: Sequence[Endpoint]) -> str | None:
    """The model, if it is an adapter at the first endpoint that knows of it; None for a base model."""
    for endpoint in endpoints:
        serves = endpoint.serves
        if serves is not None and model is not None and model in serves:
            return model if serves[model] != model else None
    return None


def slot_wait_s(adapter: str, endpoint: Endpoint) -> float:
    """How long a request of this adapter waits here for that alone; 0 where its adapter is running."""
    lora = None if endpoint.load is None else endpoint.load.lora
    ours = endpoint.inflight_adapters
    if lora is None:
        return 0.0 if adapter in ours else LOAD_S
    if adapter in lora.running:
        return 0.0
    active = lora.running.union(lora.waiting, ours)
    known = adapter in active
    if lora.adapters_max is None:
        return 0.0 if known else LOAD_S
    over = len(active) + (not known) - lora.adapters_max
    if over > 0:
        return SLOT_S * over
    return 0.0 if known else LOAD_S
