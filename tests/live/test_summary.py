"""From requests to numbers, by hand."""

from __future__ import annotations

from array import array
from typing import Any

import pytest

from benchmarks.live.cases import Case
from benchmarks.live.measure import Slice
from benchmarks.live.messages import Result, Sample
from benchmarks.live.report import tables
from benchmarks.live.summary import requests, rows
from benchmarks.live.target import Target
from benchmarks.live.verdict import client

CASE = Case("1 KB", lambda seed: [], 1.0, rate=10.0)


def target(name: str) -> Target:
    return Target(name, ("127.0.0.1", 1), "/", "test")


def sample(e2e_s: float | None, **more: Any) -> Sample:
    given = {"shot": 0, "at": 0.0, "status": "200", "late_s": 0.0, "ttft_s": 0.1, "tokens": 5, "reads": 5, **more}
    return Sample(e2e_s=e2e_s, **given)


def part(name: str, number: int, samples: list[Sample], **more: Any) -> Slice:
    result = Result(samples, array("f", more.pop("gaps", [])).tobytes(), more.pop("seconds", 1.0), 0.1, 0.0)
    given = {"cpu_s": {}, "messages": 0, "rss": {}, **more}
    return Slice(CASE, target(name), number, [result], result.seconds, **given)


def test_the_hop_is_the_difference_to_the_first_target_with_its_interval_over_rounds() -> None:
    slices = []
    for number, (bare, hop) in enumerate([(1.0, 1.2), (2.0, 2.3), (1.5, 1.9)]):
        slices += [part("none", number, [sample(bare)]), part("ours", number, [sample(hop)])]
    none, ours = rows(slices)

    assert none["added"] is None
    assert ours["added"]["e2e_p50"] == pytest.approx(1.9 - 1.5)  # medians of all rounds
    low, high = ours["added"]["e2e_p50_interval"]
    assert (low + high) / 2 == pytest.approx((0.2 + 0.3 + 0.4) / 3)  # mean of the pairs
    assert high - low == pytest.approx(2 * 4.303 * 0.1 / 3**0.5)


def test_what_was_not_answered_is_counted_and_has_no_latency() -> None:
    samples = [sample(1.0), sample(None, status="503"), sample(None, status="timeout"), sample(9.0, status="429")]
    (row,) = rows([part("none", 0, samples)])

    assert row["offered"] == sum(row["statuses"].values()) == 4
    assert row["done"] == 1
    assert row["e2e"]["mean"] == 1.0
    assert row["requests_per_s"] == 1.0


def test_time_per_token_leaves_out_the_first() -> None:
    (row,) = rows([part("none", 0, [sample(0.5, ttft_s=0.1, tokens=5)])])

    assert row["tpot"]["mean"] == pytest.approx(0.1)


def test_cpu_is_told_by_request_by_message_and_by_token() -> None:
    used = {"picker": 0.6, "envoy": 0.3, "servers": 0.1}
    samples = [sample(1.0, tokens=10), sample(1.0, tokens=20), sample(None, status="not sent", late_s=None, tokens=0)]
    (row,) = rows([part("ours", 0, samples, cpu_s=used, messages=6, rss={"picker": 7})])

    assert row["picker_cpu_s"] == pytest.approx(0.3)  # of the two that were sent
    assert row["picker_cpu_per_message_s"] == pytest.approx(0.1)
    assert row["picker_cpu_per_token_s"] == pytest.approx(0.02)
    assert row["envoy_cpu_s"] == pytest.approx(0.15)
    assert row["picker_rss_bytes"] == 7


def test_a_picker_that_nobody_can_see_has_no_cpu() -> None:
    (row,) = rows([part("theirs", 0, [sample(1.0)], cpu_s={"envoy": 0.3})])

    assert row["picker_cpu_s"] is None


def test_percentiles_are_told_of_enough_requests_only() -> None:
    (few,) = rows([part("none", 0, [sample(1.0)] * 99)])
    (many,) = rows([part("none", 0, [sample(1.0)] * 100)])

    assert "p99" not in few["e2e"]
    assert many["e2e"]["p99"] == 1.0


@pytest.mark.parametrize(
    ("cpu_s", "late_s", "said"), [(0.9, 0.0, "bottleneck"), (0.1, 0.5, "late"), (0.1, 0.0001, None)]
)
def test_a_client_that_is_in_the_way_is_named(cpu_s: float, late_s: float, said: str | None) -> None:
    result = Result([sample(1.0, late_s=late_s)] * 200, b"", 1.0, cpu_s, 0.0)
    (row,) = rows([Slice(CASE, target("none"), 0, [result], 1.0, {}, 0, {})])
    row["client"] = client(row)
    told = tables([row], [])

    assert row["client"] == said
    assert ("THE CLIENT WAS THE BOTTLENECK" in told) == (said == "bottleneck")
    assert ("machine was busy" in told) == (said == "late")
    assert ("was not the bottleneck" in told) == (said is None)


def test_busy_model_servers_and_failures_are_named() -> None:
    samples = [sample(1.0), sample(None, status="503")]
    (row,) = rows([part("none", 0, samples, cpu_s={"servers": 0.95})])
    told = tables([{**row, "client": None}], [])

    assert "model servers were the bottleneck" in told
    assert "1 x 503 of 2" in told


def test_what_the_cpu_leaves_out_is_told() -> None:
    idle = [{"target": "ours", "cpu_share": {"picker": share, "envoy": 0.5}} for share in (0.02, 0.03)]
    told = tables([{**row, "client": None} for row in rows([part("ours", 0, [sample(1.0)])])], [], idle)

    assert "ours 3.0%" in told


def test_in_a_closed_loop_the_last_answers_have_a_cost_and_no_rate() -> None:
    samples = [sample(0.1, at=0.0), sample(0.5, at=0.1), sample(1.0, at=0.6)]  # warming up, counted, too late
    result = Result(samples, b"", 1.6, 0.1, 0.5, 1.0)
    (row,) = rows([Slice(CASE, target("none"), 0, [result], 1.6, {"envoy": 0.3}, 0, {})])

    assert row["done"] == 1
    assert row["requests_per_s"] == pytest.approx(1 / 0.5)
    assert row["envoy_cpu_s"] == pytest.approx(0.1)


def test_raw_requests_add_up_to_the_rows() -> None:
    slices = [part(name, n, [sample(1.0), sample(2.0)]) for n in range(2) for name in ("none", "ours")]

    told = requests(slices)
    for row in rows(slices):
        assert sum(r["target"] == row["target"] for r in told) == row["offered"]
