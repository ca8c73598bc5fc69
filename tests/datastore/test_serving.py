"""Who serves a model: remembered while nothing changes, and right at once when something does."""

from __future__ import annotations

from epp.datastore.pool import Listed, Pool
from epp.datastore.serving import MODELS_MAX, Serving
from epp.domain import Endpoint


def over(*names: str) -> Pool:
    pool = Pool()
    pool.relist([Listed(name, f"{name}:8000") for name in names])
    return pool


def names(serving: Serving, model: str | None, pool: Pool) -> list[str]:
    return [e.name for e in serving.of(model, pool.endpoints)]


def test_while_nothing_changes_it_is_the_same_object() -> None:
    serving, pool = Serving(), over("a", "b")
    pool.endpoints[0].models, pool.endpoints[1].models = {"m": "m"}, {"n": "n"}
    found = serving.of("m", pool.endpoints)

    assert [e.name for e in found] == ["a"]
    assert serving.of("m", pool.endpoints) is found
    assert serving.of(None, pool.endpoints) is pool.endpoints
    pool.endpoints[1].models = {"m": "m"}
    assert serving.of("m", pool.endpoints) is pool.endpoints


def test_an_endpoint_that_comes_or_goes_is_seen_at_once() -> None:
    serving, pool = Serving(), over("a")
    assert names(serving, "m", pool) == ["a"]
    pool.relist([Listed("a", "a:8000"), Listed("b", "b:8000")])
    assert names(serving, "m", pool) == ["a", "b"]
    pool.relist([Listed("b", "b:8000")])
    assert names(serving, "m", pool) == ["b"]
    pool.relist([Listed("c", "c:8000")])  # of which nobody has said anything either

    assert names(serving, "m", pool) == ["c"]


def test_what_an_endpoint_says_it_serves_counts_from_when_it_says_it() -> None:
    serving, pool = Serving(), over("a", "b")
    assert names(serving, "m", pool) == ["a", "b"]  # nobody has said anything
    pool.endpoints[0].models = {"m": "m"}
    assert names(serving, "m", pool) == ["a"]
    pool.endpoints[0].models = {"n": "n"}
    assert names(serving, "m", pool) == ["b"]
    pool.endpoints[0].models = {"n": "n", "m": "n"}  # an adapter was loaded

    assert names(serving, "m", pool) == ["a"]


def test_what_discovery_declares_counts_until_the_endpoint_says_it_itself() -> None:
    serving, pool = Serving(), over("a", "b")
    assert names(serving, "m", pool) == ["a", "b"]
    pool.relist([Listed("a", "a:8000", declared={"n": "n"}), Listed("b", "b:8000", declared={"m": "m"})])
    assert names(serving, "m", pool) == ["b"]
    pool.endpoints[0].models = {"m": "m"}

    assert names(serving, "m", pool) == ["a", "b"]


def test_a_list_made_for_one_request_is_not_remembered() -> None:
    serving, pool = Serving(), over("a", "b")
    of_pool = serving.of("m", pool.endpoints)
    hint: list[Endpoint] = [pool.endpoints[0]]
    assert [e.name for e in serving.of("m", hint)] == ["a"]
    hint.append(pool.endpoints[1])

    assert [e.name for e in serving.of("m", hint)] == ["a", "b"]
    assert serving.of("m", pool.endpoints) is of_pool


def test_models_that_clients_make_up_are_not_remembered_for_ever() -> None:
    serving, pool = Serving(), over("a")
    pool.endpoints[0].models = {"m": "m"}
    for n in range(3 * MODELS_MAX):
        assert serving.of(f"made up {n}", pool.endpoints) == ()

    assert len(serving) <= MODELS_MAX
    assert names(serving, "m", pool) == ["a"]
