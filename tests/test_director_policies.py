"""What objects and the operator's rules change about a decision: rewrites, objectives, tenants, lists, two streams."""

from __future__ import annotations

import json
from typing import Any

import pytest

from epp.datastore.objects import Objective, PoolRef, Rewrite, RewriteRule, Target
from epp.datastore.policies import Policies
from epp.datastore.pool import Pool
from epp.domain import Reason
from epp.outcome import Answered, Routed
from epp.protocol.decision import Signer
from epp.protocol.headers import DECISION
from epp.protocol.identity import source
from epp.protocol.messages import Decide
from epp.scheduling.default import default_profile
from tests.make import GET, POST, FixedChooser, chat, director, load, pool

POOL = PoolRef("inference.networking.k8s.io", "p")
TWO = {"a": ["llama3-8b"], "b": ["phi4-mini"]}
KEY = b"k" * 32
OBJECTIVE = "x-llm-d-inference-objective"


def rewrite(*matches: str, to: str, name: str = "r") -> Rewrite:
    rule = RewriteRule(matches, (Target(to),))
    return Rewrite("ns", name, "2026-01-01T00:00:00Z", "uid", POOL, (rule,))


def with_policies(*rewrites: Rewrite, objectives: tuple[Objective, ...] = ()) -> Pool:
    over = pool("a", "b", models=TWO)
    over.policies = Policies(["ns/p"], objectives, rewrites)
    return over


def ask(body: bytes, **headers: str) -> Decide:
    return Decide({**POST, **{k.replace("_", "-"): v for k, v in headers.items()}}, body, None)


async def routed(over: Pool, asked: Decide, **more: Any) -> Routed:
    outcome = await director(over, **more).decide(asked)
    assert isinstance(outcome, Routed), outcome
    return outcome


async def test_a_rewrite_changes_the_model_and_the_receipt_says_by_what() -> None:
    there = await routed(with_policies(rewrite("gpt-4", to="phi4-mini")), ask(chat("gpt-4")))

    assert there.route.destination == "10.0.0.1:8000"
    assert json.loads(there.route.body or b"")["model"] == "phi4-mini"
    assert (there.receipt.asked_model, there.receipt.model, there.receipt.rewrite) == ("gpt-4", "phi4-mini", "ns/r")


async def test_a_rewrite_wins_over_the_rewrite_header_and_sees_its_model() -> None:
    over = with_policies(rewrite("from-header", to="phi4-mini"))
    there = await routed(over, ask(chat("llama3-8b"), x_llm_d_model_name_rewrite="from-header"))

    assert there.receipt.model == "phi4-mini"


async def test_a_body_without_model_goes_by_a_generic_rewrite() -> None:
    body = b'{"messages":[{"role":"user","content":"hi"}]}'
    there = await routed(with_policies(rewrite(to="phi4-mini")), ask(body))

    assert json.loads(there.route.body or b"")["model"] == "phi4-mini"


async def test_a_body_without_model_is_refused_under_exact_rewrites_only() -> None:
    body = b'{"messages":[{"role":"user","content":"hi"}]}'
    outcome = await director(with_policies(rewrite("gpt-4", to="phi4-mini"))).decide(ask(body))

    assert isinstance(outcome, Answered)
    assert outcome.receipt.outcome == "model_missing"


async def test_a_rewrite_to_an_alias_is_chosen_by_the_semantic_stage() -> None:
    over = with_policies(rewrite("our-app", to="auto"))
    there = await routed(over, ask(chat("our-app")), chooser=FixedChooser("phi4-mini", decision="d"))

    assert there.receipt.model == "phi4-mini"
    assert there.receipt.choice is not None
    assert there.receipt.choice.decision == "d"


async def test_names_that_are_rewritten_are_models_that_clients_may_ask_for() -> None:
    outcome = await director(with_policies(rewrite("gpt-4", to="phi4-mini"))).decide(Decide(GET, b"", None))

    assert isinstance(outcome, Answered)
    names = [model["id"] for model in json.loads(outcome.immediate.body)["data"]]
    assert names == ["gpt-4", "llama3-8b", "phi4-mini", "auto"]


async def test_an_objective_gives_the_request_its_priority() -> None:
    over = with_policies(objectives=(Objective("ns", "batch", POOL, -1),))
    priorities = [
        (await routed(over, ask(chat("phi4-mini"), **headers))).receipt.priority
        for headers in ({OBJECTIVE: "batch"}, {OBJECTIVE: "unknown"}, {})
    ]

    assert priorities == [-1, 0, 0]


async def test_an_objective_that_clients_name_counts_for_nothing_where_they_are_not_trusted() -> None:
    over = with_policies(objectives=(Objective("ns", "critical", POOL, 10),))
    there = await routed(over, ask(chat("phi4-mini"), **{OBJECTIVE: "critical"}), objective=source("none", ()))

    assert (there.receipt.priority, there.receipt.objective) == (0, None)
    assert OBJECTIVE in there.route.remove_headers


async def test_a_tenant_is_who_the_route_says() -> None:
    asked = Decide(
        {**POST, "x-llm-d-inference-fairness-id": "forged"}, chat("phi4-mini"), None, {"xds.route_name": "team-a"}
    )
    there = await routed(pool("a"), asked, tenant=source("attribute:xds.route_name", ()))

    assert there.receipt.tenant == "team-a"
    assert "x-llm-d-inference-fairness-id" in there.route.remove_headers


async def test_a_list_of_endpoints_is_sent_where_it_is_asked_for_the_best_first() -> None:
    over = pool("a", "b", "c", "d")
    for endpoint, waiting in zip(over.endpoints, (9, 0, 1, 5), strict=True):
        endpoint.load = load(waiting=waiting)
    over.endpoints[2].reachable = False
    one = await routed(over, ask(chat()), profile=default_profile())
    one.lease.close()  # type: ignore[union-attr]
    three = await routed(over, ask(chat()), profile=default_profile(), fallbacks=2)

    assert one.route.destination == "10.0.0.1:8000"
    assert three.route.destination == "10.0.0.1:8000,10.0.0.3:8000,10.0.0.0:8000"
    assert three.receipt.picked == "10.0.0.1:8000"


async def test_the_wait_that_a_client_is_told_grows_with_the_outage() -> None:
    now = 0.0
    decider = director(Pool(), now=lambda: now)
    told = []
    for second in range(12):
        now = float(second)
        outcome = await decider.decide(ask(chat()))
        assert isinstance(outcome, Answered)
        assert outcome.receipt.outcome == Reason.NO_ENDPOINTS.code
        told.append(int(dict(outcome.immediate.headers)["retry-after"]))

    assert told == [1, 1, *range(2, 12)]


async def two_streams(key: bytes = KEY, *, body: bytes | None = None, **headers: str) -> tuple[Routed, Routed, Pool]:
    """One request as two filters show it, decided by two processes with their own views."""
    chooser = FixedChooser("phi4-mini", decision="math_decision", category="math", confidence=0.9)
    first = await routed(
        pool("a", "b", models=TWO),
        ask(body or chat("auto"), **headers),
        chooser=chooser,
        first_of_two=True,
        signer=Signer(KEY),
    )
    changed = {**POST, **dict(first.route.set_headers)}
    over = pool("a", "b", models=TWO)
    second = await routed(over, Decide(changed, first.route.body, None), signer=Signer(key))
    return first, second, over


async def test_the_first_of_two_streams_chooses_the_model_and_takes_nothing() -> None:
    first, _, _ = await two_streams(x_onehop_decision="forged")

    assert (first.lease, first.route.destination) == (None, None)
    assert dict(first.route.set_headers)["x-selected-model"] == "phi4-mini"
    assert first.route.model_changed
    assert DECISION not in first.route.remove_headers
    assert dict(first.route.set_headers)[DECISION] != "forged"
    assert first.receipt.picked is None


async def test_the_second_stream_keeps_the_decision_and_picks_the_endpoint() -> None:
    first, second, over = await two_streams()

    assert second.route.destination == "10.0.0.1:8000"
    assert second.route.body is None
    assert DECISION in second.route.remove_headers
    assert over.endpoints[1].inflight_requests == 1
    assert (second.receipt.first, second.receipt.asked_model) == (first.receipt.id, "auto")
    headers = dict(second.route.response_headers)
    assert headers["x-vsr-selected-decision"] == "math_decision"
    assert headers["x-onehop-classification"] == "full"


async def test_under_another_key_the_second_stream_goes_by_the_body_alone() -> None:
    _, second, _ = await two_streams(b"x" * 32)

    assert second.route.destination == "10.0.0.1:8000"
    assert (second.receipt.first, second.receipt.asked_model) == (None, "phi4-mini")
    assert "x-vsr-selected-decision" not in dict(second.route.response_headers)


async def test_of_another_request_the_header_says_nothing() -> None:
    first, _, _ = await two_streams()
    changed = {**POST, **dict(first.route.set_headers), "x-request-id": "r-2"}
    there = await routed(pool("a", "b", models=TWO), Decide(changed, first.route.body, None), signer=Signer(KEY))

    assert (there.receipt.first, there.receipt.asked_model) == (None, "phi4-mini")


async def test_what_did_not_pass_the_first_stream_is_refused_by_the_second() -> None:
    first, _, _ = await two_streams()
    rules: dict[str, Any] = {"signer": Signer(KEY), "second_of_two": True}
    over = pool("a", "b", models=TWO)
    forged = await director(over, **rules).decide(ask(chat("phi4-mini"), x_selected_model="phi4-mini"))
    edited = Decide({**POST, **dict(first.route.set_headers)}, chat("phi4-mini", "edited on the way"), None)
    there = await routed(over, edited, **rules)

    assert isinstance(forged, Answered)
    assert (forged.immediate.status, forged.receipt.outcome) == (400, "decision_missing")
    assert there.receipt.picked == "10.0.0.1:8000"


@pytest.mark.parametrize("more", [{}, {"x_retry_attempt": "1"}])
@pytest.mark.parametrize("names", ["a", "ab"])
async def test_clients_that_choose_their_ids_cannot_hide_their_load(names: str, more: dict[str, str]) -> None:
    over = pool(*names)
    decider = director(over)
    for _ in range(100):
        assert isinstance(await decider.decide(ask(chat(), **more)), Routed)

    assert sum(e.inflight_requests for e in over.endpoints) >= 100 // 16 + 1


async def test_an_empty_request_id_is_none() -> None:
    over = pool("a")
    decider = director(over)
    for _ in range(3):
        outcome = await decider.decide(ask(chat(), x_request_id=""))
        assert isinstance(outcome, Routed)
        assert dict(outcome.route.set_headers)["x-request-id"]

    assert over.endpoints[0].inflight_requests == 3


@pytest.mark.parametrize("model", ["llama3-8b", "nobody"])
async def test_the_first_stream_also_checks_a_named_model(model: str) -> None:
    outcome = await director(pool("a", "b", models=TWO), first_of_two=True).decide(ask(chat(model)))

    if model == "nobody":
        assert isinstance(outcome, Answered)
        assert outcome.receipt.outcome == "model_not_found"
    else:
        assert isinstance(outcome, Routed)
        assert dict(outcome.route.set_headers)["x-selected-model"] == model


async def test_what_an_endpoint_has_cached_is_for_the_second_stream_to_know() -> None:
    there = await routed(
        pool("a"), ask(chat("llama3-8b"), prefer="if-available"), profile=default_profile(), first_of_two=True
    )

    assert dict(there.route.set_headers)["x-selected-model"] == "llama3-8b"


async def test_a_defect_in_the_first_stream_lets_the_request_go_on() -> None:
    class Broken(FixedChooser):
        async def choose(self, request: object) -> Any:
            raise RuntimeError("a defect")

    there = await routed(pool("a"), ask(chat("auto")), chooser=Broken("x"), first_of_two=True)

    assert (there.lease, there.route.destination) == (None, None)
