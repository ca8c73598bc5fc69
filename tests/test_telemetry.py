"""Metrics: what counts as what, under the Go picker's names and under those it used before."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from epp.datastore.fleet import Fleet
from epp.datastore.pool import Listed, Pool
from epp.domain import Candidate, Choice, Exclusion, Receipt, Spilled, SpillReason, Usage
from epp.scheduling.default import default_profile
from epp.scheduling.framework import Query
from epp.telemetry import Build, Telemetry
from epp.telemetry.labels import NAMES_MAX, SETS_MAX, Labelling
from tests.make import fleet, load, pool, request


def receipt(**more: Any) -> Receipt:
    parts: dict[str, Any] = {"id": "i", "request_id": "r", "time": 0.0, "path": "/v1", "asked_model": "auto"}
    return Receipt(**{**parts, "model": "m", "picked": "10.0.0.0:8000", "outcome": "completed", **more})


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(fleet(pool("a", models={"a": ["m"]})))


def value(telemetry: Telemetry, metric: str, /, **labels: str) -> float | None:
    return telemetry.registry.get_sample_value(metric, labels)


REQUEST = {"model_name": "auto", "target_model_name": "m", "fairness_id": "default-flow", "priority": "0"}
FAILED = {"status": "failure", "target_model_name": "m", "endpoint_name": "", "namespace": "", "port": ""}
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
    telemetry = Telemetry(fleet(over))
    telemetry.decided(receipt(model=None, picked=over.endpoints[0].address))
    telemetry.decided(receipt(model=None, picked=None, outcome="no_endpoints"))
    for outcome in ("bad_request", "answered", "open"):  # nobody had to choose, or it is for another stream
        telemetry.decided(receipt(model=None, picked=None, outcome=outcome))
    where = {"target_model_name": "", "endpoint_name": "a", "namespace": "ns", "port": "8000"}
    nowhere = {"target_model_name": "", "endpoint_name": "", "namespace": "", "port": ""}

    assert value(telemetry, "llm_d_epp_scheduler_attempts_total", status="success", **where) == 1
    assert value(telemetry, "llm_d_epp_scheduler_attempts_total", status="failure", **nowhere) == 1
    older = {"target_model_name": "", "pod_name": "a", "namespace": "ns", "port": "8000"}
    assert value(telemetry, "inference_extension_scheduler_attempts_total", status="success", **older) == 1


def test_attempts_forget_endpoints_that_left() -> None:
    over = pool("ns/a")
    telemetry = Telemetry(fleet(over))
    telemetry.decided(receipt(picked=over.endpoints[0].address))
    telemetry.decided(receipt(picked=None, outcome="saturated"))
    before = telemetry.text()
    over.relist([])

    assert b'endpoint_name="a"' in before
    assert b'endpoint_name="a"' not in telemetry.text()
    assert value(telemetry, "llm_d_epp_scheduler_attempts_total", **FAILED) == 1


def test_an_endpoint_that_comes_back_is_counted_where_it_is_scraped() -> None:
    """The series of one that left is dropped; whoever holds on to it would count in vain."""
    over = pool("ns/a")
    telemetry = Telemetry(fleet(over))
    for _ in range(2):
        telemetry.decided(receipt(picked=over.endpoints[0].address))
    listed = [Listed("ns/a", over.endpoints[0].address)]
    over.relist([])
    telemetry.text()
    over.relist(listed)
    telemetry.decided(receipt(picked=over.endpoints[0].address))

    where = {"target_model_name": "m", "endpoint_name": "a", "namespace": "ns", "port": "8000"}
    assert value(telemetry, "llm_d_epp_scheduler_attempts_total", status="success", **where) == 1


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


def test_a_name_that_is_a_label_is_not_looked_for_again() -> None:
    class Looked(Pool):
        looks = 0

        def __getattribute__(self, name: str) -> Any:
            Looked.looks += name == "endpoints"
            return super().__getattribute__(name)

    labelling = Labelling(Looked())
    first = labelling.model("gpt-4", routed=True)
    looks = Looked.looks

    assert [labelling.model("gpt-4", routed=routed) for routed in (True, False)] == [first] * 2 == ["gpt-4"] * 2
    assert Looked.looks == looks > 0


def test_pool_gauges_are_means_of_what_endpoints_say() -> None:
    over = pool("a", "b", "c")
    over.endpoints[0].load, over.endpoints[1].load = load(waiting=2, kv_usage=0.2), load(waiting=4, kv_usage=0.6)
    telemetry = Telemetry(fleet(over))

    assert value(telemetry, "llm_d_epp_average_queue_size", name="default") == 3
    assert value(telemetry, "inference_pool_average_kv_cache_utilization", name="default") == pytest.approx(0.4)
    assert value(telemetry, "llm_d_epp_std_dev_queue_size", name="default") == 1


def test_pools_are_told_apart_by_name() -> None:
    over = Fleet(home="ns")
    over.relist("ns/a", [Listed("ns/p", "10.0.0.1:8000"), Listed("ns/q", "10.0.0.2:8000")])
    over.relist("other/a", [Listed("ns/p", "10.0.0.1:8000")])
    over.all.endpoints[0].load = load(waiting=3)
    telemetry = Telemetry(over)

    assert value(telemetry, "llm_d_epp_ready_endpoints", name="a") == 2
    assert value(telemetry, "inference_pool_ready_pods", name="other/a") == 1
    assert value(telemetry, "llm_d_epp_average_queue_size", name="other/a") == 3
    where = {"name": "other/a", "model_server_endpoint": "10.0.0.1:8000"}
    assert value(telemetry, "llm_d_epp_per_endpoint_queue_size", **where) == 3


def test_the_priority_is_the_requests_own(telemetry: Telemetry) -> None:
    telemetry.decided(receipt(priority=-2))

    assert value(telemetry, "llm_d_epp_request_total", **{**REQUEST, "priority": "-2"}) == 1


def test_choosing_the_model_and_picking_the_endpoint_are_timed_apart(telemetry: Telemetry) -> None:
    telemetry.decided(receipt(chosen_s=0.25, decided_s=0.75))

    assert value(telemetry, "llm_d_epp_scheduler_e2e_duration_seconds_sum") == 0.5
    assert value(telemetry, "inference_extension_scheduler_e2e_duration_seconds_sum") == 0.5
    assert value(telemetry, "llm_d_epp_request_processing_duration_seconds_sum") == 0.75
    assert value(telemetry, "onehop_phase_seconds_sum", phase="choose") == 0.25
    assert value(telemetry, "onehop_phase_seconds_sum", phase="pick") == 0.5


def test_a_decision_taken_over_from_the_first_stream_is_classified_once(telemetry: Telemetry) -> None:
    choice = Choice((Candidate("m"),), classification="full", reason="x")
    telemetry.decided(receipt(choice=choice, picked=None, outcome="open"))
    telemetry.decided(receipt(choice=choice, first="receipt-of-the-first"))

    assert value(telemetry, "onehop_classification_total", classification="full", decision="") == 1


def test_rewrites_count_by_their_names_and_by_models_that_clients_cannot_make_up_without_end(
    telemetry: Telemetry,
) -> None:
    for n in range(NAMES_MAX + 5):
        telemetry.rewritten("ns/r", f"asked-{n}", "m")
    labels = {"model_rewrite_name": "ns/r", "target_model": "m"}

    assert value(telemetry, "llm_d_epp_model_rewrite_decisions_total", model_name="asked-0", **labels) == 1
    assert value(telemetry, "inference_extension_model_rewrite_decisions_total", model_name="other", **labels) == 5


def test_a_name_too_long_to_be_one_is_no_label(telemetry: Telemetry) -> None:
    telemetry.decided(receipt(tenant="t" * 254))

    assert value(telemetry, "llm_d_epp_request_total", **{**REQUEST, "fairness_id": "other"}) == 1


def test_combinations_of_labels_are_bounded_too() -> None:
    telemetry = Telemetry(fleet(pool("a", models={"a": ["m", "n", "o"]})))
    for model in ("m", "n", "o"):
        for n in range(NAMES_MAX):
            telemetry.decided(receipt(model=model, tenant=f"tenant-{n}"))
    rows = [line for line in telemetry.text().splitlines() if line.startswith(b"llm_d_epp_request_total{")]
    full = {**REQUEST, "target_model_name": "o", "fairness_id": "other"}

    assert len(rows) == SETS_MAX + 1
    assert sum(float(row.rpartition(b" ")[2]) for row in rows) == 3 * NAMES_MAX
    assert value(telemetry, "llm_d_epp_request_total", **full) == NAMES_MAX


def test_conditions_are_1_while_they_hold(telemetry: Telemetry) -> None:
    errors: dict[str, str] = {}
    telemetry.conditions["scrape"] = lambda: errors
    well = value(telemetry, "onehop_condition", condition="scrape")
    errors["a"] = "does not answer"

    assert (well, value(telemetry, "onehop_condition", condition="scrape")) == (0, 1)


def test_who_leads_is_told(telemetry: Telemetry) -> None:
    telemetry.leads("epp-ns-a.llm-d.ai", True)
    leading = value(telemetry, "onehop_leader", lease="epp-ns-a.llm-d.ai")
    telemetry.leads("epp-ns-a.llm-d.ai", False)

    assert (leading, value(telemetry, "onehop_leader", lease="epp-ns-a.llm-d.ai")) == (1, 0)


def test_what_it_was_built_from_is_told() -> None:
    telemetry = Telemetry(fleet(pool("a")), Build("abc123", "v1"))

    assert value(telemetry, "llm_d_epp_info", commit="abc123", build_ref="v1") == 1
    assert value(telemetry, "inference_extension_info", commit="abc123", build_ref="v1") == 1


def measured(telemetry: Telemetry, over: Pool, prompt: bytes) -> Receipt:
    """A decision by a profile with a prefix index."""
    profile = default_profile()
    telemetry.measure(profile)
    query = Query(request("m", prompt), Candidate("m"), 0.0, Random(1))
    profile.run(query, over.endpoints)
    profile.picked(query, over.endpoints[0])
    again = Query(request("m", prompt), Candidate("m"), 0.0, Random(1))
    pick = profile.run(again, over.endpoints)
    assert pick is not None
    cached = again.cached.get(pick.endpoint, 0)
    made = receipt(pick=pick, picked=pick.endpoint.address, cached_tokens=cached, hashed_tokens=again.hashed)
    telemetry.decided(made)
    return made


def test_plugins_are_timed_by_where_they_stand_and_what_they_are() -> None:
    over = pool("a", "b")
    telemetry = Telemetry(fleet(over))
    measured(telemetry, over, b"x" * 1024)
    name = "plugin_duration_seconds_count"
    for point, plugin, times in [
        ("DataProducer", "approx-prefix-cache-producer", 2),
        ("Filter", "reachable-filter", 2),
        ("Scorer", "least-work-scorer", 2),
        ("Picker", "near-best-picker", 2),
        ("PreRequest", "approx-prefix-cache-producer", 1),
    ]:
        labels = {"extension_point": point, "plugin_type": plugin, "plugin_name": plugin}

        assert value(telemetry, f"llm_d_epp_{name}", **labels) == times
        assert value(telemetry, f"inference_extension_{name}", **labels) == times


def test_the_prefix_index_tells_its_size_and_what_it_found() -> None:
    over = pool("a", "b")
    telemetry = Telemetry(fleet(over))
    measured(telemetry, over, b"x" * 1024)
    labels = dict.fromkeys(("plugin_name", "plugin_type"), "approx-prefix-cache-producer")

    assert value(telemetry, "llm_d_epp_prefix_indexer_size", **labels) == 4
    assert value(telemetry, "llm_d_epp_prefix_indexer_hit_ratio_sum", **labels) == 1
    assert value(telemetry, "inference_extension_prefix_indexer_hit_bytes_sum", **labels) == 1024


def test_a_scrape_can_be_taken_in_parts(telemetry: Telemetry) -> None:
    telemetry.decided(receipt())
    parts = list(telemetry.parts())

    assert len(parts) > 20
    assert b"".join(parts) == telemetry.text()


def test_what_was_left_for_another_model_counts_by_both_and_the_reason(telemetry: Telemetry) -> None:
    telemetry.chose(receipt(spill=Spilled("m", "n", SpillReason.WAIT)))
    telemetry.chose(receipt(spill=Spilled("m", None, SpillReason.HELD_SHARE), excluded={"m": Exclusion.TOOLS}))

    assert value(telemetry, "onehop_spill_total", **{"from": "m", "to": "n", "reason": "wait"}) == 1
    assert value(telemetry, "onehop_spill_total", **{"from": "m", "to": "", "reason": "held_share"}) == 1
    assert value(telemetry, "onehop_candidate_excluded_total", model="m", reason="tools") == 1


def test_excluded_names_that_clients_make_up_share_one_label(telemetry: Telemetry) -> None:
    for n in range(50):
        telemetry.chose(receipt(excluded={f"made-up-{n}": Exclusion.NO_ENDPOINT}))

    assert value(telemetry, "onehop_candidate_excluded_total", model="other", reason="no_endpoint") == 50


def test_the_first_token_is_compared_with_what_was_predicted(telemetry: Telemetry) -> None:
    telemetry.foretold(receipt(predicted_ttft_s=0.5), 0.75)
    telemetry.foretold(receipt(predicted_ttft_s=None), 9.0)

    assert value(telemetry, "onehop_ttft_ratio_sum", target_model_name="m") == 1.5
    assert value(telemetry, "onehop_ttft_ratio_count", target_model_name="m") == 1


def test_receipts_count_by_what_became_of_them(telemetry: Telemetry) -> None:
    telemetry.receipt("stored")
    telemetry.receipt("gave_way")

    assert value(telemetry, "onehop_receipt_total", fate="stored") == 1
    assert value(telemetry, "onehop_receipt_total", fate="gave_way") == 1


def test_vsr_names_are_read_from_the_same_counts(telemetry: Telemetry) -> None:
    telemetry.decided(receipt())
    telemetry.decided(receipt(asked_model="m"))
    telemetry.ended(receipt(status=200, first_answer_s=0.5, ended_s=2.0, stream=True, usage=Usage(7, 10, 3)))
    telemetry.ended(receipt(status=503))

    assert value(telemetry, "llm_model_requests_total", model="m") == 2
    assert value(telemetry, "llm_model_routing_modifications_total", source_model="auto", target_model="m") == 1
    assert value(telemetry, "llm_model_routing_modifications_total", source_model="m", target_model="m") is None
    assert value(telemetry, "llm_request_errors_total", model="m", reason="ModelServerError") == 1
    assert value(telemetry, "llm_model_ttft_seconds_sum", model="m") == 0.5
    assert value(telemetry, "llm_model_tpot_seconds_count", model="m") == 1
    assert value(telemetry, "llm_model_prompt_tokens_total", model="m") == 7
    assert value(telemetry, "llm_model_tokens_total", model="m") == 17
    assert value(telemetry, "llm_model_inflight_requests", model="m") == 0


def test_the_wait_is_a_phase_of_its_own(telemetry: Telemetry) -> None:
    telemetry.decided(receipt(chosen_s=0.25, waited_s=1.0, decided_s=1.5))

    assert value(telemetry, "onehop_phase_seconds_sum", phase="wait") == 1.0
    assert value(telemetry, "onehop_phase_seconds_sum", phase="pick") == 0.25
    assert value(telemetry, "llm_d_epp_scheduler_e2e_duration_seconds_sum") == 0.25
    assert value(telemetry, "llm_model_routing_latency_seconds_sum") == 0.25


def test_what_was_seen_of_a_prompt_counts_once_it_is_classified(telemetry: Telemetry) -> None:
    signals = {"coverage": {"scanned_bytes": 50, "total_bytes": 200}, "matched": {"domain:math": 0.9}}
    choice = Choice((Candidate("m"),), "maths", "math", 0.83, "full", "because", signals=signals)
    telemetry.looked([("domain", "math"), ("domain", "law"), ("keyword", "sum")], 0.02)
    telemetry.decided(receipt(choice=choice))

    assert value(telemetry, "llm_signal_extraction_total", signal_type="domain", signal_name="law") == 1
    assert value(telemetry, "llm_signal_extraction_latency_seconds_count", signal_type="domain") == 1
    assert value(telemetry, "llm_decision_evaluation_total") == 1
    sure = {"category": "math", "classification_method": "classifier"}
    assert value(telemetry, "llm_classification_confidence_sum", **sure) == 0.83
    assert value(telemetry, "onehop_classification_coverage_ratio_sum") == 0.25


def test_reloads_spans_and_texts_are_read_when_they_are_asked_for(telemetry: Telemetry) -> None:
    telemetry.reloads["semantic"] = lambda: (3, 1)
    telemetry.spans = lambda: {"exported": 7}
    telemetry.texts = lambda: {"late": 2}

    assert value(telemetry, "onehop_reload_total", file="semantic", result="success") == 3
    assert value(telemetry, "onehop_reload_total", file="semantic", result="failure") == 1
    assert value(telemetry, "onehop_span_total", fate="exported") == 7
    assert value(telemetry, "onehop_classifier_texts_total", fate="late") == 2
