"""The cases that flow control decides: who waits, who is refused and with what, who is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from epp.datastore.objects import Objective, PoolRef
from epp.datastore.policies import Policies
from epp.domain import Reason, Refused
from epp.flow.build import llmd_gate
from epp.flow.gate import Gate
from epp.flow.settings import FlowSettings, GatewayTimeouts
from epp.scheduling.framework import Profile, Query
from epp.scheduling.plugins.max_score import MaxScorePicker
from epp.scheduling.plugins.queue import QueueScorer
from tests.edge.until import until
from tests.flow import make
from tests.transcripts.picker import Call, Picker
from tests.transcripts.wire import AB, AH, BUFFERED, IR, NO_PODS, NONE, PB, PH, RB, RH, B, H, P, X, ask, expect

POOL = PoolRef("inference.networking.k8s.io", "p")
OBJECTIVE = "x-llm-d-inference-objective"
A, THIRD = "192.168.1.1:8000", "192.168.1.3:8000"
HI = ask("m", "hi")
W1 = (BUFFERED, NONE)
SHED = IR(429, "system saturated, sheddable request dropped", "shed", "rejected-saturated", "1")
LATE = IR(429, "request timed out in queue", "queue_timeout", "rejected-ttl-expired", "1")


def loop_now() -> float:
    return asyncio.get_running_loop().time()


def with_objectives(epp: Picker) -> None:
    objectives = (Objective("default", "batch", POOL, -1), Objective("default", "critical", POOL, 10))
    epp.pool.policies = Policies(["default/p"], objectives, ())


def one_place(epp: Picker, **settings: Any) -> Gate:
    """One endpoint, one request at a time."""
    bounds = FlowSettings(**{"wait_s_max": 30.0, **settings})
    gate = make.gate(epp.pool, loop_now, make.Slots(1), bounds, epp.telemetry.meter("p"))
    epp.telemetry.watch("p", gate)
    epp.serves(P(0), gate=gate, now=loop_now)
    with_objectives(epp)
    return gate


@asynccontextmanager
async def full(epp: Picker, objective: str | None = None) -> AsyncIterator[Call]:
    """While a request holds the place."""
    call = epp.open()
    await call.tell(RH({"x-request-id": "first", **({OBJECTIVE: objective} if objective else {})}))
    await call.tell(RB(HI))
    assert epp.inflight == [1]
    yield call
    await call.finish()


async def waiting(epp: Picker, gate: Gate, *modes: int, **headers: str) -> tuple[Call, asyncio.Task[Any]]:
    """A request that waits, and what it will be told."""
    call = epp.open()
    await call.tell(RH(headers, modes=modes or (4, 4)))
    task = asyncio.create_task(call.tell(RB(HI)))
    await until(lambda: len(gate) == 1)
    return call, task


async def test_case_55_a_sheddable_request_is_cut_off_for_another(epp: Picker) -> None:
    one_place(epp, evict=True)
    async with full(epp, "batch") as batch:
        await batch.says((PH("text/event-stream"), AH("m")), (PB(b"data: 1\n\n", eos=False), AB(b"data: 1\n\n", False)))
        cut = asyncio.create_task(batch.hears())
        await epp.transcript((RH(),), (RB(HI), H(A, "m"), B(HI)))

        expect(await cut, [IR(429, "request evicted by flow control", "evicted", "evicted", "1")])
    assert epp.metric("llm_d_epp_flow_control_revocations_issued_total", priority="-1") == 1


async def test_case_55_a_complete_answer_is_not_cut_off(epp: Picker) -> None:
    one_place(epp, evict=True, wait_s_max=0.05)
    async with full(epp, "batch") as batch:
        await batch.says((PH(), AH("m")), (PB(b"{}"), AB(b"{}")))
        await epp.transcript((RH(),), (RB(HI), LATE))


class Unprepared(QueueScorer):
    """Cannot do what it does when the choice is made."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Callable[[], Exception] = ValueError  # made when it is raised: a kept one keeps the whole stream

    def picked(self, query: Query, endpoint: Any) -> None:
        raise self.error()


async def test_case_66_a_plugin_that_refuses_the_choice_is_heard_and_one_that_fails_is_passed_by(epp: Picker) -> None:
    scorer = Unprepared()
    epp.serves(P(0), profile=Profile("unprepared", scorers=[(scorer, 1.0)], picker=MaxScorePicker()))
    await epp.transcript((RH(),), (RB(HI), H(A), B(HI)))
    scorer.error = lambda: Refused(Reason.NO_ENDPOINTS, "the prefill worker is gone")

    refused = IR(503, "the prefill worker is gone", "no_endpoints", "rejected-no-endpoints", "1")
    await epp.transcript((RH(),), (RB(HI), refused))


@pytest.mark.parametrize(
    ("objective", "queue", "answer"),
    [("batch", 5, SHED), ("batch", 4, None), (None, 5, None), ("critical", 5, None)],
    ids=["sheddable, full", "sheddable, not full", "normal, full", "critical, full"],
)
async def test_case_69_what_may_be_shed_is_refused_when_all_is_full(
    epp: Picker, objective: str | None, queue: int, answer: IR | None
) -> None:
    epp.serves(P(0, queue), gate=llmd_gate(make.place(epp.pool, lambda: 0.0), flow_control=False))
    with_objectives(epp)
    named = {OBJECTIVE: objective} if objective else {}
    goes_on = (RB(HI), H(A, "m", removed=tuple(named)), B(HI))

    await epp.transcript((RH(named),), goes_on if answer is None else (RB(HI), answer))


async def test_case_69_without_any_endpoint_it_is_503_for_everybody(epp: Picker) -> None:
    epp.serves(gate=llmd_gate(make.place(epp.pool, lambda: 0.0), flow_control=False))
    with_objectives(epp)

    await epp.transcript((RH({OBJECTIVE: "batch"}),), (RB(HI), NO_PODS))


async def test_case_70_a_request_that_waits_is_let_go_when_there_is_room(epp: Picker) -> None:
    gate = one_place(epp)
    async with full(epp):
        call, told = await waiting(epp, gate)
    expect(await told, [H(A, "m"), B(HI)])
    await call.finish()

    assert epp.receipt is not None
    assert epp.receipt.waited_s is not None
    assert epp.receipt.waited_s > 0


@pytest.mark.parametrize("more_s", [30.0, 0.0], ids=["extended", "nothing to extend"])
async def test_case_70_where_the_gateway_counts_the_seconds_it_is_asked_for_more(epp: Picker, more_s: float) -> None:
    one_place(epp, wait_s_max=0.05, gateway=GatewayTimeouts(2.0, more_s))
    async with full(epp):
        extended = [X(30.0)] if more_s else []
        await epp.transcript((RH(modes=W1), H()), (RB(HI), *extended, LATE))


async def test_case_70_a_wait_ends_in_time_where_the_gateway_bears_little(epp: Picker) -> None:
    one_place(epp, gateway=GatewayTimeouts(0.1, 0.0))
    async with full(epp):
        began = loop_now()
        await epp.transcript((RH(modes=W1), H()), (RB(HI), LATE))

        assert 0.07 < loop_now() - began < 0.1 + 1.0  # a crowded machine is not what is tested


async def test_case_70_a_full_queue_is_429(epp: Picker) -> None:
    gate = one_place(epp, requests_max=1)
    async with full(epp):
        call, told = await waiting(epp, gate)
        refused = IR(429, "too many requests wait already", "queue_full", "rejected-saturated", "1")
        await epp.transcript((RH({"x-request-id": "third"}),), (RB(HI), refused))
    await told
    await call.finish()


async def test_case_70_a_higher_priority_takes_the_place_of_a_lower_one(epp: Picker) -> None:
    gate = one_place(epp, requests_max=1)
    async with full(epp):
        _, displaced = await waiting(epp, gate, **{OBJECTIVE: "batch"})
        call = epp.open()
        await call.tell(RH({"x-request-id": "third", OBJECTIVE: "critical"}))
        told = asyncio.create_task(call.tell(RB(HI)))
        message = "another request was given the place in the queue"

        expect(await displaced, [IR(429, message, "displaced", "evicted-queue-pressure", "1")])
    await told
    await call.finish()


async def test_case_70_time_over_is_429_and_over_an_empty_pool_503(epp: Picker) -> None:
    one_place(epp, wait_s_max=0.05, hold_s=0.05)
    async with full(epp):
        await epp.transcript((RH(),), (RB(HI), LATE))
    epp.lists()
    nobody = IR(
        503,
        "request timed out in queue and no endpoints are available",
        "no_endpoints",
        "rejected-no-endpoints",
        "1",
    )

    await epp.transcript((RH(),), (RB(HI), nobody))


async def test_case_70_a_pool_that_grows_from_zero_serves_those_that_waited(epp: Picker) -> None:
    gate = one_place(epp, hold_s=30.0)
    epp.lists()
    call, told = await waiting(epp, gate)
    assert epp.metric("llm_d_epp_flow_control_queue_size", inference_pool="p") == 1
    epp.lists(P(0))
    gate.wake()

    expect(await told, [H(A, "m"), B(HI)])
    await call.finish()


async def test_case_70_a_client_that_gives_up_while_it_waits_leaves_nothing(epp: Picker) -> None:
    gate = one_place(epp)
    async with full(epp):
        call, told = await waiting(epp, gate)
        told.cancel()
        await call.reset()
        await until(lambda: len(gate) == 0)

        assert len(gate.control.queues) == 0
        assert epp.inflight == [1]
        assert epp.receipt is not None
        assert epp.receipt.outcome == "disconnected"
        assert epp.metric("llm_d_epp_flow_control_requests_total", outcome="EvictedContextCancelled") == 1


async def test_case_70_shutting_down_is_503(epp: Picker) -> None:
    gate = one_place(epp)
    async with full(epp):
        _, told = await waiting(epp, gate)
        gate.close()
        down = IR(503, "this picker is shutting down", "shutting_down", "rejected-shutting-down", "1")
        expect(await told, [down])
        await epp.transcript((RH({"x-request-id": "third"}),), (RB(HI), down))


async def test_case_70_a_defect_of_flow_control_is_a_plain_pick(epp: Picker) -> None:
    class Broken(make.Slots):
        def room(self, *_: Any) -> Any:
            raise ZeroDivisionError

    epp.serves(P(0), gate=make.gate(epp.pool, loop_now, Broken()), now=loop_now)

    await epp.transcript((RH(),), (RB(HI), H(A), B(HI)))


async def test_case_87_a_request_without_body_is_shed_and_waits_like_any_other(epp: Picker) -> None:
    epp.serves(P(0, 9), P(1, 9), P(2, 9), gate=llmd_gate(make.place(epp.pool, lambda: 0.0), flow_control=False))
    with_objectives(epp)

    def get(**headers: str) -> RH:
        return RH(headers, eos=True, method="GET", path="/health", subset=[THIRD])

    await epp.transcript((get(**{OBJECTIVE: "batch"}), SHED))
    await epp.transcript((get(), H(THIRD)))

    one_place(epp, wait_s_max=0.05)
    async with full(epp):
        await epp.transcript((RH(eos=True, method="GET", path="/health"), LATE))
