"""Metrics: what counts as what, under the Go picker's names and under those it used before."""

from __future__ import annotations

from typing import Any

import pytest

from epp.domain import Receipt, Usage
from epp.telemetry import NAMES_MAX, Telemetry
from tests.make import load, pool


def receipt(**more: Any) -> Receipt:
    parts: dict[str, Any] = {"id": "i", "request_id": "r", "time": 0.0, "path": "/v1", "asked_model": "auto"}
    return Receipt(**{**parts, "model": "m", "picked": "10.0.0.0:8000", "outcome": "completed", **more})


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(pool("a", models={"a": ["m"]}))


def value(telemetry: Telemetry, metric: str, /, **labels: str) -> float | None:
    return telemetry.registry.get_sample_value(metric, labels)


REQUEST = {"model_name": "auto", "target_model_name": "m", "fairness_id": "default-flow", "priority": "0"}
OLD = {name: REQUEST[name] for name in ("model_name", "target_model_name", "priority")}


def test_a_routed_request_counts_under_both_names(telemetry: Telemetry) -> None:
    telemetry.decided(receipt(body_bytes=100))

    assert value(telemetry, "llm_d_epp_request_total", **REQUEST) == 1
    assert value(telemetry, "inference_objective_request_total", **OLD) == 1
    assert value(telemetry, "llm_d_epp_request_size_bytes_sum", **REQUEST) == 100


def test_running_requests_go_up_at_the_decision_and_down_at_the_end(telemetry: Telemetry) -> None:
    one = receipt()
    telemetry.decided(one)
    during = value(telemetry, "llm_d_epp_request_running", **REQUEST)
    telemetry.ended(one)

    assert (during, value(telemetry, "llm_d_epp_request_running", **REQUEST)) == (1, 0)


def test_attempts_name_the_endpoint() -> None:
    over = pool("ns/a")
    telemetry = Telemetry(over)
    telemetry.decided(receipt(model=None, picked=over.endpoints[0].address))
    telemetry.decided(receipt(model=None, picked=None))
    where = {"target_model_name": "", "endpoint_name": "a", "namespace": "ns", "port": "8000"}
    nowhere = {"target_model_name": "", "endpoint_name": "", "namespace": "", "port": ""}

    assert value(telemetry, "llm_d_epp_scheduler_attempts_total", status="success", **where) == 1
    assert value(telemetry, "llm_d_epp_scheduler_attempts_total", status="failure", **nowhere) == 1


def test_what_an_answer_took_is_observed_once(telemetry: Telemetry) -> None:
    telemetry.ended(receipt(status=200, first_answer_s=0.5, ended_s=2.0, stream=True, usage=Usage(7, 10, 3)))

    assert value(telemetry, "llm_d_epp_request_input_tokens_sum", **REQUEST) == 7
    assert value(telemetry, "inference_objective_output_tokens_sum", **OLD) == 10
    assert value(telemetry, "llm_d_epp_request_cached_tokens_sum", **REQUEST) == 3
    assert value(telemetry, "llm_d_epp_request_ttft_seconds_sum", **REQUEST, streaming="true") == 0.5
    assert value(telemetry, "llm_d_epp_request_duration_seconds_sum", **REQUEST) == 2.0
    assert value(telemetry, "llm_d_epp_request_ntpot_seconds_sum", **REQUEST) == pytest.approx(2.0 / 10)
    assert value(telemetry, "llm_d_epp_request_streaming_tpot_seconds_sum", **REQUEST) == pytest.approx(1.5 / 9)
    assert value(telemetry, "llm_d_epp_request_error_total", **REQUEST, error_code="ModelServerError") is None


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"status": 503}, "ModelServerError"),
        ({"status": 404, "picked": None, "outcome": "model_not_found"}, "NotFound"),
        ({"status": 503, "picked": None, "outcome": "no_endpoints"}, "ServiceUnavailable"),
        ({"status": 413, "picked": None, "outcome": "body_too_large"}, "BadRequest"),
    ],
)
def test_errors_are_ours_or_the_model_servers(telemetry: Telemetry, more: dict[str, Any], code: str) -> None:
    telemetry.ended(receipt(**more))

    assert value(telemetry, "llm_d_epp_request_error_total", **REQUEST, error_code=code) == 1


def test_names_that_clients_make_up_share_one_label(telemetry: Telemetry) -> None:
    for n in range(50):
        telemetry.ended(receipt(asked_model=f"made-up-{n}", model=None, picked=None, status=404))
    for n in range(NAMES_MAX + 50):
        telemetry.decided(receipt(tenant=f"tenant-{n}"))
    text = telemetry.text().decode()

    assert "made-up" not in text
    refused = {**REQUEST, "model_name": "other", "target_model_name": ""}
    assert value(telemetry, "llm_d_epp_request_error_total", **refused, error_code="NotFound") == 50
    assert value(telemetry, "llm_d_epp_request_total", **{**REQUEST, "fairness_id": "other"}) == 51


def test_names_that_a_rewrite_hides_are_kept_while_there_is_room(telemetry: Telemetry) -> None:
    for n in range(NAMES_MAX + 5):
        telemetry.decided(receipt(asked_model=f"asked-{n}"))

    assert value(telemetry, "llm_d_epp_request_total", **{**REQUEST, "model_name": "asked-0"}) == 1
    assert value(telemetry, "llm_d_epp_request_total", **{**REQUEST, "model_name": "other"}) == 5


def test_pool_gauges_are_means_of_what_endpoints_say() -> None:
    over = pool("a", "b", "c")
    over.endpoints[0].load, over.endpoints[1].load = load(waiting=2, kv_usage=0.2), load(waiting=4, kv_usage=0.6)
    telemetry = Telemetry(over)

    assert value(telemetry, "llm_d_epp_average_queue_size", name="default") == 3
    assert value(telemetry, "inference_pool_average_kv_cache_utilization", name="default") == pytest.approx(0.4)
    assert value(telemetry, "llm_d_epp_std_dev_queue_size", name="default") == 1
