"""What the live page is told of the last minute."""

from __future__ import annotations

from typing import Any

import pytest

from epp.datastore.moment import LOOKED_AT_MAX, ROWS, ROWS_REFUSED, UNNAMED, moment
from epp.datastore.receipts import Keeping, Receipts
from epp.domain import Candidate, Choice, Spilled, SpillReason
from tests.datastore.test_receipts import receipt

LEVELS = {1: "critical", 0: "standard", -1: "sheddable"}


def told(receipts: Receipts, now: float = 100.0, **more: Any) -> dict[str, Any]:
    return moment(receipts, now, LEVELS.__getitem__, **more)


def routed(receipts: Receipts, name: str, at: float, model: str = "m", **more: Any) -> None:
    receipts.add(receipt(name, at, model=model, **more))


def test_rates_are_over_the_last_minute_and_forget_what_was_before() -> None:
    receipts = Receipts()
    for n in range(30):
        routed(receipts, f"old{n}", at=10.0)
    for n in range(30):
        routed(receipts, f"new{n}", at=50.0, model="small" if n < 6 else "big")
    receipts.add(receipt("no", 90.0, status=429, outcome="shed", priority=-1))
    seen = told(receipts)

    assert (seen["span_s"], seen["routed_per_s"], seen["refused_per_s"]) == (60.0, 0.5, round(1 / 60, 3))
    assert seen["models"] == [
        {"name": "big", "per_s": 0.4, "share": 0.8},
        {"name": "small", "per_s": 0.1, "share": 0.2},
    ]
    assert seen["refusals"] == [{"reason": "shed", "class": "sheddable", "per_s": 0.017, "count": 1}]


def test_where_older_ones_gave_way_a_rate_is_over_what_is_left() -> None:
    receipts = Receipts(keeping=Keeping(count_max=40))  # of which 30 are for routed requests
    for n in range(300):
        routed(receipts, str(n), at=100.0 - (300 - n) * 0.1)

    assert told(receipts)["routed_per_s"] == 10.0


def test_in_the_first_minute_a_rate_is_over_the_time_since_the_start() -> None:
    receipts = Receipts()
    for n in range(20):
        routed(receipts, str(n), at=97.0)

    assert told(receipts, since=90.0)["routed_per_s"] == 2.0


def test_a_sample_is_counted_in() -> None:
    receipts = Receipts(keeping=Keeping(sample=0.1))
    for n in range(6):
        routed(receipts, f"0{n:07x}", at=90.0)

    assert told(receipts)["routed_per_s"] == 1.0


def test_no_receipts_are_no_division_by_zero() -> None:
    seen = told(Receipts())

    assert (seen["routed_per_s"], seen["models"], seen["first_answer_s"], seen["scanned"]) == (0.0, [], None, None)


def test_classification_spills_and_prefix_hits_are_counted() -> None:
    receipts = Receipts()
    coverage = {"coverage": {"scanned_bytes": 30, "total_bytes": 40}}
    choice = Choice((Candidate("m"),), decision="maths", classification="full", signals=coverage)
    away = Spilled("m", "n", SpillReason.WAIT)
    stayed = Spilled("m", None, SpillReason.HELD_SHARE)
    for name, spill, cached in (("a", away, 32), ("b", stayed, 64), ("c", None, 0)):
        routed(receipts, name, 99.0, choice=choice, spill=spill, picked="x:1", cached_tokens=cached, hashed_tokens=64)
    seen = told(receipts)

    assert (seen["classification"], seen["scanned"], seen["spilled"]) == ({"full": 3}, 0.75, 1)
    assert seen["endpoints"] == {"x:1": {"per_s": 0.05, "prefix_hit": 0.5}}
    assert [one["name"] for one in seen["decisions"]] == ["maths"]


def test_first_answers_are_those_of_streams_that_were_answered() -> None:
    receipts = Receipts()
    for n in range(100):
        routed(receipts, str(n), 99.0, stream=True, first_answer_s=n / 100)
    routed(receipts, "whole", 99.0, stream=False, first_answer_s=50.0)
    late = receipt("late", 99.0, model="m", stream=True, first_answer_s=50.0)
    receipts.add(late)
    late.status = 503  # by the model server, after it was added

    assert told(receipts)["first_answer_s"] == {"p50": 0.5, "p95": 0.95}


@pytest.mark.parametrize(("status", "counts"), [(399, True), (400, False)])
def test_a_stream_that_was_refused_or_has_said_nothing_yet_is_no_first_answer(status: int, counts: bool) -> None:
    receipts = Receipts()
    routed(receipts, "silent", 99.0, stream=True, first_answer_s=None)
    answered = receipt("answered", 99.0, model="m", stream=True, first_answer_s=0.5)
    receipts.add(answered)
    answered.status = status

    assert told(receipts)["first_answer_s"] == ({"p50": 0.5, "p95": 0.5} if counts else None)


def test_waits_are_those_of_whoever_waited() -> None:
    receipts = Receipts()
    for n in range(20):
        routed(receipts, str(n), 99.0, waited_s=n / 10)
    routed(receipts, "at once", 99.0, waited_s=None)

    assert told(receipts)["waited_s"] == {"p50": 1.0, "p95": 1.9}


def test_a_request_without_a_model_has_gone_somewhere_if_it_has_an_endpoint() -> None:
    receipts = Receipts()
    routed(receipts, "bodiless", 99.0, model=None, picked="x:1")

    assert [row["name"] for row in told(receipts)["models"]] == [UNNAMED]


def test_what_came_just_a_minute_ago_counts() -> None:
    receipts = Receipts()
    routed(receipts, "just", at=40.0)

    assert [row["name"] for row in told(receipts, now=100.0)["models"]] == ["m"]
    assert told(receipts, now=100.1)["models"] == []


def test_rows_are_the_newest_and_refusals_are_among_them_whatever_comes() -> None:
    receipts = Receipts()
    receipts.add(receipt("no", 1.0, status=429, outcome="shed"))
    for n in range(200):
        routed(receipts, str(n), at=2.0 + n / 100)
    rows = told(receipts)["rows"]

    assert [rows[0]["id"], rows[-1]["id"], len(rows)] == ["199", "no", ROWS + 1]
    assert len(told(refused_ones(500))["rows"]) == ROWS
    assert ROWS_REFUSED < ROWS


def refused_ones(count: int) -> Receipts:
    receipts = Receipts()
    for n in range(count):
        receipts.add(receipt(f"no{n}", 1.0 + n, status=429))
    return receipts


def test_the_work_is_bounded_however_many_are_kept() -> None:
    receipts = Receipts(keeping=Keeping(count_max=4 * LOOKED_AT_MAX))
    for n in range(2 * LOOKED_AT_MAX):
        routed(receipts, str(n), at=100.0 - 4.0 * (2 * LOOKED_AT_MAX - n) / LOOKED_AT_MAX)
    seen = told(receipts, now=100.0)

    assert (seen["span_s"], seen["routed_per_s"]) == (4.0, LOOKED_AT_MAX / 4)


def test_who_waits_for_room_or_gave_up_waiting_has_gone_nowhere() -> None:
    receipts = Receipts()
    routed(receipts, "goes", at=99.0)
    for name, outcome in ("waits", "open"), ("gone", "disconnected"):
        receipts.add(receipt(name, 99.0, model=None, picked=None, outcome=outcome))
    seen = told(receipts)

    assert [row["name"] for row in seen["models"]] == ["m"]
    assert {row["id"] for row in seen["rows"]} == {"goes", "waits", "gone"}
