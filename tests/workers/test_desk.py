"""What a worker's streams hold is given back once, however they or the worker end; and what it counts adds up.

The streams' own tests (`tests/edge/test_stream.py`) run over these messages as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from epp.datastore.objects import Objective, PoolRef
from epp.datastore.policies import Policies
from epp.datastore.receipts import Receipts
from epp.domain import Receipt
from epp.flow.build import Place, llmd_gate, llmd_settings
from epp.outcome import Routed
from protos.gen import ext_proc_pb2 as pb
from tests.edge.test_stream import LIMIT, Peer, SlowChooser, opening, part, piece
from tests.make import FixedChooser, chat, pool


def apart(over: Any, chooser: Any = None, **more: Any) -> Peer:
    return Peer(over, chooser, apart=True, **more)


def held(over: Any) -> tuple[int, int]:
    return sum(e.inflight_requests for e in over.endpoints), sum(e.inflight_tokens for e in over.endpoints)


async def test_when_a_worker_dies_what_its_streams_held_is_given_back() -> None:
    over, receipts = pool("a"), Receipts()
    peer = apart(over, receipts=receipts)
    await peer.say(opening("duplex"), piece(chat("m")), part("response_headers"))
    before = held(over)
    assert peer.joined is not None
    peer.joined.die()

    assert before[0] == 1
    assert held(over) == (0, 0)
    assert len(peer.joined.desk) == 0
    assert next(receipts.latest(1))["outcome"] == "disconnected"
    assert peer.metric("onehop_request_outcome_total", outcome="disconnected") == 1
    assert peer.metric("llm_d_epp_extproc_streams_total", code="Unavailable") == 1
    assert peer.metric("llm_d_epp_request_running") == 0
    await peer.end(cancel=True)
    assert held(over) == (0, 0)


async def test_a_decision_that_a_dead_worker_waited_for_is_not_made() -> None:
    over, chooser = pool("a"), SlowChooser()
    peer = apart(over, chooser)
    await peer.say(opening("duplex"), piece(chat("auto")))
    assert peer.joined is not None
    waiting = len(peer.joined.desk)
    peer.joined.die()
    chooser.go.set()
    await asyncio.sleep(0.01)

    assert waiting == 1
    assert (held(over), len(peer.joined.desk)) == ((0, 0), 0)
    await peer.end(cancel=True)


async def test_an_answer_that_comes_when_nobody_waits_any_more_leaves_nothing() -> None:
    """The stream is cancelled while the decision is on its way to it."""
    over, chooser, receipts = pool("a"), SlowChooser(), Receipts()
    peer = apart(over, chooser, receipts=receipts)
    await peer.say(opening("duplex"), piece(chat("auto")))
    chooser.go.set()
    await asyncio.sleep(0)  # decided, and not told yet
    peer.task.cancel()
    await peer.end()
    await peer.settle()

    assert peer.joined is not None
    assert (held(over), len(peer.joined.desk)) == ((0, 0), 0)
    assert next(receipts.latest(1))["outcome"] == "disconnected"


async def test_a_refusal_by_the_worker_itself_has_a_receipt_under_the_id_that_the_client_got() -> None:
    receipts = Receipts()
    peer = apart(pool("a"), receipts=receipts)
    await peer.say(opening("duplex"), piece(b"x" * (LIMIT + 1), end=False))
    await peer.end()
    headers = peer.sent[-1].immediate_response.headers.set_headers
    told = next(h.header.raw_value.decode() for h in headers if h.header.key == "x-onehop-receipt")

    assert next(receipts.latest(1))["id"] == told
    assert peer.metric("llm_d_epp_request_error_total") == 1


async def test_what_workers_count_is_in_the_metrics_of_the_process_that_decides() -> None:
    peer = apart(pool("a"))
    await peer.say(opening("duplex"), piece(chat("m", stream=True)))
    await peer.say(part("response_headers"))
    await peer.say(*(piece(b"data: x\n\n", False, "response_body") for _ in range(5)))
    await peer.say(piece(b"data: [DONE]\n\n", True, "response_body"))
    await peer.end()

    assert peer.metric("llm_d_epp_extproc_streams_total", code="OK") == 1
    assert peer.metric("llm_d_epp_request_streaming_itl_seconds_count") == 5
    assert peer.metric("onehop_phase_seconds_count", phase="gather") == 1
    assert peer.metric("llm_d_epp_request_total") == 1


async def test_a_choice_by_the_headers_alone_gives_way_to_the_bodys() -> None:
    over, receipts = pool("a", "b"), Receipts()
    peer = apart(over, receipts=receipts)
    await peer.say(opening("streamed"), piece(chat("m"), True))
    during = held(over)[0]
    await peer.say(part("response_headers"), piece(b"", True, "response_body"))
    await peer.end()

    assert during == 1
    assert held(over) == (0, 0)
    assert sorted(r["outcome"] for r in receipts.latest(9)) == ["completed", "superseded"]
    assert len({r["picked"] for r in receipts.latest(9)}) == 1


async def test_the_first_piece_of_an_answer_is_told_when_it_is_there_and_not_at_the_end() -> None:
    """Speeds are learned from it."""
    at, heard = [5.0], []
    peer = apart(pool("a"), now=lambda: at[0])
    assert peer.joined is not None
    director = peer.joined.desk.deciding.directors[0]
    director.answered = lambda routed: heard.append(routed.receipt.first_answer_s)  # type: ignore[method-assign]
    await peer.say(opening("duplex"), piece(chat("m", stream=True)), part("response_headers"))
    before = [*heard]
    at[0] = 5.75
    await peer.say(piece(b"data: x\n\n", False, "response_body"))

    assert before == []
    assert heard == [0.75]
    await peer.end()


async def test_a_decision_that_takes_longer_has_the_gateway_asked_for_more_time() -> None:
    peer = apart(pool("a"))
    assert peer.joined is not None
    director = peer.joined.desk.deciding.directors[0]
    decide = director.decide

    async def slowly(ask: Any, prefer: Any, waits: Any) -> Any:
        await waits(7.0)
        return await decide(ask, prefer, waits)

    director.decide = slowly  # type: ignore[method-assign]
    await peer.say(opening("one hop"), piece(chat("m")))

    assert [message.override_message_timeout.seconds for message in peer.sent[1:]] == [7, 0]
    await peer.end()


async def test_a_defect_of_the_deciding_process_ends_the_stream_and_nothing_else() -> None:
    over = pool("a")
    peer = apart(over, FixedChooser("m"))
    assert peer.joined is not None

    async def broken(*_: object) -> None:
        raise RuntimeError("secret words")

    peer.joined.desk.deciding.directors[0].decide = broken  # type: ignore[method-assign,assignment]
    await peer.say(opening("duplex"), piece(chat("m")))

    with pytest.raises(Exception, match="Defect"):
        await peer.task
    assert len(peer.joined.desk) == 0
    assert peer.metric("onehop_surprise_total", type="RuntimeError") == 1


async def test_a_request_that_is_evicted_is_answered_429_by_its_worker() -> None:
    over, receipts = pool("a"), Receipts()
    over.policies = Policies(["ns/p"], [Objective("ns", "batch", PoolRef("inference.networking.k8s.io", "p"), -1)])
    gate = llmd_gate(
        Place(over, lambda key: over.endpoints, lambda: 0.0),
        flow_control=True,
        settings=llmd_settings(enable_eviction=True),
    )
    peer = apart(over, receipts=receipts, gate=gate)
    first = pb.ProcessingRequest.FromString(opening("duplex"))
    first.request_headers.headers.headers.add(key="x-gateway-inference-objective", raw_value=b"batch")
    await peer.say(first.SerializeToString(), piece(chat("m")))
    (running,) = gate.control.evictions._running
    running.evict()
    await peer.task
    await peer.settle()

    assert peer.sent[-1].immediate_response.status.code == 429
    assert held(over) == (0, 0)
    assert len(gate.control.evictions) == 0
    told = next(receipts.latest(1))
    assert (told["outcome"], told["status"]) == ("evicted", 429)


async def test_traces_follow_a_request_through_its_worker() -> None:
    tracer = Traced()
    peer = apart(pool("a"), tracer=tracer)
    await peer.say(opening("duplex"), piece(chat("m")), part("response_headers"), piece(b"x", True, "response_body"))
    await peer.end()

    assert tracer.told == ["start", "routed", "ended completed"]


class Traced:
    """A tracer and its only trace."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def start(self, headers: Mapping[str, str], began: float) -> Traced:
        self.told.append("start")
        return self

    def routed(self, routed: Routed) -> None:
        self.told.append("routed")

    def ended(self, receipt: Receipt) -> None:
        self.told.append(f"ended {receipt.outcome}")

    def abandoned(self) -> None:
        self.told.append("abandoned")
