"""What operators are shown of the pools: plain data, ready for JSON. Names and numbers, never prompt text.

Must stay true: a key once shown keeps its meaning; what is not known is null and never zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from epp.datastore.fleet import Fleet
from epp.datastore.policies import Policies
from epp.datastore.pool import Pool
from epp.domain import Endpoint, Load

Troubles = Mapping[str, Mapping[str, str]]  # endpoint name -> path -> why its last answer was of no use
NO_LOAD = Load(at=0.0)


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
            "ejected": _why_ejected(trouble) if some_answer and not endpoint.reachable else None,
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
            "conditions": _conditions(pool),
        }
        for key, pool in fleet.pools.items()
    ]
    return {"pools": pools, "all": {"endpoints": len(fleet.all.endpoints), **_policies(fleet.all.policies)}}


def _why_ejected(trouble: Mapping[str, str]) -> str:
    return "; ".join(sorted(set(trouble.values()))) or "it does not answer"


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
        "load": None if load is None else asdict(load),
    }


def _policies(policies: Policies) -> dict[str, Any]:
    return {
        "objectives": dict(sorted(policies.priorities().items())),
        "rewrites": [asdict(rule) for rule in policies.rules()],
        "conflicts": [f"{c.kind} {', '.join(c.losers)}: {c.why}" for c in policies.conflicts()],
    }


def _conditions(pool: Pool) -> list[str]:
    """What about its endpoints an operator should know, in words."""
    count = len(pool.endpoints)
    if not count:
        return ["it has no endpoint: requests for it are refused with 503"]
    said = []
    silent = sum(not endpoint.reachable for endpoint in pool.endpoints)
    if silent == count:
        said.append("no endpoint answers us; all of them are tried all the same, since our network may be what failed")
    elif silent:
        said.append(f"{silent} of {count} endpoints {'does' if silent == 1 else 'do'} not answer and get no requests")
    unknown = sum(endpoint.serves is None for endpoint in pool.endpoints)
    if unknown:
        said.append(f"{unknown} of {count} endpoints: nobody has said which models these serve; they get any request")
    return said
