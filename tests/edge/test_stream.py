"""One stream, however it ends: the ledger gives everything back.

A state machine opens streams in every dialect, moves them on message by message, and ends them in every way a stream
can end; after each step the ledger must equal the streams that hold an endpoint.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from traceback import format_exception
from types import CoroutineType, FunctionType, ModuleType
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from epp.datastore.objects import Objective, PoolRef
from epp.datastore.policies import Policies
from epp.datastore.receipts import Receipts
from epp.director import Rules
from epp.domain import Choice, Endpoint, Request
from epp.edge.methods import Reading
from epp.edge.stream import Defect, Disconnected, Shared, Stream
from epp.edge.tracing import Tracer
from epp.flow.gate import Gate
from epp.protocol.codec import BadMessage
from epp.protocol.exchange import Buffers
from epp.protocol.identity import source
from epp.scheduling.framework import Answer, Filter, Profile, Query
from epp.scheduling.plugins.max_score import MaxScorePicker
from epp.telemetry import Telemetry
from protos.gen import ext_proc_pb2 as pb
from tests.make import FixedChooser, chat, director, fleet, pool
from tests.workers.joined import Joined

MODES = {"duplex": (4, 4, False), "one hop": (2, 0, False), "streamed": (1, 1, False), "eager": (1, 0, True)}
LIMIT = 10_000
SAID = "what somebody asked"


def opening(modes: str = "duplex", end: bool = False) -> bytes:
    message = pb.ProcessingRequest()
    config = message.protocol_config
    config.request_body_mode, config.response_body_mode = MODES[modes][:2]  # type: ignore[assignment]
    config.send_body_without_waiting_for_header_response = MODES[modes][2]
    headers = {":method": "GET" if end else "POST", ":path": "/v1/other" if end else "/v1/chat/completions"}
    for key, value in headers.items():
        message.request_headers.headers.headers.add(key=key, raw_value=value.encode())
    message.request_headers.end_of_stream = end
    return message.SerializeToString()


def piece(data: bytes, end: bool = True, side: str = "request_body") -> bytes:
    message = pb.ProcessingRequest()
    body = getattr(message, side)
    body.body, body.end_of_stream = data, end
    return message.SerializeToString()


def part(side: str) -> bytes:
    message = pb.ProcessingRequest()
    getattr(message, side).SetInParent()
    if side == "response_headers":
        message.response_headers.headers.headers.add(key=":status", raw_value=b"200")
    return message.SerializeToString()


def answer_head(end: bool = False, **headers: str) -> bytes:
    message = pb.ProcessingRequest()
    for key, value in {":status": "200", **headers}.items():
        message.response_headers.headers.headers.add(key=key.replace("_", "-"), raw_value=value.encode())
    message.response_headers.end_of_stream = end
    return message.SerializeToString()


class Clock:
    """Moves when told to."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


class SlowChooser(FixedChooser):
    """A semantic stage that answers when told to."""

    def __init__(self) -> None:
        super().__init__("m")
        self.go = asyncio.Event()

    async def choose(self, request: Request) -> Choice:
        await self.go.wait()
        return await super().choose(request)


class Peer:
    """The gateway's end of one stream: what it sends is read, what is written is kept.

    The director is in this process or, `apart`, reached as workers reach it.
    """

    where_apart: ClassVar[bool] = False

    def __init__(
        self,
        over: Any,
        chooser: Any = None,
        *,
        jam: bool = False,
        shared: Shared | None = None,
        receipts: Receipts | None = None,
        gone: bool = False,
        now: Callable[[], float] = lambda: 0.0,
        rules: Rules | None = None,
        profile: Profile | None = None,
        apart: bool | None = None,
        gate: Gate | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self.apart = Peer.where_apart if apart is None else apart
        self.inbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.sent: list[pb.ProcessingResponse] = []
        self.gone = gone
        self.jam = jam
        self.telemetry = telemetry = Telemetry(fleet(over))
        decides = director(
            over,
            chooser,
            profile=profile,
            telemetry=telemetry,
            receipts=receipts or Receipts(),
            now=now,
            rules=rules,
            gate=gate,
        )
        shared = shared or Shared(Buffers(LIMIT, 10 * LIMIT))
        self.joined = Joined(decides, telemetry, now, tracer) if self.apart else None
        if self.joined is None:
            stream = Stream(decides, telemetry, now, shared)
        else:
            stream = Stream(self.joined.far, self.joined.counts, now, shared)
        self.task = asyncio.get_running_loop().create_task(stream.run(self.inbox.get, self._write))

    async def _write(self, data: bytes) -> None:
        if self.gone:
            raise Disconnected
        if self.jam:
            await asyncio.Event().wait()
        self.sent.append(pb.ProcessingResponse.FromString(data))

    @property
    def holds_an_endpoint(self) -> bool:
        """What the gateway was told: a destination, and no refusal after it."""
        routed = any(message.HasField("dynamic_metadata") for message in self.sent)
        return routed and not any(message.HasField("immediate_response") for message in self.sent)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        samples = [s for family in self.telemetry.registry.collect() for s in family.samples if s.name == name]
        return sum(s.value for s in samples if labels.items() <= s.labels.items())

    async def say(self, *messages: bytes | None) -> None:
        for message in messages:
            self.inbox.put_nowait(message)
        for _ in range(30 if self.apart else 12):
            await asyncio.sleep(0)

    async def end(self, cancel: bool = False) -> None:
        if cancel:
            self.task.cancel()
        else:
            self.inbox.put_nowait(None)
        await asyncio.gather(self.task, return_exceptions=True)
        await self.settle()

    async def settle(self) -> None:
        """What workers say takes a moment to arrive."""
        if self.joined is not None:
            await self.joined.settle()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Everything here holds wherever the director is."""
    metafunc.parametrize("where", ["here", "apart"], indirect=True)


@pytest.fixture(autouse=True)
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Peer, "where_apart", getattr(request, "param", "here") == "apart")


async def test_a_request_is_counted_from_the_choice_to_the_end_of_its_stream() -> None:
    over = pool("a")
    peer = Peer(over)
    await peer.say(opening("one hop"), piece(chat("m")))
    (endpoint,) = over.endpoints
    chosen = (endpoint.inflight_requests, endpoint.inflight_tokens > 0)
    await peer.say(part("response_headers"))
    answered = (endpoint.inflight_requests, endpoint.inflight_tokens)
    await peer.end()

    assert chosen == (1, True)
    assert answered == (1, 0)
    assert (endpoint.inflight_requests, endpoint.inflight_tokens) == (0, 0)


@dataclass(slots=True)
class Listening(Filter):
    """Hears how requests went."""

    type: ClassVar[str] = "listening"
    heard: list[tuple[int | None, str | None, bool]] = field(default_factory=list)

    def keep(self, query: Query, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        return list(endpoints)

    def ended(self, query: Query, endpoint: Endpoint, answer: Answer) -> None:
        self.heard.append((answer.status, answer.fault, answer.whole))


@pytest.mark.parametrize(
    ("status", "details", "expected"),
    [
        ("200", "via_upstream", (200, None, True)),
        ("503", "via_upstream", (503, "unavailable", True)),
        ("503", "upstream_reset_before_response_started{connection_failure}", (503, "connect", True)),
        ("504", "upstream_response_timeout", (504, "timeout", True)),
        ("404", "", (404, None, True)),
        (None, "", (None, None, False)),
    ],
)
async def test_plugins_are_told_whose_fault_an_answer_was(
    status: str | None, details: str, expected: tuple[int | None, str | None, bool]
) -> None:
    over, listening, receipts = pool("a"), Listening(), Receipts()
    peer = Peer(over, receipts=receipts, profile=Profile("test", filters=(listening,), picker=MaxScorePicker()))
    await peer.say(opening("one hop"), piece(chat("m")))
    if status is not None:
        message = pb.ProcessingRequest.FromString(answer_head(**{":status": status}))
        message.attributes["envoy.filters.http.ext_proc"].update({"response.code_details": details})
        await peer.say(message.SerializeToString())
    await peer.end()

    assert listening.heard == [expected]
    assert next(receipts.latest(1))["fault"] == expected[1]


async def test_tokens_are_held_until_the_first_body_piece_where_bodies_are_shown() -> None:
    over = pool("a")
    peer = Peer(over)
    await peer.say(opening("duplex"), piece(chat("m")), part("response_headers"))
    waiting = over.endpoints[0].inflight_tokens
    await peer.say(piece(b"data", False, "response_body"))

    assert waiting > 0
    assert over.endpoints[0].inflight_tokens == 0
    await peer.end()


@pytest.mark.parametrize("messages", [0, 1, 2, 3])
async def test_a_cancel_at_each_wait_for_a_message_gives_everything_back(messages: int) -> None:
    over = pool("a")
    peer = Peer(over)
    script = [opening(), piece(chat("m")), part("response_headers")]
    await peer.say(*script[:messages])
    await peer.end(cancel=True)

    assert peer.task.cancelled()
    assert (over.endpoints[0].inflight_requests, over.endpoints[0].inflight_tokens) == (0, 0)


async def test_a_cancel_while_the_semantic_stage_thinks_leases_nothing() -> None:
    over = pool("a")
    chooser = SlowChooser()
    peer = Peer(over, chooser)
    await peer.say(opening(), piece(chat("auto")))
    await peer.end(cancel=True)
    chooser.go.set()
    await asyncio.sleep(0)

    assert over.endpoints[0].inflight_requests == 0


async def test_a_cancel_while_the_answer_is_written_gives_everything_back() -> None:
    over = pool("a")
    peer = Peer(over, jam=True)
    await peer.say(opening(), piece(chat("m")))
    held = over.endpoints[0].inflight_requests
    await peer.end(cancel=True)

    assert held == 1
    assert over.endpoints[0].inflight_requests == 0


async def test_bytes_that_are_no_message_end_the_stream_and_give_everything_back() -> None:
    over = pool("a")
    peer = Peer(over)
    await peer.say(opening(), piece(chat("m")), b"\xff\xff")

    with pytest.raises(BadMessage):
        await peer.task
    assert over.endpoints[0].inflight_requests == 0


async def test_too_large_a_body_is_answered_413_as_json() -> None:
    peer = Peer(pool("a"))
    await peer.say(opening(), piece(b"x" * (LIMIT + 1), end=False))
    answer = peer.sent[-1].immediate_response

    assert answer.status.code == 413
    assert b'"code":"body_too_large"' in answer.body
    await peer.end()


async def test_what_is_refused_before_the_choice_is_its_tenants_and_has_its_priority() -> None:
    over = pool("a")
    ref = PoolRef("inference.networking.k8s.io", "p")
    over.policies = Policies(["ns/p"], [Objective("ns", "batch", ref, -1)])
    by_attribute = Rules(tenant=source("attribute:xds.route_name", ()), objective=source("attribute:team", ()))
    peer = Peer(over, rules=by_attribute)
    first = pb.ProcessingRequest.FromString(opening())
    first.attributes["envoy.filters.http.ext_proc"].update({"xds.route_name": "team-a", "team": "batch"})
    await peer.say(first.SerializeToString(), piece(b"x" * (LIMIT + 1), end=False))
    await peer.end()

    errors = "llm_d_epp_request_error_total"
    assert peer.metric(errors, fairness_id="team-a", priority="-1") == peer.metric(errors) == 1


async def test_a_body_that_stands_still_is_answered_408_and_the_stream_ends() -> None:
    buffers = Buffers(LIMIT, LIMIT)
    peer = Peer(pool("a"), shared=Shared(buffers, body_idle_s=0.01))
    await peer.say(opening("duplex"), piece(b'{"model"', end=False))
    await peer.task
    answer = peer.sent[-1].immediate_response

    assert answer.status.code == 408
    assert b'"code":"request_timeout"' in answer.body
    assert buffers.held == 0


@pytest.mark.parametrize(("modes", "messages"), [("duplex", [piece(chat("m"))]), ("one hop", [])])
async def test_waiting_for_an_answer_or_for_envoys_buffer_is_not_timed(modes: str, messages: list[bytes]) -> None:
    peer = Peer(pool("a"), shared=Shared(Buffers(LIMIT, LIMIT), body_idle_s=0.01))
    await peer.say(opening(modes), *messages)
    await asyncio.sleep(0.05)

    assert not peer.task.done()
    await peer.end()


async def test_no_body_is_kept_while_its_answer_is_waited_for() -> None:
    over = pool("a")
    mark = "a prompt found nowhere else " * 40
    peer = Peer(over, FixedChooser("phi4-mini"))
    await peer.say(opening("duplex"), piece(chat("auto", mark)))
    forwarded = mark.encode() in b"".join(
        m.request_body.response.body_mutation.streamed_response.body for m in peer.sent
    )
    peer.sent.clear()
    stack = peer.task.get_coro()
    seen: set[int] = set()
    todo: list[Any] = [stack]
    kept = []
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, (type, ModuleType)):
            continue
        seen.add(id(thing))
        if isinstance(thing, bytes) and mark.encode() in thing:
            kept.append(thing)
        if isinstance(thing, CoroutineType) and thing.cr_frame is not None:
            todo += [*thing.cr_frame.f_locals.values(), thing.cr_await]
        elif not isinstance(thing, FunctionType):
            todo += gc.get_referents(thing)

    assert forwarded
    assert kept == []
    await peer.end()


async def test_a_stalled_client_that_is_gone_ends_the_stream_quietly() -> None:
    peer = Peer(pool("a"), shared=Shared(Buffers(LIMIT, LIMIT), body_idle_s=0.01), gone=True)
    await peer.say(opening("duplex"), piece(b'{"model"', end=False))
    await peer.task


async def test_a_second_choice_replaces_the_first_ones_lease() -> None:
    over = pool("a", "b")
    peer = Peer(over)
    await peer.say(opening("streamed"))
    first = sum(e.inflight_requests for e in over.endpoints)
    await peer.say(piece(chat("m")))

    assert first == 1
    assert sum(e.inflight_requests for e in over.endpoints) == 1
    await peer.end()
    assert sum(e.inflight_requests for e in over.endpoints) == 0


async def test_the_pieces_of_a_streamed_answer_are_timed_from_one_to_the_next() -> None:
    clock = Clock()
    peer = Peer(pool("a"), now=clock)
    await peer.say(opening("duplex"), piece(chat("m", stream=True)), answer_head(content_type="text/event-stream"))
    for at in (1.0, 1.5, 3.5):
        clock.at = at
        await peer.say(piece(b"data: x\n\n", False, "response_body"))
    clock.at = 9.0
    await peer.say(piece(b"", True, "response_body"))
    await peer.end()

    assert peer.metric("llm_d_epp_request_streaming_itl_seconds_count") == 2
    assert peer.metric("llm_d_epp_request_streaming_itl_seconds_sum") == 2.5
    assert peer.metric("llm_d_epp_request_ttft_seconds_sum", streaming="true") == 1.0


async def test_an_answer_that_is_a_stream_by_its_headers_alone_counts_as_one() -> None:  # row 38
    peer = Peer(pool("a"))
    await peer.say(opening("duplex"), piece(chat("m")), answer_head(content_type="text/event-stream"))
    await peer.say(*[piece(b"data: x\n\n", False, "response_body")] * 2)
    await peer.end()

    assert peer.metric("llm_d_epp_request_streaming_itl_seconds_count") == 1
    assert peer.metric("llm_d_epp_request_ttft_seconds_count", streaming="true") == 1


async def test_an_answer_in_pieces_that_is_no_stream_has_no_pace() -> None:
    peer = Peer(pool("a"))
    await peer.say(opening("duplex"), piece(chat("m")), answer_head(content_type="application/json"))
    await peer.say(*[piece(b"{", False, "response_body")] * 2)
    await peer.end()

    assert peer.metric("llm_d_epp_request_streaming_itl_seconds_count") == 0


async def test_an_answer_of_headers_alone_begins_and_ends_with_them() -> None:
    over = pool("a")
    peer = Peer(over)
    await peer.say(opening("duplex"), piece(chat("m")), answer_head(end=True))
    tokens = over.endpoints[0].inflight_tokens
    await peer.end(cancel=True)

    assert tokens == 0
    assert peer.metric("onehop_request_outcome_total", outcome="completed") == 1
    assert peer.metric("llm_d_epp_request_ttft_seconds_count") == 1


async def test_a_body_that_was_asked_for_and_not_granted_is_not_missed() -> None:
    over = pool("a")
    peer = Peer(over, shared=Shared(Buffers(LIMIT, LIMIT), sample_every=1))
    await peer.say(opening("one hop"), piece(chat("m")), answer_head())
    asked = peer.sent[-1].HasField("mode_override")
    tokens = over.endpoints[0].inflight_tokens
    await peer.end()

    assert asked
    assert tokens == 0
    assert peer.metric("onehop_request_outcome_total", outcome="completed") == 1
    assert peer.metric("llm_d_epp_request_ttft_seconds_count") == 1


async def test_a_body_that_was_asked_for_and_granted_tells_when_it_began_and_whether_it_ended() -> None:
    clock = Clock()
    peer = Peer(pool("a"), shared=Shared(Buffers(LIMIT, LIMIT), sample_every=1), now=clock)
    await peer.say(opening("one hop"), piece(chat("m")), answer_head())
    clock.at = 1.0
    await peer.say(piece(b"{", False, "response_body"))
    await peer.end(cancel=True)

    assert peer.metric("onehop_request_outcome_total", outcome="disconnected") == 1
    assert peer.metric("llm_d_epp_request_ttft_seconds_sum") == 1.0


async def test_a_request_that_is_passed_on_is_not_counted_as_answered_or_given_up() -> None:
    over = pool("a")
    shared = Shared(Buffers(LIMIT, LIMIT), first_of_two=True)
    peer = Peer(over, shared=shared, rules=Rules(first_of_two=True))
    await peer.say(opening("one hop"), piece(chat("auto")))
    await peer.end()

    assert peer.metric("onehop_request_outcome_total", outcome="passed_on") == 1
    assert peer.metric("llm_d_epp_request_total") == 0
    assert peer.metric("llm_d_epp_request_duration_seconds_count") == 0
    assert peer.metric("llm_d_epp_scheduler_attempts_total") == 0


async def test_a_refusal_after_the_headers_were_sent_on_gives_the_endpoint_back_at_once() -> None:
    over = pool("a")
    peer = Peer(over, shared=Shared(Buffers(100, LIMIT)))
    await peer.say(opening("streamed"))
    held = over.endpoints[0].inflight_requests
    await peer.say(piece(b"x" * 101, end=False))
    left = over.endpoints[0].inflight_requests
    status = peer.sent[-1].immediate_response.status.code
    await peer.end()

    assert (held, status, left) == (1, 413, 0)
    assert peer.metric("onehop_request_outcome_total", outcome="superseded") == 1
    assert peer.metric("onehop_request_outcome_total", outcome="body_too_large") == 1
    assert peer.metric("onehop_request_outcome_total") == 2


async def test_a_defect_in_reading_an_answer_costs_its_counts_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("of a prompt")

    monkeypatch.setattr("epp.protocol.usage.UsageReader.feed", broken)
    peer = Peer(pool("a"))
    await peer.say(opening("duplex"), piece(chat("m")), answer_head(content_type="application/json"))
    peer.sent.clear()
    await peer.say(piece(b"one", False, "response_body"), piece(b"two", True, "response_body"))
    await peer.end()
    went = [m.response_body.response.body_mutation.streamed_response for m in peer.sent]

    assert [(m.body, m.end_of_stream) for m in went] == [(b"one", False), (b"two", True)]
    assert peer.metric("onehop_surprise_total", type="KeyError") == 1
    assert peer.metric("onehop_request_outcome_total", outcome="completed") == 1


async def test_a_defect_that_ends_a_stream_is_counted_and_tells_nothing_of_the_request(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ValueError(SAID)

    over = pool("a")
    peer = Peer(over)
    await peer.say(opening("duplex"), piece(chat("m")))
    monkeypatch.setattr("epp.protocol.exchange.Exchange.respond", broken)
    await peer.say(part("response_headers"))

    with pytest.raises(Defect) as defect:
        await peer.task
    assert SAID not in "".join(format_exception(defect.value)) + caplog.text
    assert peer.metric("onehop_surprise_total", type="ValueError") == 1
    assert peer.metric("llm_d_epp_extproc_streams_total", code="Internal") == 1
    assert peer.metric("onehop_request_outcome_total", outcome="error") == 1
    assert over.endpoints[0].inflight_requests == 0


@pytest.mark.parametrize(
    ("messages", "cancel", "code"),
    [
        ([opening(), piece(chat("m")), part("response_headers")], False, "OK"),
        ([opening()], True, "Canceled"),
        ([opening(), b"\xff\xff"], False, "InvalidArgument"),
    ],
)
async def test_streams_count_by_how_they_end(messages: list[bytes], cancel: bool, code: str) -> None:
    peer = Peer(pool("a"))
    await peer.say(*messages)
    await peer.end(cancel)

    assert peer.metric("llm_d_epp_extproc_streams_total", code=code) == 1
    assert peer.metric("llm_d_epp_extproc_streams_total") == 1
    assert peer.metric("llm_d_epp_extproc_stream_duration_seconds_count") == 1


class Reset(Reading):
    """A reader whose peer has reset the stream by the time that somebody reads."""

    async def __call__(self) -> bytes | None:
        self.gone = True
        return None


async def test_a_stream_whose_reset_is_read_as_its_end_counts_as_cancelled() -> None:
    over = pool("a")
    telemetry = Telemetry(fleet(over))
    decides = director(over, telemetry=telemetry, receipts=Receipts(), now=lambda: 0.0)

    async def write(_: bytes) -> None:
        raise AssertionError("nothing is to be said")

    await Stream(decides, telemetry, lambda: 0.0, Shared(Buffers(LIMIT, LIMIT))).run(Reset(), write)

    assert 'llm_d_epp_extproc_streams_total{code="Canceled"} 1' in telemetry.text().decode()


async def test_the_phases_of_a_request_add_up_to_its_life() -> None:
    clock = Clock()
    peer = Peer(pool("a"), now=clock)
    await peer.say(opening("duplex"))
    clock.at = 1.0
    await peer.say(piece(chat("m")))
    clock.at = 3.0
    await peer.say(part("response_headers"), piece(b"{", False, "response_body"))
    clock.at = 7.0
    await peer.say(piece(b"}", True, "response_body"))
    await peer.end()
    phases = {
        name: peer.metric("onehop_phase_seconds_sum", phase=name)
        for name in ("gather", "choose", "pick", "first_answer", "answer")
    }

    assert phases == {"gather": 1.0, "choose": 0.0, "pick": 0.0, "first_answer": 2.0, "answer": 4.0}
    assert peer.metric("llm_d_epp_request_processing_duration_seconds_count") == 1
    assert peer.metric("llm_d_epp_response_processing_duration_seconds_count") == 1


@pytest.mark.parametrize(
    ("kind", "model", "kept"),
    [("application/json", "auto", False), ("application/json", "phi4-mini", True), ("application/grpc", "auto", True)],
)
async def test_the_promised_length_goes_only_where_the_answer_may_change(kind: str, model: str, kept: bool) -> None:
    shared = Shared(Buffers(LIMIT, LIMIT), restore_model=True)
    peer = Peer(pool("a"), FixedChooser("phi4-mini"), shared=shared)
    await peer.say(opening("duplex"), piece(chat(model)), answer_head(content_type=kind, content_length="2"))
    removed = peer.sent[-1].response_headers.response.header_mutation.remove_headers
    await peer.end()

    assert ("content-length" in removed) is not kept


class Streams(RuleBasedStateMachine):
    """Many streams at once; the invariant is the ledger's."""

    apart = False
    streams: Bundle[Peer] = Bundle("streams")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.over = pool("a", "b", "c")
        self.buffers = Buffers(LIMIT, 3 * LIMIT)
        self.open: set[Peer] = set()

    def do(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    @rule(target=streams, modes=st.sampled_from(sorted(MODES)), end=st.booleans(), jam=st.booleans())
    def begin(self, modes: str, end: bool, jam: bool) -> Peer:
        async def start() -> Peer:
            peer = Peer(self.over, jam=jam, shared=Shared(self.buffers, sample_every=2), apart=self.apart)
            await peer.say(opening(modes, end))
            return peer

        peer: Peer = self.do(start())
        self.open.add(peer)
        return peer

    @rule(
        peer=streams,
        message=st.sampled_from(
            [
                piece(chat("m")),
                piece(chat("auto")),
                piece(b"{", False),
                piece(b"nonsense"),
                piece(b"x" * LIMIT, False),
                opening("one hop"),
                opening("duplex", end=True),
                part("request_trailers"),
                part("response_headers"),
                piece(b"data", False, "response_body"),
                piece(b"", True, "response_body"),
                part("response_trailers"),
                b"\xff\xff",
            ]
        ),
    )
    def send(self, peer: Peer, message: bytes) -> None:
        self.do(peer.say(message))

    @rule(peer=consumes(streams), cancel=st.booleans())
    def finish(self, peer: Peer, cancel: bool) -> None:
        self.do(peer.end(cancel or peer.jam))
        self.open.discard(peer)

    @rule(keep=st.sets(st.sampled_from(["a", "b", "c", "d"]), min_size=1))
    def relist(self, keep: set[str]) -> None:
        gone = [e for e in self.over.endpoints if e.name not in keep]
        self.over.relist([*pool_list(keep)])
        self.left = getattr(self, "left", []) + gone

    @invariant()
    def the_ledger_is_the_open_leases(self) -> None:
        endpoints = [*self.over.endpoints, *getattr(self, "left", [])]
        held = sum(e.inflight_requests for e in {id(e): e for e in endpoints}.values())
        running = [peer for peer in self.open if not peer.task.done()]
        told = sum(peer.holds_an_endpoint for peer in running)
        jammed = sum(peer.jam for peer in running)  # chosen perhaps, but never told

        assert told <= held <= told + jammed
        assert all(e.inflight_requests >= 0 and e.inflight_tokens >= 0 for e in endpoints)

    @invariant()
    def only_bytes_that_are_no_message_fail_a_stream(self) -> None:
        ended = [peer.task for peer in self.open if peer.task.done() and not peer.task.cancelled()]

        assert {type(task.exception()) for task in ended} <= {type(None), BadMessage}

    def teardown(self) -> None:
        for peer in list(self.open):
            self.do(peer.end(cancel=True))
        self.open.clear()
        self.the_ledger_is_the_open_leases()
        assert self.buffers.held == 0
        assert sum(e.inflight_tokens for e in [*self.over.endpoints, *getattr(self, "left", [])]) == 0
        self.loop.close()


def pool_list(names: set[str]) -> list[Any]:
    from epp.datastore.pool import Listed

    return [Listed(name, f"10.0.0.{ord(name) - ord('a')}:8000") for name in sorted(names)]


class StreamsApart(Streams):
    """The same over the messages of workers."""

    apart = True


for machine in (Streams, StreamsApart):
    machine.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestStreams = Streams.TestCase
TestStreamsApart = StreamsApart.TestCase


@pytest.mark.parametrize(
    ("modes", "answer", "outcome"),
    [
        ("duplex", [], "disconnected"),
        ("duplex", [part("response_headers"), piece(b"half", False, "response_body")], "disconnected"),
        ("duplex", [part("response_headers"), piece(b"all", True, "response_body")], "completed"),
        ("duplex", [part("response_headers"), part("response_trailers")], "completed"),
        ("one hop", [part("response_headers")], "completed"),
    ],
)
@pytest.mark.parametrize("cancel", [False, True])
async def test_who_leaves_before_the_answer_is_through_is_counted_so(
    modes: str, answer: list[bytes], outcome: str, cancel: bool
) -> None:
    receipts = Receipts()
    peer = Peer(pool("a"), receipts=receipts)
    await peer.say(opening(modes), piece(chat("m")), *answer)
    await peer.end(cancel)
    (told,) = receipts.latest(1)

    assert told["outcome"] == outcome


async def test_usage_of_a_full_duplex_answer_is_in_the_receipt() -> None:
    over = pool("a")
    receipts = Receipts()
    peer = Peer(over, receipts=receipts)
    answer = b'{"id": 1, "usage": {"prompt_tokens": 7, "completion_tokens": 10}}'
    await peer.say(opening("duplex"), piece(chat("m")), part("response_headers"))
    await peer.say(piece(answer[:30], False, "response_body"), piece(answer[30:], True, "response_body"))
    await peer.end()
    (told,) = receipts.latest(1)

    assert told["usage"] == {"prompt": 7, "completion": 10, "cached": 0}


async def test_one_answer_in_so_many_is_asked_for_in_pieces() -> None:
    shared = Shared(Buffers(LIMIT, LIMIT), sample_every=3)
    asked = []
    for _ in range(6):
        peer = Peer(pool("a"), shared=shared)
        await peer.say(opening("one hop"), piece(chat("m")), part("response_headers"))
        asked.append(peer.sent[-1].mode_override.response_body_mode)
        await peer.say(piece(b"data", False, "response_body"))
        assert peer.sent[-1].HasField("response_body")
        await peer.end()

    assert asked == [0, 0, 1, 0, 0, 1]


async def test_the_name_the_client_asked_for_is_put_back_where_that_is_wanted() -> None:
    shared = Shared(Buffers(LIMIT, LIMIT), restore_model=True)
    peer = Peer(pool("a"), FixedChooser("phi4-mini"), shared=shared)
    await peer.say(opening("duplex"), piece(chat("auto")), part("response_headers"))
    removed = list(peer.sent[-1].response_headers.response.header_mutation.remove_headers)
    before = len(peer.sent)
    await peer.say(piece(b'{"mod', False, "response_body"), piece(b'el": "phi4-mini", "x": 1}', True, "response_body"))
    bodies = [m.response_body.response.body_mutation.streamed_response for m in peer.sent[before:]]
    await peer.end()

    assert removed == ["content-length"]
    assert b"".join(b.body for b in bodies) == b'{"model": "auto", "x": 1}'
    assert [b.end_of_stream for b in bodies][-1]
