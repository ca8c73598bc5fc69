"""A pool with a given ledger, and what a baseline chooses in it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from epp.domain import Candidate, Endpoint, Load, Request
from epp.scheduling.framework import Profile, Query


def endpoints(count: int, **each: Sequence[float]) -> list[Endpoint]:
    """`a`, `b`, ... with fields given by their names, `waiting` and `kv` of the sample among them."""
    made = [Endpoint(chr(97 + n), f"10.0.0.{n}:8000") for n in range(count)]
    for n, endpoint in enumerate(made):
        waiting, kv = each.get("waiting", [0] * count)[n], each.get("kv", [0.0] * count)[n]
        endpoint.load = Load(0.0, waiting=waiting, running=0, kv_usage=kv, block_size=16, num_blocks=1_000)
        endpoint.inflight_requests = int(each.get("requests", [0] * count)[n])
        endpoint.inflight_tokens = int(each.get("tokens", [0] * count)[n])
    return made


def query(prompt: bytes = b"", tokens: int | None = None, seed: int = 0, session: str | None = None) -> Query:
    """A request of that prompt, of a fourth of its bytes in tokens if not said."""
    prompt_tokens = len(prompt) // 4 if tokens is None else tokens
    request = Request("r", model="m", prompt=prompt, prompt_tokens=prompt_tokens, session=session)
    return Query(request, Candidate("m"), 0.0, Random(seed))


def choose(profile: Profile, asked: Query, pool: Sequence[Endpoint]) -> str:
    """The name of the choice, which the profile is told of as the director does."""
    pick = profile.run(asked, pool)
    assert pick is not None
    profile.picked(asked, pick.endpoint)
    return pick.endpoint.name


def text(tokens: int, letter: bytes) -> bytes:
    """So many tokens of one letter, different by position."""
    return b"".join(b"%c%07d" % (letter, n) for n in range(tokens // 2))
