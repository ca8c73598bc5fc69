"""What operators are shown of the pools: plain data, ready for JSON. Names and numbers, never prompt text.

Must stay true: a key once shown keeps its meaning; what is not known is null and never zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from itertools import islice
from typing import Any

from epp.datastore.engines import REQUIRED
from epp.datastore.fleet import Fleet
from epp.datastore.policies import Policies
from epp.datastore.pool import Pool
from epp.domain import Endpoint, Load, Probe

Troubles = Mapping[str, Mapping[str, str]]  # endpoint name -> path -> why its last answer was of no use
NO_LOAD = Load(at=0.0)
LACKING_SHOWN_MAX = 100
BRIEFLY_MAX = 100
LONG = frozenset({"series", "load"})


def overview(
    fleet: Fleet, now: float, troubles: Troubles | None = None, prefix: Callable[[Endpoint], int] | None = None
) -> dict[str, Any]:
    """Every pool, and the policies of the port that decides over all of them.

    `prefix` counts the prompt blocks that an endpoint is believed to hold.
    """

    def shown(endpoint: Endpoint, some_answer: bool) -> dict[str, Any]:
        trouble = (troubles or {}).get(endpoint.name, {})
        return {
            **_endpoint(endpoint, now),
            "ejected": _why_ejected(trouble) if some_answer and not endpoint.reachable else _ejection(endpoint, now),
            "troubles": dict(trouble),
            "prefix_blocks": None if prefix is None else prefix(endpoint),
        }

    def endpoints(pool: Pool) -> list[dict[str, Any]]:
        some_answer = any(endpoint.reachable for endpoint in pool.endpoints)  # where none does, all are tried
        return [shown(endpoint, some_answer) for endpoint in pool.endpoints]

    pools = [
        {
            "key": key,
            "name": pool.name,
            "endpoints": endpoints(pool),
            **_policies(pool.policies),
            "conditions": _conditions(pool, now),
        }
        for key, pool in fleet.pools.items()
    ]
    return {"pools": pools, "all": {"endpoints": len(fleet.all.endpoints), **_policies(fleet.all.policies)}}


def briefly(shown: dict[str, Any]) -> dict[str, Any]:
    """The same for a page that is drawn every second: of each pool a bounded number of endpoints, troubled ones first.

    `left_out` counts the others.
    """
    return {**shown, "pools": [_pool_briefly(pool) for pool in shown["pools"]]}


def _pool_briefly(pool: Mapping[str, Any]) -> dict[str, Any]:
    endpoints = pool["endpoints"]
    if len(endpoints) > BRIEFLY_MAX:
        endpoints = sorted(endpoints, key=lambda e: e["reachable"] and not e["ejected"] and not e["troubles"])
    kept = [{key: value for key, value in e.items() if key not in LONG} for e in endpoints[:BRIEFLY_MAX]]
    return {**pool, "endpoints": kept, "left_out": len(endpoints) - len(kept)}


def _why_ejected(trouble: Mapping[str, str]) -> str:
    return "; ".join(sorted(set(trouble.values()))) or "it does not answer"


def ejected(endpoints: Iterable[Endpoint], now: float) -> dict[str, str]:
    """By endpoint, why it gets no requests for a while, because of those it had."""
    said = ((e.name, why) for e in endpoints if (why := _ejection(e, now)))
    return dict(islice(said, LACKING_SHOWN_MAX))


def _ejection(endpoint: Endpoint, now: float) -> str | None:
    left_s = endpoint.ejected_until - now
    return f"{endpoint.standing.why}; it is tried again in {left_s:.0f} s" if left_s > 0 else None


def _health(endpoint: Endpoint, now: float) -> dict[str, Any]:
    """How requests have gone there; `warming_up` is a new endpoint, or one that is back."""
    record = endpoint.standing
    left_s = endpoint.ejected_until - now
    return {
        "state": "ejected" if left_s > 0 else "warming_up" if endpoint.limited else "good",
        "ejected_for_s": round(left_s, 1) if left_s > 0 else None,
        "ejections": 0 if record is None else record.ejections,
        "recent_failures": 0.0 if record is None else round(record.recent_failures(now), 1),
    }


def _endpoint(endpoint: Endpoint, now: float) -> dict[str, Any]:
    load = endpoint.load
    sample = load or NO_LOAD
    models = endpoint.serves
    return {
        "name": endpoint.name,
        "address": endpoint.address,
        "reachable": endpoint.reachable,
        "models": None if models is None else sorted(models),
        "models_from": None if models is None else "declared" if endpoint.models is None else "server",
        "adapters": {name: base for name, base in sorted((models or {}).items()) if name != base},
        "inflight_requests": endpoint.inflight_requests,
        "inflight_tokens": endpoint.inflight_tokens,
        "waiting": sample.waiting,
        "running": sample.running,
        "kv_usage": sample.kv_usage,
        "age_s": None if load is None else round(max(0.0, now - load.at), 3),
        "health": _health(endpoint, now),
        "load": None if load is None else _load(load),
        "engine": None if endpoint.probe is None else endpoint.probe.engine,
        "series": None if endpoint.probe is None else _series(endpoint.probe),
    }


def lacking(endpoints: Iterable[Endpoint]) -> dict[str, str]:
    """By endpoint, what it does not tell of that which every engine of its kind tells and choices are made by."""
    probed = ((e.name, REQUIRED & e.probe.missing.keys()) for e in endpoints if e.probe is not None)
    said = ((name, f"no {', '.join(sorted(signals))}") for name, signals in probed if signals)
    return dict(islice(said, LACKING_SHOWN_MAX))


def _load(load: Load) -> dict[str, Any]:
    lora = load.lora
    said = (
        None
        if lora is None
        else {"adapters_max": lora.adapters_max, "running": sorted(lora.running), "waiting": sorted(lora.waiting)}
    )
    return {**asdict(load), "lora": said}


def _series(probe: Probe) -> dict[str, dict[str, str]]:
    """Signal -> the series it was found under, or those it was looked for under."""
    return {"found": dict(probe.found), "missing": dict(probe.missing)}


def _policies(policies: Policies) -> dict[str, Any]:
    return {
        "objectives": dict(sorted(policies.priorities().items())),
        "rewrites": [asdict(rule) for rule in policies.rules()],
        "conflicts": [f"{c.kind} {', '.join(c.losers)}: {c.why}" for c in policies.conflicts()],
    }


def _conditions(pool: Pool, now: float) -> list[str]:
    """What about its endpoints an operator should know, in words."""
    count = len(pool.endpoints)
    if not count:
        return ["it has no endpoint: requests for it are refused with 503"]
    said = []
    silent = sum(not endpoint.reachable for endpoint in pool.endpoints)
    if silent == count:
        said.append("no endpoint answers us; all of them are tried all the same, since our network may be what failed")
    elif silent:
        answer = "does not answer and gets" if silent == 1 else "do not answer and get"
        said.append(f"{silent} of {count} endpoints {answer} no requests")
    failing = sum(endpoint.reachable and endpoint.ejected_until > now for endpoint in pool.endpoints)
    if failing:
        fail = "fails requests and is" if failing == 1 else "fail requests and are"
        said.append(f"{failing} of {count} endpoints {fail} left out for a while")
    unknown = sum(endpoint.serves is None for endpoint in pool.endpoints)
    if unknown:
        said.append(f"{unknown} of {count} endpoints: nobody has said which models these serve; they get any request")
    return said
