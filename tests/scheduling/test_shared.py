"""What of a prompt's room in the KV cache requests in flight hold already, and what it does to a choice."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest

from epp.datastore.pool import Pool
from epp.domain import Candidate, Cost, Endpoint, Load, Request
from epp.scheduling.default import default_profile
from epp.scheduling.framework import Query
from epp.scheduling.prefix import BLOCK_BYTES, BLOCKS_MAX
from epp.scheduling.shared import MARK_TOKENS, MARKS, marks_of, spared
from tests.make import pool

SYSTEM = b"s" * 6_000 * 4


def asked(question: bytes, prompt: bytes = SYSTEM) -> Query:
    whole = prompt + question * 1_200
    return Query(Request("r", model="m", prompt=whole, prompt_tokens=len(whole) // 4), Candidate("m"), 0.0, Random(1))


def test_marks_go_up_to_the_longest_prompt_that_is_looked_at_and_are_few() -> None:
    assert list(MARKS) == sorted(set(MARKS))
    assert MARKS[0] * BLOCK_BYTES // 4 == MARK_TOKENS[0] == 1024
    assert MARK_TOKENS[:8] == tuple(range(1024, 8193, 1024))
    assert all(1.1 * fine < coarse < 1.6 * fine for fine, coarse in pairwise(MARK_TOKENS[7:]))
    assert BLOCKS_MAX / 1.2 < MARKS[-1] <= BLOCKS_MAX
    assert len(MARKS) < 40


def test_prompts_that_begin_alike_have_the_same_first_marks() -> None:
    one, other = (marks_of(asked(question).request, "m") for question in (b"one?", b"two?"))

    assert len(one) == len(other) == 7  # of 7,200 tokens
    assert one[:5] == other[:5]
    assert one[5] != other[5]
    assert marks_of(asked(b"one?").request, "another")[0] != one[0]


@pytest.mark.parametrize(
    ("inflight", "tokens"),
    [
        ({}, 0.0),
        ({10: 1}, 512.0),
        ({10: 3, 20: 3}, 1536.0),
        ({10: 3, 20: 1}, 1280.0),
        ({10: 7, 20: 3, 30: 1}, 896.0 + 768.0 + 512.0),
        ({10: 1, 20: 1, 30: 1}, 1536.0),
        ({20: 3}, 0.0),
    ],
)
def test_what_many_hold_is_spared_nearly_whole_and_what_one_holds_by_half(
    inflight: dict[int, int], tokens: float
) -> None:
    assert spared((10, 20, 30), inflight) == tokens


def test_the_ledger_counts_who_shares_a_prefix_until_they_are_over() -> None:
    made, profile = pool("a"), default_profile()
    (endpoint,) = made.endpoints
    leases = []
    for question in (b"one?", b"two?"):
        query = asked(question)
        profile.run(query, made.endpoints)
        profile.picked(query, endpoint)
        assert query.cost is not None
        leases.append(made.lease(endpoint, query.cost))
    marks = marks_of(asked(b"one?").request, "m")
    counts = [endpoint.inflight_prefixes[mark] for mark in marks]
    for lease in leases:
        lease.close()

    assert counts == [2, 2, 2, 2, 2, 1, 1]
    assert endpoint.inflight_prefixes == {}


def filled(made: Pool, kv_usage: float) -> None:
    for endpoint in made.endpoints:
        endpoint.load = Load(at=0.0, kv_usage=kv_usage, num_blocks=20_000, block_size=16)


def chosen(made: Pool, holders: dict[Endpoint, int], kv_usage: float, busier: Endpoint) -> Endpoint:
    """Both have the system prompt cached; so many requests in flight hold it at each."""
    profile, query = default_profile(), asked(b"one?")
    marks = marks_of(query.request, "m")
    for endpoint in made.endpoints:
        before = replace(asked(b"two?"))
        profile.run(before, made.endpoints)
        profile.picked(before, endpoint)
        made.lease(endpoint, Cost(context=1, prefixes=marks[:5]), requests=holders[endpoint] or 1)
        if not holders[endpoint]:
            endpoint.inflight_prefixes.clear()
    made.lease(busier, Cost(context=1), requests=8)
    filled(made, kv_usage)
    pick = profile.run(query, made.endpoints)
    assert pick is not None
    return pick.endpoint


def test_where_memory_is_short_a_prefix_is_used_where_running_requests_hold_it() -> None:
    made = pool("held", "idle")
    held, idle = made.endpoints

    assert chosen(made, {held: 6, idle: 0}, 0.9, busier=held) is held


def test_where_memory_is_easy_the_less_busy_takes_it() -> None:
    made = pool("held", "idle")
    held, idle = made.endpoints

    assert chosen(made, {held: 6, idle: 0}, 0.05, busier=held) is idle
