"""The cases that Kubernetes objects decide: model rewrites, and who leads."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from epp.datastore.objects import PoolRef, Rewrite, RewriteRule, Target
from epp.datastore.policies import Policies
from epp.edge.health import HEALTH_NAMES, Health
from epp.readiness import Readiness
from tests.transcripts.picker import Picker
from tests.transcripts.wire import RB, REWRITE, RH, B, H, P, ask

POOL = PoolRef("inference.networking.k8s.io", "p")
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def rewrite(name: str, created: str, matches: tuple[str, ...], *targets: Target) -> Rewrite:
    return Rewrite("default", name, f"2026-01-{created}T00:00:00Z", name, POOL, (RewriteRule(matches, targets),))


def with_rewrites(epp: Picker, *rewrites: Rewrite) -> None:
    epp.pool.policies = Policies(["default/p"], (), rewrites)


async def test_case_14_a_rewrite_object_changes_the_model(epp: Picker) -> None:
    epp.serves(P(0))
    rule = rewrite("r", "01", ("model-to-be-rewritten",), Target("rewritten-model"))
    with_rewrites(epp, rule)
    new = ask("rewritten-model")
    await epp.transcript(
        (RH(),), (RB(ask("model-to-be-rewritten")), H("192.168.1.1:8000", "rewritten-model", len(new)), B(new))
    )

    counted = {"model_name": "model-to-be-rewritten", "target_model_name": "rewritten-model", "priority": "0"}
    assert epp.metric("inference_objective_request_total", **counted) == 1
    decided = {"model_rewrite_name": "default/r", "target_model": "rewritten-model"}
    assert epp.metric("llm_d_epp_model_rewrite_decisions_total", **decided) == 1


async def test_case_60_a_body_without_model_gets_that_of_a_generic_rewrite(epp: Picker) -> None:
    epp.serves(P(0), P(1, 3), P(3, 9), P(5, 20), fallbacks=2)
    with_rewrites(epp, rewrite("r", "01", (), Target("generic")))
    body = b'{"model":"generic",' + ask(None)[1:]
    await epp.transcript(
        (RH(),),
        (
            RB(ask(None)),
            H("192.168.1.1:8000,192.168.1.2:8000,192.168.1.4:8000", "generic", len(body)),
            B(body),
        ),
    )


async def test_case_61_of_two_rewrites_of_one_model_the_oldest_wins(epp: Picker) -> None:
    epp.serves(P(0))
    newer = rewrite("a-newer", "02", ("model-a",), Target("newer"))
    with_rewrites(epp, newer, rewrite("b-older", "01", ("model-a",), Target("older")))
    new = ask("older")

    await epp.transcript((RH(),), (RB(ask("model-a")), H("192.168.1.1:8000", "older", len(new)), B(new)))


@pytest.mark.parametrize(
    ("targets", "shares"),
    [
        ((Target("x", 70), Target("y", 30)), {"x": 0.7, "y": 0.3}),
        ((Target("x", 50), Target("y", 50)), {"x": 0.5, "y": 0.5}),
        ((Target("x"), Target("y")), {"x": 0.5, "y": 0.5}),
        ((Target("x"), Target("y", 100)), {"y": 1.0}),
    ],
)
async def test_case_62_targets_get_their_shares(
    epp: Picker, targets: tuple[Target, ...], shares: dict[str, float]
) -> None:
    requests = 200
    epp.serves(P(0))
    with_rewrites(epp, rewrite("r", "01", ("model-a",), *targets))
    chosen: Counter[str | None] = Counter()
    for number in range(requests):
        call = epp.open()
        await call.tell(RH({"x-request-id": f"r-{number}"}))
        await call.tell(RB(ask("model-a")))
        await call.finish()
        assert epp.receipt is not None
        chosen[epp.receipt.model] += 1

    assert chosen.keys() == shares.keys()
    # The dice are seeded; four standard deviations of 200 draws are 0.14.
    assert all(abs(chosen[model] / requests - share) < 0.14 for model, share in shares.items())


@pytest.mark.parametrize(
    ("headers", "tenant"),
    [
        ({"x-llm-d-inference-fairness-id": "team-a"}, "team-a"),
        ({"x-gateway-inference-fairness-id": "team-b"}, "team-b"),
        ({}, "default-flow"),
    ],
)
async def test_case_65_the_fairness_id_is_that_of_the_header(epp: Picker, headers: dict[str, str], tenant: str) -> None:
    epp.serves(P(0))
    body = ask("m")
    await epp.transcript((RH(headers),), (RB(body), H("192.168.1.1:8000", "m", removed=tuple(headers)), B(body)))

    assert epp.receipt is not None
    assert epp.receipt.tenant == tenant


async def test_case_63_a_rewrite_object_wins_over_the_header(epp: Picker) -> None:
    epp.serves(P(0))
    with_rewrites(epp, rewrite("r", "01", ("by-header",), Target("by-object")))
    new = json.dumps(json.loads(ask("m")) | {"model": "by-object"}, separators=(",", ":")).encode()

    await epp.transcript(
        (RH({REWRITE: "by-header"}),),
        (RB(ask("m")), H("192.168.1.1:8000", "by-object", len(new), removed=(REWRITE,)), B(new)),
    )


async def test_case_81_a_follower_is_alive_and_not_ready(epp: Picker, health: Health) -> None:
    assert epp.channel is not None
    stub = health_pb2_grpc.HealthStub(epp.channel)
    readiness = Readiness(lambda ready: health.set(ready=ready), "serving", "kubernetes", "leader")

    async def states() -> dict[str, Any]:
        ask_for = health_pb2.HealthCheckRequest
        return {name: (await stub.Check(ask_for(service=name))).status for name in HEALTH_NAMES}

    readiness.set("serving", True)
    readiness.set("kubernetes", True)
    follower = await states()
    readiness.set("leader", True)
    leader = await states()
    readiness.set("leader", False)
    unseated = await states()
    unknown = await stub.Watch(health_pb2.HealthCheckRequest(service="nobody")).read()

    alive = dict.fromkeys(HEALTH_NAMES, NOT_SERVING) | {"liveness": SERVING}
    assert follower == unseated == alive
    assert leader == dict.fromkeys(HEALTH_NAMES, SERVING)
    assert unknown.status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
