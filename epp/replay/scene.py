"""The endpoints of a moment, put together again from receipts: its own, and those nearest to it for other models."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from epp.datastore.pool import Listed, Pool
from epp.domain import Endpoint, Load
from epp.replay.recorded import Recorded, Row
from epp.scheduling.reckoner import shape_of

NEAR_S = 2.0  # for how long what was seen of endpoints says something of them
SAME_S = 0.01  # samples are further apart; ages are rounded to milliseconds


@dataclass(slots=True)
class Scene:
    """A pool as it was at the second `now`; `cached` by endpoint, of this prompt.

    `ratios` are how many times as long a prompt was thought to take there as on the hardware of reference; `models`
    those whose endpoints are there. `borrowed` are the receipts it is taken from, where it is not the request's own.
    """

    pool: Pool
    now: float
    cached: dict[Endpoint, int] = field(default_factory=dict)
    ratios: dict[Endpoint, float] = field(default_factory=dict)
    models: set[str | None] = field(default_factory=set)
    borrowed: tuple[str, ...] = ()


class Scenes:
    """Every look at the endpoints of a model that the receipts tell of."""

    def __init__(self, recorded: Iterable[Recorded]) -> None:
        self._by_id = {each.id: each for each in recorded}
        self._looks: dict[tuple[str, str | None], list[tuple[float, str]]] = {}
        for each in self._by_id.values():
            if each.tells:
                self._looks.setdefault((each.pool, each.model), []).append((each.decided_at, each.id))
        for looks in self._looks.values():
            looks.sort()
        self._pools: dict[str, Pool] = {}

    def known(self, pool: str, model: str | None) -> bool:
        """Whether anything was ever sent to that model."""
        return (pool, model) in self._looks

    def at(
        self,
        recorded: Recorded,
        model: str | None,
        *,
        arriving: bool = False,
        beside: Iterable[str | None] = (),
        critical: Mapping[str, int] | None = None,
    ) -> Scene | None:
        """The endpoints of the model when the request was decided; None where nothing is known of them nearby.

        Or when it was `arriving`, which is another moment for a request that waited. Those of the models `beside` it,
        as far as they are known. `critical` requests in flight by address.
        """
        now = recorded.gate_at if arriving else recorded.decided_at
        sources = {m: self._source(recorded, m, now, arriving=arriving) for m in (model, *beside)}
        if sources[model] is None:
            return None
        found = {m: source for m, source in sources.items() if source is not None}
        pool = self._pools.setdefault(recorded.pool, Pool(recorded.pool))
        scene = Scene(pool, now, models=set(found))
        scene.borrowed = tuple(source.id for source in found.values() if source is not recorded)
        rows: dict[tuple[str, str], tuple[str | None, Recorded, Row]] = {}
        for name, source in found.items():
            seen = [row for row in source.rows if row.inputs is not None]  # the others stay out
            rows |= {(row.name, row.address): (name, source, row) for row in seen}
        pool.relist(Listed(name, address) for name, address in rows)
        for endpoint in pool.endpoints:
            name, source, row = rows[endpoint.name, endpoint.address]
            endpoint.models = None if name is None else {name: name}
            _set(endpoint, row, now)
            endpoint.inflight_critical = (critical or {}).get(endpoint.address, 0)
            cached = int((row.inputs or {}).get("cached_tokens") or 0)
            if cached and source is recorded:
                scene.cached[endpoint] = cached
            work = shape_of(int(source.told.get("prompt_tokens") or 0), cached)
            if row.prefill_s is not None and work > 0:
                scene.ratios[endpoint] = row.prefill_s / work
        return scene

    def _source(self, recorded: Recorded, model: str | None, now: float, *, arriving: bool) -> Recorded | None:
        """The receipt that tells most of the endpoints of this model then."""
        own = recorded.tells and recorded.model == model and not (arriving and recorded.fate == "waits")
        return recorded if own else self._nearest(recorded.pool, model, now)

    def _nearest(self, pool: str, model: str | None, now: float) -> Recorded | None:
        looks = self._looks.get((pool, model), [])
        place = bisect_left(looks, (now, ""))
        near = [looks[i] for i in (place - 1, place) if 0 <= i < len(looks)]
        near = [look for look in near if abs(look[0] - now) <= NEAR_S]
        return self._by_id[min(near, key=lambda look: abs(look[0] - now))[1]] if near else None


def _set(endpoint: Endpoint, row: Row, now: float) -> None:
    """What was known of it."""
    inputs: Mapping[str, Any] = row.inputs or {}
    endpoint.limited = False
    endpoint.inflight_requests = int(inputs.get("inflight_requests") or 0)
    endpoint.inflight_tokens = int(inputs.get("inflight_tokens") or 0)
    endpoint.work_s = float(inputs.get("work_s") or 0.0)
    endpoint.work_prompts = int(inputs.get("work_prompts") or 0)
    endpoint.work_head_s, endpoint.work_since = 0.0, now
    endpoint.load = _load(inputs, now, endpoint.load)


def _load(inputs: Mapping[str, Any], now: float, before: Load | None) -> Load | None:
    """The sample; the same object while it is the same sample, as whoever learns from samples goes by that."""
    age_s = inputs.get("age_s")
    if age_s is None:
        return None
    names = ("waiting", "running", "kv_usage", "block_size", "num_blocks")
    found = Load(now - float(age_s), **{name: inputs.get(name) for name in names})
    if before is not None and abs(before.at - found.at) < SAME_S:
        return before if replace(found, at=before.at) == before else found
    return found
