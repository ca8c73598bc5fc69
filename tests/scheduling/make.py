"""Builders: say what matters, default the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from epp.datastore.pool import Lease, Pool
from epp.domain import Candidate, Endpoint, Load, Lora, Request
from epp.scheduling.framework import Profile, Query
from epp.scheduling.pick import Pick

NOW = 100.0


def endpoint(
    name: str = "a",
    *,
    waiting: float | None = None,
    running: float | None = None,
    kv_usage: float | None = None,
    age: float | None = 0.0,
    cache_tokens: int | None = None,
    inflight: int = 0,
    tokens: int = 0,
    reachable: bool = True,
    labels: Mapping[str, str] | None = None,
    lora: Lora | None = None,
) -> Endpoint:
    """An endpoint whose sample is `age` seconds old at NOW; without one when `age` is None."""
    made = Endpoint(
        name,
        f"{name}:8000",
        labels=labels or {},
        reachable=reachable,
        inflight_requests=inflight,
        inflight_tokens=tokens,
    )
    if age is not None:
        blocks = cache_tokens // 16 if cache_tokens is not None else None
        block_size = 16 if blocks is not None else None
        made.load = Load(NOW - age, waiting, running, kv_usage, block_size, blocks, lora=lora)
    return made


def endpoints(count: int) -> list[Endpoint]:
    """Equal, idle endpoints with a fresh sample that says so."""
    return [endpoint(f"e{i}", waiting=0, running=0, kv_usage=0.0) for i in range(count)]


def query(
    prompt: bytes = b"",
    *,
    seed: int = 0,
    rng: Random | None = None,
    model: str = "m",
    now: float = NOW,
    priority: int = 0,
    headers: Mapping[str, str] | None = None,
) -> Query:
    """A decision about this prompt, with the token estimate the product uses."""
    request = Request(
        "r", model=model, prompt=prompt, prompt_tokens=len(prompt) // 4, priority=priority, headers=headers or {}
    )
    return Query(request, Candidate(model), now, rng or Random(seed))


def send(profile: Profile, asked: Query, pool: Sequence[Endpoint]) -> tuple[Pick, Lease]:
    """What the director does: pick, charge the ledger, tell the scorers."""
    pick = profile.run(asked, pool)
    assert pick is not None
    profile.picked(asked, pick.endpoint)
    lease = Pool().lease(pick.endpoint, asked.cost or asked.request.prompt_tokens, now=asked.now)
    return pick, lease
