"""What the pools say of their endpoints: gauges that are read when scraped and cost nothing in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from statistics import fmean, pstdev

from epp.datastore.fleet import Fleet
from epp.datastore.pool import Pool
from epp.domain import Endpoint, Load
from epp.flow.saturation import drift
from epp.telemetry.series import Gauge, Rows, Twin

_BY_POOL = ("name",)
_BY_ENDPOINT = ("name", "model_server_endpoint")
_SAID: dict[str, Callable[[Load], float | None]] = {
    "kv_cache_utilization": lambda load: load.kv_usage,
    "queue_size": lambda load: load.waiting,
    "running_requests": lambda load: load.running,
}
_OURS: dict[str, tuple[str, Callable[[Endpoint], float | None]]] = {
    "inflight_requests": ("Leases open on the endpoint.", lambda e: e.inflight_requests),
    "inflight_tokens": ("Prompt tokens not yet answered.", lambda e: e.inflight_tokens),
    "ledger_drift_requests": ("In flight by our ledger, beyond what the engine last counted.", drift),
    "reachable": ("1 when the last contact succeeded.", lambda e: e.reachable),
    "engine_prompt_tokens": ("Computed since the engine's start.", lambda e: e.load.prompt_tokens if e.load else None),
    "engine_generated_tokens": ("Likewise.", lambda e: e.load.generated_tokens if e.load else None),
}


def pool_gauges(fleet: Fleet, now: Callable[[], float]) -> Iterator[Gauge]:
    """For each pool by its name, and for each of its endpoints; one that several pools list counts in each."""
    yield _by_pool(fleet, "ready_endpoints", "Endpoints that can be reached.", _ready, "ready_pods")
    for name, say in _SAID.items():
        yield _by_pool(fleet, f"average_{name}", "Mean over the endpoints.", _of(say, fmean), f"average_{name}")
        yield _by_pool(fleet, f"std_dev_{name}", "Spread over the endpoints.", _of(say, pstdev))
    older = Twin("inference_pool_per_pod_queue_size", _BY_ENDPOINT, (("model_server_endpoint", "model_server_pod"),))
    name, text = "llm_d_epp_per_endpoint_queue_size", "Waiting, by the engine's own count."
    yield Gauge(name, text, _BY_ENDPOINT, [older], partial(_endpoint_rows, fleet, _waiting))
    for name, (text, value) in _OURS.items():
        yield Gauge(f"onehop_endpoint_{name}", text, _BY_ENDPOINT, read=partial(_endpoint_rows, fleet, value))
    text = "1 while the endpoint gets no requests because it failed those it had."
    ejected = partial(_endpoint_rows, fleet, lambda endpoint: endpoint.ejected_until > now())
    yield Gauge("onehop_endpoint_ejected", text, _BY_ENDPOINT, read=ejected)
    text = "1 for each signal that an endpoint tells, or should tell and does not."
    yield Gauge("onehop_endpoint_series", text, (*_BY_ENDPOINT, "signal", "state"), read=partial(_series_rows, fleet))


def _by_pool(
    fleet: Fleet, name: str, text: str, value: Callable[[Pool], float | None], old: str | None = None
) -> Gauge:
    twins = [Twin(f"inference_pool_{old}", _BY_POOL)] if old else []
    return Gauge(f"llm_d_epp_{name}", text, _BY_POOL, twins, partial(_pool_rows, fleet, value))


def _pool_rows(fleet: Fleet, value: Callable[[Pool], float | None]) -> Rows:
    for pool in fleet.pools.values():
        if (said := value(pool)) is not None:
            yield (pool.name,), float(said)


def _endpoint_rows(fleet: Fleet, value: Callable[[Endpoint], float | None]) -> Rows:
    for pool in fleet.pools.values():
        for endpoint in pool.endpoints:
            if (said := value(endpoint)) is not None:
                yield (pool.name, endpoint.address), float(said)


def _series_rows(fleet: Fleet) -> Rows:
    for pool in fleet.pools.values():
        for endpoint in pool.endpoints:
            if endpoint.probe is not None:
                for state, signals in ("found", endpoint.probe.found), ("missing", endpoint.probe.missing):
                    yield from (((pool.name, endpoint.address, signal, state), 1.0) for signal in signals)


def _ready(pool: Pool) -> float:
    return sum(e.reachable for e in pool.endpoints)


def _waiting(endpoint: Endpoint) -> float | None:
    return None if endpoint.load is None else endpoint.load.waiting


def _of(say: Callable[[Load], float | None], figure: Callable[[list[float]], float]) -> Callable[[Pool], float | None]:
    """A figure of what the endpoints of a pool say, where any does."""

    def value(pool: Pool) -> float | None:
        said = [x for e in pool.endpoints if e.load is not None and (x := say(e.load)) is not None]
        return figure(said) if said else None

    return value
