"""The memory of recent decisions is bounded in count and time."""

from __future__ import annotations

import pickle

from epp.datastore.recent import REMEMBERED_S, Decided, Recent, key
from epp.domain import Candidate, Choice
from tests.make import pool


def decided(at: float = 0.0) -> Decided:
    over = pool("a")
    (endpoint,) = over.endpoints
    candidate = Candidate("m")
    return Decided(at, Choice((candidate,)), candidate, endpoint, over.lease(endpoint, 0))


def test_the_oldest_gives_way() -> None:
    recent = Recent(kept_max=2)
    keys = [key(str(n), "/v1", b"{}") for n in range(3)]
    for one in keys:
        recent.note(one, decided())

    assert len(recent) == 2
    assert recent.find(keys[0], 0.0) is None
    assert recent.find(keys[2], 0.0) is not None


def test_what_is_decided_again_is_the_newest() -> None:
    recent = Recent(kept_max=2)
    first, second, third = (key(str(n), "/v1", b"{}") for n in range(3))
    for one in (first, second, first, third):
        recent.note(one, decided())

    assert recent.find(first, 0.0) is not None
    assert recent.find(second, 0.0) is None


def test_what_is_too_old_is_not_found() -> None:
    recent = Recent()
    recent.note(key("r", "/v1", b"{}"), decided(at=5.0))

    assert recent.find(key("r", "/v1", b"{}"), 5.0 + REMEMBERED_S) is not None
    assert recent.find(key("r", "/v1", b"{}"), 5.1 + REMEMBERED_S) is None


def test_a_request_is_known_by_its_id_its_path_and_its_body() -> None:
    asked = [("r", "/v1", b"{}"), ("r", "/v", b"1{}"), ("r/", "v1", b"{}"), ("s", "/v1", b"{}"), ("r", "/v1", b"{ }")]

    assert len({key(*one) for one in asked}) == len(asked)
    assert key(*asked[0]) == key(*asked[0])


def test_what_is_kept_of_long_ids_and_paths_is_no_more_than_of_short_ones() -> None:
    long, short = key("r" * 50_000, "/" * 50_000, b"{}" * 50_000), key("r", "/", b"{}")

    assert len(pickle.dumps(long)) == len(pickle.dumps(short))
