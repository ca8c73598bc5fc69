"""The rings of receipts: their bounds, their sample, and that refusals outlive a rush."""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import Any

import pytest

from epp.datastore.receipts import HEAD_BYTES, RECEIPT_BYTES, SEEN_BYTES, Fate, Keeping, Receipts, weight
from epp.domain import Candidate, Choice, Exclusion, GateView, Load, Receipt, Spilled, SpillReason
from epp.scheduling.framework import Query
from epp.scheduling.pick import Pick
from tests.make import request
from tests.scheduling.make import endpoints

CONTRACT = {  # the names that others rely on
    "id", "time", "pool", "tenant", "priority", "asked_model", "signals", "classification", "decision", "candidates",
    "endpoints", "spill", "waited_s", "picked", "served", "predicted_ttft_s", "ttft_s", "outcome",
}  # fmt: skip


def receipt(name: str, at: float = 0.0, status: int | None = None, **more: Any) -> Receipt:
    return Receipt(name, f"r-{name}", at, "/v1/chat/completions", "auto", status=status, **more)


def big(name: str, rows: int = 100) -> Receipt:
    pod = endpoints(rows)
    column = ("queue-scorer", 1.0, [0.5] * rows)
    return receipt(name, pick=Pick(0, pod, [1.0] * rows, [column] * 5))


def ids(receipts: Receipts, count: int = 1000) -> list[str]:
    return [told["id"] for told in receipts.latest(count)]


def test_the_newest_are_kept_up_to_the_count() -> None:
    fates: Counter[Fate] = Counter()
    receipts = Receipts(keeping=Keeping(8), on_fate=lambda fate: fates.update([fate]))
    for n in range(20):
        receipts.add(receipt(str(n), n))

    assert ids(receipts) == ["19", "18", "17", "16", "15", "14"], "a fourth of the places is for refusals"
    assert receipts.get("13") is None
    assert fates == {"stored": 20, "gave_way": 14}


def test_the_bytes_are_bounded_as_well() -> None:
    receipts = Receipts(keeping=Keeping(1000, bytes_max=4 * weight(big("one")), sample=1.0))
    for n in range(20):
        receipts.add(big(str(n)))

    assert len(ids(receipts)) == 3, "three fourths of four"
    assert weight(big("one")) > 5 * weight(receipt("small"))


def test_one_that_is_larger_than_all_the_room_is_kept_alone() -> None:
    receipts = Receipts(keeping=Keeping(10, bytes_max=10))
    receipts.add(receipt("a"))
    receipts.add(receipt("b"))

    assert ids(receipts) == ["b"]


def test_refusals_outlive_a_rush_of_routed_requests() -> None:
    receipts = Receipts(keeping=Keeping(8))
    receipts.add(receipt("refused", 0.0, 429))
    for n in range(100):
        receipts.add(receipt(str(n), n + 1))

    assert receipts.get("refused") is not None
    assert ids(receipts)[-1] == "refused"


def test_a_sample_of_routed_requests_is_kept_and_every_refusal() -> None:
    rng, fates = Random(7), Counter[Fate]()
    receipts = Receipts(keeping=Keeping(100_000, 1 << 40, 0.1), on_fate=lambda fate: fates.update([fate]))
    names = [f"{rng.getrandbits(64):016x}" for _ in range(4000)]
    for name in names:
        receipts.add(receipt(name))
        receipts.add(receipt(f"refused-{name}", status=503))
    kept = [name for name in names if receipts.get(name)]

    assert 300 < len(kept) < 500
    assert kept == [name for name in names if receipts.samples(name)]
    assert fates["sampled_out"] == 4000 - len(kept)
    assert all(receipts.get(f"refused-{name}") for name in names)
    assert not receipts.samples("no-such-id")


def test_none_of_the_routed_are_kept_where_the_sample_is_nothing() -> None:
    receipts = Receipts(keeping=Keeping(sample=0.0))
    receipts.add(receipt("0000000000000000"))

    assert ids(receipts) == []


def test_what_is_told_has_the_names_of_the_contract_and_is_made_when_it_is_asked_for() -> None:
    receipts = Receipts(wall_offset_s=1_000_000.0)
    choice = Choice(
        (Candidate("big", 0.0, 0.9), Candidate("small", 0.25), Candidate("blind", 0.5)), "maths", "math", 0.8
    )
    kept = receipt("a", 5.0, choice=choice, model="small", excluded={"blind": Exclusion.IMAGES})
    receipts.add(kept)
    kept.spill = Spilled("big", "small", SpillReason.WAIT, 4.0, 4.5, 0.5)
    kept.outcome, kept.first_answer_s, kept.decided_s, kept.predicted_ttft_s = "completed", 0.75, 0.25, 0.4
    told = receipts.get("a")
    assert told is not None

    assert told.keys() >= CONTRACT
    assert json.loads(json.dumps(told)) == told
    assert told["time"] == "1970-01-12T13:46:45+00:00"
    assert told["candidates"] == [
        {"model": "big", "quality": 0.9, "margin": 0.0, "excluded": False, "reason": ""},
        {"model": "small", "quality": 0.75, "margin": 0.25, "excluded": False, "reason": ""},
        {"model": "blind", "quality": 0.5, "margin": 0.5, "excluded": True, "reason": "images"},
    ]
    assert told["spill"] == {
        "from": "big", "to": "small", "reason": "wait", "wait_s": 4.0, "ttft_s": 4.5, "ttft_to_s": 0.5,
    }  # fmt: skip
    assert (told["predicted_ttft_s"], told["ttft_s"], told["ttft_from_decision_s"]) == (0.4, 0.75, 0.5)


@pytest.mark.parametrize("sample", [0.0, 0.5, 1.0])
def test_a_receipt_of_every_id_is_either_kept_or_not_whoever_asks(sample: float) -> None:
    receipts, other = Receipts(keeping=Keeping(sample=sample)), Receipts(keeping=Keeping(sample=sample))

    assert all(receipts.samples(f"{n:08x}ff") == other.samples(f"{n:08x}00") for n in range(0, 1 << 32, 1 << 24))


def test_those_before_one_are_found_by_its_id() -> None:
    receipts = Receipts()
    for n in range(5):
        receipts.add(receipt(str(n), at=float(n)))

    assert [told["id"] for told in receipts.latest(2, before="3")] == ["2", "1"]
    assert list(receipts.latest(2, before="gone")) == []


def test_those_of_one_tenant_at_one_port_are_both() -> None:
    receipts = Receipts()
    for n, (tenant, over) in enumerate([("blue", "p"), ("blue", "q"), ("green", "p"), ("green", "q")]):
        receipts.add(receipt(str(n), at=float(n), tenant=tenant, pool=over))

    assert [told["id"] for told in receipts.latest(9, tenant="blue", pool="q")] == ["1"]
    assert [told["id"] for told in receipts.latest(9, tenant="blue")] == ["1", "0"]
    assert [told["id"] for told in receipts.latest(9, pool="p")] == ["2", "0"]


@pytest.mark.parametrize("refused", [True, False])
def test_refused_and_routed_are_told_apart_and_whether_any_of_them_gave_way(refused: bool) -> None:
    receipts = Receipts(keeping=Keeping(8))
    receipts.add(receipt("routed", status=200))
    receipts.add(receipt("refused", status=429))
    kept, gave_way = receipts.kept(refused=refused)
    names = [one.id for one in kept]
    for n in range(9):
        receipts.add(receipt(str(n), status=429 if refused else 200))

    assert (names, gave_way) == (["refused" if refused else "routed"], False)
    assert receipts.kept(refused=refused)[1]
    assert not receipts.kept(refused=not refused)[1]


def test_the_time_from_the_decision_takes_a_decision_and_an_answer() -> None:
    receipts = Receipts()
    receipts.add(receipt("undecided", first_answer_s=1.0))
    receipts.add(receipt("unanswered", decided_s=1.0))

    assert [told["ttft_from_decision_s"] for told in receipts.latest(2)] == [None, None]


def test_what_the_gate_saw_and_what_heads_answered_weigh_what_they_hold() -> None:
    def seen(count: int) -> GateView:
        return GateView(0.1, 0.1, 0.0, False, ["a"] * count, [(0.0, 0.0, 0.0)] * count, [0.0] * count, [0] * count)

    plain, long = weight(receipt("plain")), weight(receipt("plain", tenant="t" * 50))
    heads = {"safety": {"tier0": None, "tier1": None}, "domain": {"tier0": None}}
    answered = Choice((Candidate("m"),), signals={"heads": heads})

    assert plain > RECEIPT_BYTES
    assert long - plain == 50 - len(receipt("plain").tenant)
    assert weight(receipt("plain", gate=seen(7))) - plain == 7 * SEEN_BYTES
    assert weight(receipt("plain", choice=answered)) - plain == 3 * HEAD_BYTES


def test_what_an_endpoint_was_known_by_stays_as_it_was_at_the_choice() -> None:
    pod = endpoints(2)
    pod[0].load, pod[0].inflight_requests, pod[0].work_s = Load(at=9.5, waiting=3.0, kv_usage=0.5), 4, 1.5
    pod[0].work_prompts = 2
    pick = Pick(0, [pod[0]], [1.0], [], [(pod[1], "reachable-filter")])
    pick.remember(Query(request(), Candidate("m"), 10.0, Random(1), cached={pod[0]: 64}))
    pod[0].inflight_requests, pod[0].load = 99, None
    receipts = Receipts()
    receipts.add(receipt("7", pick=pick))
    first, dropped = (receipts.get("7") or {})["endpoints"]

    assert first["inputs"] == {
        "inflight_requests": 4, "inflight_tokens": 0, "work_s": 1.5, "work_prompts": 2,
        "cached_tokens": 64, "age_s": 0.5, "waiting": 3.0,
        "running": None, "kv_usage": 0.5, "block_size": None, "num_blocks": None,
    }  # fmt: skip
    assert dropped["inputs"] is None
