"""The director: which model, which endpoint, which answer."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from epp.datastore.pool import Pool
from epp.datastore.receipts import Receipts
from epp.director import EXPLAINED_MAX
from epp.domain import Choice, Endpoint, Exclusion, Request
from epp.outcome import Answered, Routed
from epp.protocol.messages import Decide
from epp.scheduling.default import default_profile
from epp.scheduling.framework import Filter, Profile, Query
from epp.scheduling.plugins.max_score import MaxScorePicker
from epp.telemetry import Telemetry
from tests.make import GET, POST, FixedChooser, chat, director, fleet, pool

TWO = {"a": ["llama3-8b", "auto"], "b": ["phi4-mini"]}


def ask(model: str = "llama3-8b", **more: Any) -> Decide:
    return Decide(POST, chat(model), more.pop("subset", None), **more)


def error(answered: Answered) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(answered.immediate.body)["error"]
    return fields


async def routed(over: Pool, ask: Decide, **more: Any) -> Routed:
    outcome = await director(over, **more).decide(ask)
    assert isinstance(outcome, Routed), outcome
    return outcome


async def answered(over: Pool, ask: Decide, **more: Any) -> Answered:
    outcome = await director(over, **more).decide(ask)
    assert isinstance(outcome, Answered), outcome
    return outcome


async def test_an_explicit_model_goes_to_an_endpoint_that_serves_it() -> None:
    there = await routed(pool("a", "b", models=TWO), ask("phi4-mini"))

    assert there.route.destination == "10.0.0.1:8000"
    assert there.route.body is None
    assert ("x-selected-model", "phi4-mini") in there.route.set_headers
    assert dict(there.route.response_headers)["x-onehop-classification"] == "skipped"


async def test_an_alias_goes_where_the_semantic_stage_says_with_a_new_model_in_the_body() -> None:
    chooser = FixedChooser("phi4-mini", "llama3-8b", decision="math_decision", category="math", confidence=0.9)
    there = await routed(pool("a", "b", models=TWO), ask("auto"), chooser=chooser)
    headers = dict(there.route.response_headers)

    assert there.route.destination == "10.0.0.1:8000"
    assert there.route.body == chat("phi4-mini")
    assert there.route.model_changed
    assert headers["x-vsr-selected-model"] == "phi4-mini"
    assert headers["x-vsr-selected-decision"] == "math_decision"
    assert headers["x-vsr-selected-category"] == "math"
    assert headers["x-onehop-classification"] == "full"


async def test_a_candidate_nobody_serves_gives_way_to_the_next() -> None:
    there = await routed(pool("a", models=TWO), ask("auto"), chooser=FixedChooser("phi4-mini", "llama3-8b"))

    assert there.receipt.model == "llama3-8b"
    assert there.receipt.excluded == {"phi4-mini": Exclusion.NO_ENDPOINT}


async def test_a_candidate_whose_endpoints_are_down_gives_way_to_the_next() -> None:
    over = pool("a", "b", models=TWO)
    over.endpoints[1].reachable = False
    there = await routed(over, ask("auto"), chooser=FixedChooser("phi4-mini", "llama3-8b"))

    assert there.receipt.model == "llama3-8b"


async def test_an_explicit_model_whose_endpoints_all_seem_down_is_still_tried() -> None:
    over = pool("a", "b", models=TWO)
    over.endpoints[1].reachable = False

    assert (await routed(over, ask("phi4-mini"))).route.destination == "10.0.0.1:8000"


async def test_an_unknown_model_is_a_404_that_names_the_models() -> None:
    refused = await answered(pool("a", "b", models=TWO), ask("gpt-9"))

    assert refused.immediate.status == 404
    assert error(refused)["code"] == "model_not_found"
    assert error(refused)["param"] == "model"
    for name in ("gpt-9", "llama3-8b", "phi4-mini", "auto"):
        assert name in error(refused)["message"]


async def test_an_unknown_model_goes_to_an_endpoint_that_has_not_told_its_models() -> None:
    there = await routed(pool("a", "b", "c", models=TWO), ask("gpt-9"))

    assert there.route.destination == "10.0.0.2:8000"


async def test_an_unknown_model_is_passed_on_when_told_so() -> None:
    there = await routed(pool("a", "b", models=TWO), ask("gpt-9"), unknown_model="forward")

    assert there.route.body is None


async def test_an_alias_without_any_served_candidate_is_a_503_not_a_404() -> None:
    refused = await answered(pool("a", models=TWO), ask("auto"), chooser=FixedChooser("phi4-mini"))

    assert (refused.immediate.status, error(refused)["code"]) == (503, "no_endpoints")
    assert dict(refused.immediate.headers)["retry-after"] == "1"


async def test_a_model_whose_endpoints_are_all_ejected_gives_way_to_the_next_until_they_are_back() -> None:
    over, clock = pool("a", "b", models={"a": ["phi4-mini"], "b": ["llama3-8b"]}), [100.0]
    decider = director(over, FixedChooser("phi4-mini", "llama3-8b"), now=lambda: clock[0])
    over.endpoints[0].ejected_until = 105.0
    during = await decider.decide(ask("auto"))
    clock[0] = 105.0
    after = await decider.decide(Decide({**POST, "x-request-id": "2"}, chat("auto"), None))

    assert [there.receipt.model for there in (during, after)] == ["llama3-8b", "phi4-mini"]


async def test_a_model_whose_endpoints_are_all_ejected_is_served_by_them_where_there_is_no_other() -> None:
    over = pool("a", models={"a": ["phi4-mini"]})
    over.endpoints[0].ejected_until = 105.0
    there = await routed(over, ask("phi4-mini"))

    assert there.receipt.picked == over.endpoints[0].address


class Nobody(Filter):
    """A filter that keeps no endpoint."""

    type = "nobody"

    def keep(self, query: Query, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        return []


async def test_filters_that_leave_no_endpoint_are_a_429() -> None:
    profile = Profile("none", filters=[Nobody()], picker=MaxScorePicker())
    refused = await answered(pool("a", models=TWO), ask(), profile=profile)

    assert (refused.immediate.status, error(refused)["code"]) == (429, "saturated")
    assert dict(refused.immediate.headers)["x-llm-d-request-dropped-reason"] == "rejected-saturated"
    assert dict(refused.immediate.headers)["retry-after"] == "1"


async def test_an_empty_pool_is_a_503_with_its_drop_reason() -> None:
    empty = Pool()
    refused = await answered(empty, ask())

    assert refused.immediate.status == 503
    assert dict(refused.immediate.headers)["x-llm-d-request-dropped-reason"] == "rejected-no-endpoints"
    assert "failed to find endpoint candidates" in error(refused)["message"]


@pytest.mark.parametrize(("subset", "expected"), [({"10.0.0.1:8000"}, "b"), ({"10.0.0.0"}, "a"), ({"10.0.0.9"}, None)])
async def test_the_gateways_subset_is_kept_to(subset: set[str], expected: str | None) -> None:
    over = pool("a", "b")
    outcome = await director(over).decide(ask(subset=frozenset(subset)))

    if expected is None:
        assert isinstance(outcome, Answered)
        assert outcome.immediate.status == 503
    else:
        assert isinstance(outcome, Routed)
        assert outcome.lease.endpoint.name == expected


async def test_models_lists_the_union_and_the_aliases() -> None:
    page = await answered(pool("a", "b", models=TWO), Decide(GET, b"", None))

    assert page.immediate.status == 200
    assert [m["id"] for m in json.loads(page.immediate.body)["data"]] == ["auto", "llama3-8b", "phi4-mini"]


async def test_the_route_cache_is_cleared_only_when_the_model_header_changes() -> None:
    over = pool("a", models=TWO)
    same = Decide({**POST, "x-selected-model": "llama3-8b"}, chat(), None)

    assert (await routed(over, ask())).route.model_changed
    assert not (await routed(over, same)).route.model_changed


async def test_headers_alone_are_routed_by_the_model_header() -> None:
    there = await routed(pool("a", "b", models=TWO), Decide({**POST, "x-selected-model": "phi4-mini"}, None, None))

    assert there.route.destination == "10.0.0.1:8000"
    assert not there.route.model_changed


async def test_the_endpoint_that_already_has_the_headers_is_kept_if_it_serves_the_model() -> None:
    over = pool("a", "b", "c", models={"a": ["llama3-8b"], "b": ["llama3-8b"], "c": ["phi4-mini"]})
    for kept in over.endpoints[:2]:
        outcome = await director(over).decide(ask("llama3-8b"), prefer=kept)
        assert isinstance(outcome, Routed)
        assert outcome.lease.endpoint is kept
    outcome = await director(over).decide(ask("phi4-mini"), prefer=over.endpoints[0])

    assert isinstance(outcome, Routed)
    assert outcome.lease.endpoint.name == "c"


async def test_a_missing_request_id_is_made_and_sent_on() -> None:
    there = await routed(pool("a"), Decide({":path": "/v1/chat/completions"}, chat(), None))

    assert len(dict(there.route.set_headers)["x-request-id"]) == 32


class Broken(FixedChooser):
    """A semantic stage with a defect whose message holds the prompt."""

    async def choose(self, request: Request) -> Choice:
        raise RuntimeError(f"cannot classify {request.prompt!r}")


async def test_a_surprise_becomes_a_plain_pick_and_no_prompt_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    over = pool("a", "b")
    over.endpoints[0].inflight_requests = 3
    telemetry = Telemetry(fleet(over))
    lies = {"x-selected-model": "lie", "x-llm-d-inference-objective": "vip"}
    secret = Decide({**POST, **lies}, chat("auto", "canary-prompt"), None)
    with caplog.at_level(logging.DEBUG):
        there = await routed(over, secret, chooser=Broken(), telemetry=telemetry)

    assert there.lease.endpoint.name == "b"
    assert there.route.body is None
    assert list(there.route.remove_headers) == ["x-llm-d-inference-objective", "x-selected-model"]
    assert b'onehop_surprise_total{type="RuntimeError"} 1.0' in telemetry.text()
    assert "RuntimeError" in caplog.text
    assert "canary-prompt" not in caplog.text


async def test_a_surprise_in_every_request_does_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    over = pool("a")
    telemetry = Telemetry(fleet(over))
    decider = director(over, chooser=Broken(), telemetry=telemetry)
    for _ in range(120):
        await decider.decide(ask("auto"))
    elsewhere = await routed(over, ask("auto"), chooser=FixedChooser("half a \ud800 character"), telemetry=telemetry)
    elsewhere.lease.close()

    assert telemetry.registry.get_sample_value("onehop_surprise_total", {"type": "RuntimeError"}) == 120
    assert [r.getMessage().split()[1].strip(",") for r in caplog.records] == ["RuntimeError"] * 3 + [
        "UnicodeEncodeError"
    ]


async def test_a_surprise_late_in_a_decision_leaks_no_lease() -> None:
    over = pool("a")
    there = await routed(over, ask("auto"), chooser=FixedChooser("half a \ud800 character"))

    assert there.route.body is None
    assert over.endpoints[0].inflight_requests == 1
    there.lease.close()
    assert over.endpoints[0].inflight_requests == 0


async def test_the_receipt_says_why_and_holds_no_prompt() -> None:
    over = pool("a", "b", models=TWO)
    receipts = Receipts()
    chooser = FixedChooser("phi4-mini", decision="math", category="math", confidence=0.8)
    there = await routed(over, Decide(POST, chat("auto", "canary-prompt"), None), chooser=chooser, receipts=receipts)
    told = receipts.get(dict(there.route.response_headers)["x-onehop-receipt"])
    assert told is not None

    assert told["picked"] == "10.0.0.1:8000"
    assert told["asked_model"] == "auto"
    assert [c["model"] for c in told["candidates"]] == ["phi4-mini"]
    assert [e["address"] for e in told["endpoints"]] == ["10.0.0.1:8000"]
    assert "canary-prompt" not in json.dumps(told)


async def test_the_lease_is_charged_when_the_choice_is_made() -> None:
    over = pool("a")
    there = await routed(over, ask())

    assert over.endpoints[0].inflight_requests == 1
    assert over.endpoints[0].inflight_tokens == there.receipt.prompt_tokens > 0


async def test_a_header_names_the_model_to_use_instead_and_the_newer_name_of_it_wins() -> None:
    headers = {**POST, "x-gateway-model-name-rewrite": "old", "x-llm-d-model-name-rewrite": "my-model-12345"}
    there = await routed(pool("a"), Decide(headers, chat("my-model"), None))

    assert there.route.body == chat("my-model-12345")


async def test_control_headers_of_the_client_are_taken_off_and_no_others() -> None:
    lies = {
        "x-gateway-destination-endpoint": "6.6.6.6:6",
        "x-gateway-destination-endpoint-served": "6.6.6.6:6",
        "x-llm-d-inference-objective": "vip",
        "x-gateway-inference-fairness-id": "me",
        "x-llm-d-request-dropped-reason": "none",
        "authorization": "keep",
    }
    there = await routed(pool("a"), Decide({**POST, **lies}, chat(), None))

    assert there.route.destination == "10.0.0.0:8000"
    assert set(there.route.remove_headers) == lies.keys() - {"authorization", "x-gateway-destination-endpoint"}
    assert {name for name, _ in there.route.set_headers} == {"x-selected-model"}


async def test_a_model_header_of_the_client_does_not_survive_a_request_without_a_model() -> None:
    get = Decide({**GET, ":path": "/v1/other", "x-selected-model": "lie"}, b"", None)

    assert list((await routed(pool("a"), get)).route.remove_headers) == ["x-selected-model"]


async def test_the_same_request_on_a_second_stream_gets_the_same_answer_and_counts_once() -> None:
    over = pool("a", "b", "c")
    decider = director(over)
    first = await decider.decide(ask())
    again = [await decider.decide(ask()) for _ in range(5)]
    assert isinstance(first, Routed)

    assert {o.route.destination for o in again if isinstance(o, Routed)} == {first.route.destination}
    assert sum(e.inflight_requests for e in over.endpoints) == 1
    first.lease.close()
    assert sum(e.inflight_requests for e in over.endpoints) == 1
    for other in again:
        assert isinstance(other, Routed)
        other.lease.close()
    assert sum(e.inflight_requests for e in over.endpoints) == 0


async def test_a_second_filter_that_sees_the_edited_body_gets_the_same_endpoint() -> None:
    over = pool("a", "b", "c", "d")
    decider = director(over, FixedChooser("phi4-mini"))
    first = await decider.decide(ask("auto"))
    second = await decider.decide(ask("phi4-mini"))

    assert isinstance(first, Routed)
    assert isinstance(second, Routed)
    assert second.route.destination == first.route.destination
    assert sum(e.inflight_requests for e in over.endpoints) == 1


@pytest.mark.parametrize(
    "other",
    [
        Decide({**POST, "x-request-id": "r-2"}, chat(), None),
        Decide({**POST, ":path": "/v1/completions"}, b'{"model": "m", "prompt": "x"}', None),
        Decide(POST, chat(text="something else"), None),
    ],
)
async def test_another_id_path_or_body_is_another_request(other: Decide) -> None:
    over = pool("a", "b")
    decider = director(over)
    await decider.decide(ask())
    await decider.decide(other)

    assert sum(e.inflight_requests for e in over.endpoints) == 2


async def test_a_request_that_comes_again_after_its_stream_is_a_new_one() -> None:
    over = pool("a", "b")
    decider = director(over)
    first = await decider.decide(ask())
    assert isinstance(first, Routed)
    first.lease.close()
    over.endpoints[0].reachable = over.endpoints[1].reachable = True
    first.lease.endpoint.reachable = False
    second = await decider.decide(ask())

    assert isinstance(second, Routed)
    assert second.lease.endpoint is not first.lease.endpoint


async def test_each_retry_goes_to_an_endpoint_not_tried_before() -> None:
    over = pool("a", "b", "c")
    decider = director(over)
    tried = []
    for attempt in range(3):
        headers = {**POST, "x-retry-attempt": str(attempt)} if attempt else POST
        there = await decider.decide(Decide(headers, chat(), None))
        assert isinstance(there, Routed)
        tried.append(there.route.destination)
        there.lease.close()

    assert len(set(tried)) == 3


async def test_the_endpoint_that_really_served_takes_over_the_lease() -> None:
    over = pool("a", "b")
    decider = director(over)
    there = await decider.decide(ask())
    assert isinstance(there, Routed)
    picked = there.lease.endpoint
    (other,) = [e for e in over.endpoints if e is not picked]
    decider.served(there, other.address)

    assert (picked.inflight_requests, picked.inflight_tokens) == (0, 0)
    assert other.inflight_requests == 1
    assert there.receipt.served == other.address
    there.lease.close()
    assert (other.inflight_requests, other.inflight_tokens) == (0, 0)


async def test_a_repetition_counts_where_it_goes_also_when_the_first_was_served_elsewhere() -> None:
    over = pool("a", "b")
    decider = director(over)
    first = await decider.decide(ask())
    assert isinstance(first, Routed)
    (other,) = [e for e in over.endpoints if e is not first.lease.endpoint]
    decider.served(first, other.address)
    again = await decider.decide(ask())
    assert isinstance(again, Routed)

    assert again.lease.endpoint.address == again.route.destination
    assert [e.inflight_requests for e in over.endpoints] == [1, 1]
    for there in (first, again):
        there.lease.close()
    assert [e.inflight_requests for e in over.endpoints] == [0, 0]


async def test_after_a_retry_the_prefix_is_looked_for_where_it_was_served() -> None:
    over = pool("a", "b")
    decider = director(over, profile=default_profile())
    long = "the same beginning " * 100
    there = await decider.decide(Decide({**POST, "x-request-id": "1"}, chat(text=long + "one"), None))
    assert isinstance(there, Routed)
    (other,) = [e for e in over.endpoints if e is not there.lease.endpoint]
    decider.served(there, other.address)
    there.lease.close()
    again = await decider.decide(Decide({**POST, "x-request-id": "2"}, chat(text=long + "two"), None))

    assert isinstance(again, Routed)
    assert again.receipt.pick is not None
    scores = {row["address"]: row["scores"]["prefix-cache-scorer"] for row in again.receipt.pick.explain()}
    assert scores[other.address] > 0.5
    assert scores[there.receipt.picked] == 0


async def test_a_receipt_of_thousands_of_endpoints_keeps_the_best() -> None:
    over = pool(*[f"ns/p{n}" for n in range(3000)])
    there = await routed(over, ask(), profile=default_profile())

    assert there.receipt.pick is not None
    rows = there.receipt.pick.explain()
    assert len(rows) == EXPLAINED_MAX
    assert [row["address"] for row in rows if row["reason"] == "picked"] == [there.receipt.picked]


async def test_names_in_headers_are_no_longer_than_names_in_bodies() -> None:
    long = "m" * 5000
    by_header = Decide({**POST, "x-llm-d-model-name-rewrite": long}, chat(), None)
    without_body = Decide({**POST, "x-selected-model": long}, None, None)
    for asked in (by_header, without_body):
        refused = await answered(pool("a", models=TWO), asked)

        assert (refused.immediate.status, error(refused)["code"]) == (400, "bad_request")
        assert long not in repr(refused.receipt)
