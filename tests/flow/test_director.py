"""The director behind a gate: what waits, what is refused and how, and what the pick is restricted to."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from epp.datastore.pool import Pool
from epp.director import Director
from epp.domain import Cost
from epp.flow.settings import FlowSettings, GatewayTimeouts
from epp.outcome import Answered, Routed
from epp.protocol.messages import Decide
from tests.flow import make
from tests.kubeapi import virtual
from tests.make import GET, POST, FixedChooser, chat, director, pool

TWO = {"a": ["llama3-8b"], "b": ["phi4-mini"]}


def ask(model: str = "llama3-8b", **headers: str) -> Decide:
    return Decide({**POST, **headers}, chat(model), None, timed=True)


def loop_now() -> float:
    return asyncio.get_running_loop().time()


def behind(over: Pool, settings: FlowSettings | None = None, rule: Any = None, **more: Any) -> Director:
    return director(over, now=loop_now, gate=make.gate(over, loop_now, rule, settings), **more)


async def routed(through: Director, ask: Decide, **more: Any) -> Routed:
    outcome = await through.decide(ask, **more)
    assert isinstance(outcome, Routed), outcome
    return outcome


def test_a_request_waits_for_its_model_and_says_for_how_long() -> None:
    async def main() -> None:
        over = pool("a", "b", models=TWO)
        through = behind(over)
        first = await routed(through, ask(**{"x-request-id": "r-0"}))
        waiting = asyncio.create_task(through.decide(ask()))
        await asyncio.sleep(3)
        assert first.lease is not None
        first.lease.close()
        second = await waiting

        assert isinstance(second, Routed)
        assert (second.receipt.waited_s, first.receipt.waited_s) == (3.0, 0.0)
        assert over.endpoints[0].inflight_requests == 1

    virtual.run(main())


def test_the_pick_is_among_those_that_have_room() -> None:
    async def main() -> None:
        over = pool("a", "b", models=TWO)
        through = behind(over, chooser=FixedChooser("llama3-8b", "phi4-mini"))
        await routed(through, ask(**{"x-request-id": "r-0"}))
        spilled = await routed(through, ask("auto"))

        assert spilled.receipt.model == "phi4-mini"
        assert spilled.receipt.waited_s == 0.0

    virtual.run(main())


def test_a_refusal_is_json_with_a_code_a_drop_reason_and_when_to_retry() -> None:
    async def main() -> None:
        over = pool("a", models=TWO)
        through = behind(over, rule=make.own_rule())
        for seconds in range(1, 4):
            over.lease(over.endpoints[0], Cost(work_s=seconds))
        refused = await through.decide(ask())

        assert isinstance(refused, Answered)
        headers = dict(refused.immediate.headers)
        assert refused.immediate.status == 429
        assert json.loads(refused.immediate.body)["error"]["code"] == "wait_too_long"
        assert json.loads(refused.immediate.body)["error"]["type"] == "rate_limit_error"
        assert headers["x-llm-d-request-dropped-reason"] == "rejected-saturated"
        assert headers["retry-after"] == "6"  # seconds of prefill

    virtual.run(main())


@pytest.mark.parametrize(
    ("timeouts", "asked_for", "waited_s"),
    [(GatewayTimeouts(2.0, 30.0), [30.0], 29.0), (GatewayTimeouts(2.0, 0.0), [], 1.6)],
    ids=["extended", "not extended"],
)
def test_a_wait_ends_before_the_gateways_does(
    timeouts: GatewayTimeouts, asked_for: list[float], waited_s: float
) -> None:
    async def main() -> None:
        over = pool("a", models=TWO)
        through = behind(over, FlowSettings(gateway=timeouts))
        await routed(through, ask(**{"x-request-id": "r-0"}))
        extended = []

        async def waits(seconds: float) -> None:
            extended.append(seconds)

        refused = await through.decide(ask(), waits=waits)

        assert isinstance(refused, Answered)
        assert extended == asked_for
        assert refused.receipt.outcome == "queue_timeout"
        assert loop_now() == pytest.approx(waited_s)

    virtual.run(main())


def test_a_gateway_that_waits_for_ever_is_kept_waiting_only_so_long() -> None:
    async def main() -> None:
        over = pool("a", models=TWO)
        through = behind(over, FlowSettings(wait_s_max=60.0))
        duplex = Decide({**POST, "x-request-id": "r-0"}, chat(), None)
        await routed(through, duplex)
        refused = await through.decide(Decide(POST, chat(), None))

        assert isinstance(refused, Answered)
        assert loop_now() == 60.0

    virtual.run(main())


def test_who_gives_up_while_it_waits_has_a_receipt_and_no_lease() -> None:
    async def main() -> None:
        over = pool("a", models=TWO)
        through = behind(over)
        first = await routed(through, ask(**{"x-request-id": "r-0"}))
        waiting = asyncio.create_task(through.decide(ask()))
        await asyncio.sleep(2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

        newest = next(through._receipts.latest(1))
        assert (newest["outcome"], newest["waited_s"]) == ("disconnected", 2.0)
        assert first.lease is not None
        first.lease.close()
        assert over.endpoints[0].inflight_requests == 0

    virtual.run(main())


def test_a_request_without_a_body_is_let_through_in_its_turn_too() -> None:
    async def main() -> None:
        over = pool("a", models=TWO)
        through = behind(over, FlowSettings(wait_s_max=5.0))
        await routed(through, ask(**{"x-request-id": "r-0"}))
        refused = await through.decide(Decide({**GET, ":path": "/health"}, b"", None))

        assert isinstance(refused, Answered)
        assert refused.receipt.outcome == "queue_timeout"

    virtual.run(main())


def test_the_clients_own_slo_is_what_its_wait_is_measured_by() -> None:
    async def main() -> None:
        over = pool("a", models=TWO)
        through = behind(over, rule=make.own_rule())
        for _ in range(2):
            over.lease(over.endpoints[0], Cost(work_s=1.0))
        refused = await through.decide(ask(**{"x-slo-ttft-ms": "500"}))
        assert isinstance(refused, Answered)
        assert refused.receipt.outcome == "wait_too_long"
        waiting = asyncio.create_task(through.decide(ask(**{"x-llm-d-slo-ttft-ms": "4000", "x-slo-ttft-ms": "500"})))
        await asyncio.sleep(1)
        assert not waiting.done()
        late = await waiting

        assert isinstance(late, Answered)
        assert late.receipt.outcome == "queue_timeout"
        # What it still had to do itself, 15 ms, would not fit any more 0.2 s before its SLO.
        assert 3.77 < loop_now() < 3.8

    virtual.run(main())


def test_an_unknown_model_is_not_waited_for() -> None:
    async def main() -> None:
        over = pool("a", models=TWO)
        through = behind(over, FlowSettings(hold_s=60.0))
        refused = await through.decide(ask("gpt-9"))

        assert isinstance(refused, Answered)
        assert refused.immediate.status == 404

    virtual.run(main())
