"""A profile's run: what it asks of its plugins, what it times, what it tells of the choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import ClassVar

from epp.domain import Candidate, Endpoint
from epp.scheduling.framework import Filter, Picker, Point, Profile, Query, Scorer
from epp.scheduling.plugins.max_score import MaxScorePicker
from tests.make import pool, request


@dataclass(slots=True)
class Ticking:
    """A clock that only plugins move, and what was told of them."""

    at: float = 0.0
    told: list[tuple[str, str, float]] = field(default_factory=list)

    def clock(self) -> float:
        return self.at

    def took(self, point: Point, plugin_type: str, seconds: float) -> None:
        self.told.append((point, plugin_type, seconds))


@dataclass(slots=True)
class Slow(Filter):
    type: ClassVar[str] = "slow-filter"
    ticking: Ticking

    def keep(self, query: Query, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        self.ticking.at += 1
        return [e for e in endpoints if e.name != "gone"]


@dataclass(slots=True)
class Slower(Scorer):
    type: ClassVar[str] = "slower-scorer"
    ticking: Ticking
    scores: Sequence[float] = (0.25, 7.0, -1.0)

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> Sequence[float]:
        self.ticking.at += 2
        return self.scores

    def picked(self, query: Query, endpoint: Endpoint) -> None:
        self.ticking.at += 8


@dataclass(slots=True)
class Slowest(Picker):
    type: ClassVar[str] = "slowest-picker"
    ticking: Ticking

    def pick(self, query: Query, totals: Sequence[float]) -> int:
        self.ticking.at += 4
        return 1


def query() -> Query:
    return Query(request("m"), Candidate("m"), 0.0, Random(1))


def test_every_plugin_is_timed_where_it_stands() -> None:
    ticking = Ticking()
    profile = Profile("timed", [Slow(ticking)], [(Slower(ticking), 1.0)], picker=Slowest(ticking), meter=ticking)
    asked = query()
    pick = profile.run(asked, pool("a", "b", "c").endpoints)
    assert pick is not None
    profile.picked(asked, pick.endpoint)

    assert ticking.told == [
        ("Filter", "slow-filter", 1.0),
        ("Scorer", "slower-scorer", 2.0),
        ("Picker", "slowest-picker", 4.0),
        ("PreRequest", "slower-scorer", 8.0),
    ]


def test_a_choice_tells_its_scores_clamped_and_what_was_left_out() -> None:
    ticking = Ticking()
    profile = Profile("told", [Slow(ticking)], [(Slower(ticking), 2.0)], picker=MaxScorePicker())
    pick = profile.run(query(), pool("a", "b", "c", "gone").endpoints)
    assert pick is not None
    rows = {row["name"]: (row["total"], row["excluded"], row["reason"]) for row in pick.explain()}

    assert (pick.endpoint.name, pick.score("slower-scorer"), pick.score("nobody")) == ("b", 1.0, None)
    assert rows == {
        "a": (0.5, False, ""),
        "b": (2.0, False, "picked"),
        "c": (0.0, False, ""),
        "gone": (None, True, "slow-filter"),
    }


def test_without_endpoints_left_nobody_scores() -> None:
    ticking = Ticking()
    profile = Profile("none", [Slow(ticking)], [(Slower(ticking), 1.0)], picker=Slowest(ticking), meter=ticking)

    assert profile.run(query(), pool("gone").endpoints) is None
    assert [point for point, *_ in ticking.told] == ["Filter"]


def test_of_many_rows_the_best_and_the_picked_one_are_kept() -> None:
    ticking = Ticking()
    names = [f"p{n}" for n in range(5)]
    scores = Slower(ticking, scores=(0.1, 0.9, 0.3, 0.8, 0.2))
    odd = Profile("odd", [Slow(ticking)], [(scores, 1.0)], picker=Slowest(ticking))
    pick = odd.run(query(), pool(*names, "gone").endpoints)
    assert pick is not None
    pick.place = 0
    kept = pick.best(2)

    assert [(row["name"], row["total"], row["reason"]) for row in kept.explain()] == [
        ("p1", 0.9, ""),
        ("p0", 0.1, "picked"),
        ("gone", None, "slow-filter"),
    ]
    assert (kept.endpoint, kept.score("slower-scorer")) == (pick.endpoint, pick.score("slower-scorer"))
    assert pick.best(5) is pick
