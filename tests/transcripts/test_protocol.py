"""The cases of the reference's table that are about headers, limits, health and how a stream ends."""

from __future__ import annotations

from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from epp.datastore.objects import POOL_GROUP, Objective, PoolRef
from epp.datastore.policies import Policies
from epp.edge.health import HEALTH_NAMES, Health
from epp.edge.members import PODS
from epp.edge.wanted import Wanted
from epp.protocol.headers import OBJECTIVE
from tests.edge.test_cluster import POOLS, following, pod, pool
from tests.edge.until import until
from tests.kubeapi.server import ApiServer
from tests.transcripts.picker import Picker
from tests.transcripts.wire import AB, AH, IR, OLD_REWRITE, PB, PH, RB, REWRITE, RH, B, H, P, ask, pieces

HI = ask("m", "hi")
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


async def test_case_39_the_subset_of_the_last_message_that_has_one_counts(epp: Picker) -> None:
    epp.serves(P(0), P(1))
    first, second = ["192.168.1.1:8000"], ["192.168.1.2:8000"]

    await epp.transcript((RH(subset=first),), (RB(HI, subset=second), H("192.168.1.2:8000", "m"), B(HI)))
    for subset in (first, second):
        await epp.transcript((RH(subset=subset),), (RB(HI), H(f"{subset[0]}", "m"), B(HI)))


async def test_case_40_counting_tokens_is_passed_through_and_the_stream_stays_open(epp: Picker) -> None:
    epp.serves(P(0))
    body = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'

    await epp.transcript(
        (RH(path="/v1/messages/count_tokens"),),
        (RB(body), H("192.168.1.1:8000", "m"), B(body)),
        (PH(), AH("m")),
        (PB(b'{"input_tokens":9}'), AB(b'{"input_tokens":9}')),
    )


async def test_case_41_a_body_of_5_mb_is_fine_and_one_above_the_limit_is_413(epp: Picker) -> None:
    epp.serves(P(0), request_bytes_max=6 << 20)
    large, larger = ask("m", "x" * (5 << 20)), ask("m", "x" * (6 << 20))
    refused = IR(413, f"the request body is larger than {6 << 20} bytes", "body_too_large")

    await epp.transcript((RH(),), (RB(large), H("192.168.1.1:8000", "m"), *pieces(large)))
    await epp.transcript((RH(),), (RB(larger), refused))
    await epp.transcript((RH({"content-length": str(len(larger))}), refused))
    await epp.transcript((RH(),), (RB(large, eos=False),), (RB(large), refused))


@pytest.mark.parametrize(("raw", "value"), [(b"new", ""), (b"", "new"), (b"new", "old")])
async def test_case_42_a_headers_name_is_read_in_any_case_and_its_raw_value_first(
    epp: Picker, raw: bytes, value: str
) -> None:
    epp.serves(P(0))
    new = ask("new")

    await epp.transcript(
        (RH(both=[(REWRITE.title(), raw, value)]),),
        (RB(ask()), H("192.168.1.1:8000", "new", len(new), removed=(REWRITE,)), B(new)),
    )


@pytest.mark.parametrize("headers", [{REWRITE: "new", OLD_REWRITE: "old"}, {OLD_REWRITE: "new"}, {REWRITE: "new"}])
async def test_case_43_the_newer_name_of_a_header_wins_and_the_older_one_counts(
    epp: Picker, headers: dict[str, str]
) -> None:
    epp.serves(P(0))
    new = ask("new")

    await epp.transcript(
        (RH(headers),),
        (RB(ask()), H("192.168.1.1:8000", "new", len(new), removed=tuple(sorted(headers))), B(new)),
    )


async def test_case_44_what_only_we_may_say_is_taken_from_the_client(epp: Picker) -> None:
    epp.serves(P(0))
    new = ask("new")
    evil = {
        "x-gateway-destination-endpoint": "6.6.6.6:666",
        "x-selected-model": "evil",
        "content-length": "5",
        REWRITE: "new",
    }
    gone = {
        "x-gateway-destination-endpoint-scores",
        "x-gateway-destination-endpoint-served",
        "x-gateway-destination-endpoint-subset",
        "x-gateway-inference-fairness-id",
        "x-gateway-inference-objective",
        "x-gateway-model-name-rewrite",
        "x-llm-d-inference-fairness-id",
        "x-llm-d-inference-objective",
        "x-llm-d-request-dropped-reason",
        "x-llm-d-slo-tpot-ms",
        "x-llm-d-slo-ttft-ms",
        "x-slo-tpot-ms",
        "x-slo-ttft-ms",
    }

    await epp.transcript(
        (RH({**evil, **dict.fromkeys(gone, "evil")}),),
        (RB(ask()), H("192.168.1.1:8000", "new", len(new), removed=tuple(sorted({*gone, REWRITE}))), B(new)),
    )


@pytest.mark.parametrize(
    ("headers", "priority"),
    [({OBJECTIVE[0]: "gold", OBJECTIVE[1]: "batch"}, 7), ({OBJECTIVE[1]: "batch"}, -1), ({OBJECTIVE[0]: "gold"}, 7)],
)
async def test_case_43_the_newer_name_of_the_objective_wins_too(
    epp: Picker, headers: dict[str, str], priority: int
) -> None:
    ref = PoolRef(POOL_GROUP, "p")
    epp.serves(P(0))
    epp.pool.policies = Policies(
        ["default/p"], [Objective("default", "gold", ref, 7), Objective("default", "batch", ref, -1)]
    )
    body = ask("m")
    await epp.transcript(
        (RH(headers),), (RB(body), H("192.168.1.1:8000", "m", removed=tuple(sorted(headers))), B(body))
    )

    assert epp.receipt is not None
    assert epp.receipt.priority == priority


async def test_case_46_the_gateway_is_told_every_score_where_it_is_asked_for(epp: Picker) -> None:
    epp.serves(P(0, 0, 0.1), P(1, 5, 0.5), scores=True)
    call = epp.open()
    await call.says((RH(),))
    headers, _ = await call.tell(RB(HI))
    await call.finish()

    told = dict(headers.dynamic_metadata["envoy.lb"])
    scores = dict(told.pop("x-gateway-destination-endpoint-scores"))
    assert told == {"x-gateway-destination-endpoint": "192.168.1.1:8000"}
    assert scores.keys() == {"192.168.1.1:8000", "192.168.1.2:8000"}
    assert scores["192.168.1.1:8000"] > scores["192.168.1.2:8000"] > 0


async def test_case_80_a_pool_of_a_protocol_that_is_not_read_is_not_served(epp: Picker, health: Health) -> None:
    told: list[bool] = []
    async with ApiServer(POOLS, PODS) as api:
        other = pool("vllm")
        other["spec"]["appProtocol"] = "kubernetes.io/h2c"
        api.put(POOLS, "llm", "p", other)
        api.put(PODS, "llm", "a", pod("vllm", "10.0.0.1"))
        async with following(api, Wanted("llm", named=frozenset({"llm/p"}))) as seen:

            def on_ready(ready: bool) -> None:
                told.append(ready)
                health.set(ready=ready)

            seen.cluster.on_ready = on_ready
            await until(lambda: "inferencepools" in seen.conditions)
            mismatch = await readiness(epp)
            api.put(POOLS, "llm", "p", pool("vllm"))
            await until(lambda: told)
            match = await readiness(epp)

    assert (mismatch, match, told) == (NOT_SERVING, SERVING, [True])


async def readiness(epp: Picker) -> Any:
    """What health says on the ext_proc port."""
    assert epp.channel is not None
    ask_for = health_pb2.HealthCheckRequest(service="readiness")
    return (await health_pb2_grpc.HealthStub(epp.channel).Check(ask_for)).status


async def test_case_47_the_metadata_is_the_destination_and_nothing_else(epp: Picker) -> None:
    epp.serves(P(0, 0, 0.1), P(1, 5, 0.5))
    call = epp.open()
    await call.says((RH(),))
    headers, _ = await call.tell(RB(HI))
    await call.finish()

    assert dict(headers.dynamic_metadata["envoy.lb"]) == {"x-gateway-destination-endpoint": "192.168.1.1:8000"}


async def test_case_48_trace_context_is_carried_through(epp: Picker) -> None:
    epp.serves(P(0))
    trace = {
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "tracestate": "congo=t61rcWkgMzE",
        "baggage": "tenant=blue",
    }

    # What is neither set nor removed reaches the backend as it came.
    await epp.transcript((RH(trace),), (RB(HI), H("192.168.1.1:8000", "m"), B(HI)))


async def test_case_80_health_follows_readiness(epp: Picker, health: Health) -> None:
    assert epp.channel is not None
    stub = health_pb2_grpc.HealthStub(epp.channel)

    async def states() -> dict[str, Any]:
        ask_for = health_pb2.HealthCheckRequest
        return {name: (await stub.Check(ask_for(service=name))).status for name in HEALTH_NAMES}

    unsynced = await states()
    health.set(ready=True)
    synced = await states()
    health.set(ready=False)
    draining = await states()

    alive = dict.fromkeys(HEALTH_NAMES, NOT_SERVING) | {"liveness": SERVING}
    assert unsynced == alive
    assert synced == dict.fromkeys(HEALTH_NAMES, SERVING)
    assert draining == alive
