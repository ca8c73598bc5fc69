"""Against the `h2` library as the client: whatever it does in whatever order, cut anywhere, both sides agree.

`h2` checks what we send: windows, frame sizes, states, HPACK. What arrives at either end is what the other end said,
whole and in order, and nothing is left behind.
"""

from __future__ import annotations

from collections import defaultdict
from random import Random
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from epp.edge.http2.connection import Connection
from epp.edge.http2.events import Broken, Drained, Ended, Lost, Message, Opened, Reset
from epp.edge.http2.frames import ErrorCode
from epp.edge.http2.limits import Http2Limits
from epp.edge.http2.stream import Http2Stream
from epp.edge.status import Code
from tests.edge.http2.peer import HEADERS, PATH, message

SIZES = st.sampled_from([0, 1, 5, 100, 16_379, 16_384, 20_000, 70_000])
WINDOWS = st.sampled_from([0, 1, 10, 1000, 65_535, 1 << 20])
FRAMES = st.sampled_from([16_384, 20_000, 1 << 20])
STREAMS_MAX = 8


def content(stream_id: int, number: int, size: int) -> bytes:
    """What only this message says."""
    return (b"%d:%d " % (stream_id, number) + bytes(size))[:size]


class Told:
    """What one side said and the other heard on a stream."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.came: list[bytes] = []
        self.answered: list[bytes] = []
        self.heard = b""
        self.finished = self.ended = self.half_closed = self.reset = False
        self.unread: list[bytes] = []


class Agreement(RuleBasedStateMachine):
    """A client and our connection with wires between them that carry some bytes at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.server = Connection(Http2Limits(stream_window_bytes=65_535, connection_window_bytes=70_000), 0.0)
        self.to_server = self.to_client = b""
        self.streams: dict[int, Http2Stream] = {}
        self.told: dict[int, Told] = defaultdict(Told)
        self.waiting: dict[int, bytes] = {}  # what the client has not been able to send
        self.lost: Lost | None = None

    @initialize(window=WINDOWS, frame=FRAMES)
    def greet(self, window: int, frame: int) -> None:
        codes = h2.settings.SettingCodes
        self.client.local_settings = h2.settings.Settings(
            client=True, initial_values={codes.INITIAL_WINDOW_SIZE: window, codes.MAX_FRAME_SIZE: frame}
        )
        self.client.max_inbound_frame_size = frame
        self.client.initiate_connection()
        self.settle(True)  # h2 takes the first acknowledgement for that of the first change

    # The wires.

    def settle(self, at_once: bool) -> None:
        """What was said travels now, or when it is carried."""
        self.pump()
        if at_once:
            self.carry_to_server(1.0)
            self.carry_to_client(1.0)

    def pump(self) -> None:
        self.to_server += self.client.data_to_send()
        while data := self.server.take(0.0):
            self.to_client += data

    @rule(share=st.sampled_from([0.1, 0.5, 1.0]))
    def carry_to_server(self, share: float) -> None:
        self.pump()
        size = max(1, int(len(self.to_server) * share))
        now, self.to_server = self.to_server[:size], self.to_server[size:]
        self.server.receive(now, 0.0)
        self.note()

    @rule(share=st.sampled_from([0.1, 0.5, 1.0]))
    def carry_to_client(self, share: float) -> None:
        self.pump()
        left = len(self.to_client) * (1 - share)
        while len(self.to_client) > left:  # by frames: of several at once h2 sees a new largest size too late
            size = 9 + int.from_bytes(self.to_client[:3], "big")
            now, self.to_client = self.to_client[:size], self.to_client[size:]
            for event in self.client.receive_data(now):
                self.hear(event)
        self.send_on()

    # The client.

    @precondition(lambda self: sum(not t.half_closed and not t.reset for t in self.told.values()) < STREAMS_MAX)
    @rule(extra=st.sampled_from(["", "x-same", "x-new"]), at_once=st.booleans())
    def open(self, extra: str, at_once: bool = False) -> None:
        stream_id = self.client.get_next_available_stream_id()
        more = {extra: f"value {stream_id if extra == 'x-new' else ''}".strip()} if extra else {}
        path = f"{PATH}{stream_id % 3}"
        self.client.send_headers(stream_id, [*{**HEADERS, ":path": path, **more}.items()])
        self.told[stream_id] = Told()
        self.settle(at_once)

    @rule(data=st.data(), size=SIZES, cut=st.sampled_from([1, 7, 1000, 16_384]), at_once=st.booleans())
    def ask(self, data: Any, size: int, cut: int, at_once: bool) -> None:
        stream_id = self.one(data, lambda told: not told.half_closed and not told.reset)
        if stream_id is None:
            return
        told = self.told[stream_id]
        said = content(stream_id, len(told.asked), size)
        told.asked.append(said)
        self.waiting[stream_id] = self.waiting.get(stream_id, b"") + message(said)
        self.send_on(max(cut, size // 50))  # thousands of frames would say no more
        self.settle(at_once)

    @rule(data=st.data())
    def half_close(self, data: Any) -> None:
        stream_id = self.one(data, lambda told: not told.half_closed and not told.reset)
        if stream_id is not None and not self.waiting.get(stream_id):
            self.told[stream_id].half_closed = True
            self.client.end_stream(stream_id)

    @rule(data=st.data())
    def give_up(self, data: Any) -> None:
        stream_id = self.one(data, lambda told: not told.reset and not told.ended)
        if stream_id is not None:
            self.told[stream_id].reset = True
            self.waiting.pop(stream_id, None)
            self.client.reset_stream(stream_id, 8)

    @rule(window=WINDOWS, frame=FRAMES, table=st.sampled_from([0, 64, 4096]), at_once=st.booleans())
    def change_settings(self, window: int, frame: int, table: int, at_once: bool = False) -> None:
        codes = h2.settings.SettingCodes
        new = {codes.INITIAL_WINDOW_SIZE: window, codes.MAX_FRAME_SIZE: frame, codes.HEADER_TABLE_SIZE: table}
        self.client.update_settings(new)
        self.settle(at_once)

    @rule()
    def ping(self) -> None:
        self.client.ping(b"whatever")

    @rule(data=st.data(), size=st.sampled_from([1, 1000, 70_000]))
    def widen(self, data: Any, size: int) -> None:
        stream_id = self.one(data, lambda told: not told.reset and not told.ended)
        if stream_id is not None:
            self.client.increment_flow_control_window(size, stream_id)
        self.client.increment_flow_control_window(size)

    def send_on(self, cut: int = 16_384) -> None:
        """As much of what waits as the windows allow, in pieces; small ones with padding."""
        for stream_id in list(self.waiting):
            left = self.waiting[stream_id]
            while left:
                room = min(self.client.local_flow_control_window(stream_id), self.client.max_outbound_frame_size)
                padding = 3 if cut < 100 else None
                room -= 0 if padding is None else padding + 1
                if room <= 0:
                    break
                self.client.send_data(stream_id, left[: min(room, cut)], pad_length=padding)
                left = left[min(room, cut) :]
            self.waiting[stream_id] = left

    def hear(self, event: Any) -> None:
        if isinstance(event, h2.events.DataReceived):
            self.told[event.stream_id].heard += event.data
        elif isinstance(event, h2.events.StreamEnded):
            self.told[event.stream_id].ended = True
            self.waiting.pop(event.stream_id, None)
        elif isinstance(event, h2.events.StreamReset):
            self.told[event.stream_id].reset = True
            self.waiting.pop(event.stream_id, None)
            assert event.error_code == 0, "we reset only what we have answered"
        assert not isinstance(event, h2.events.ConnectionTerminated)

    def one(self, data: Any, good: Any) -> int | None:
        found = [stream_id for stream_id, told in self.told.items() if good(told)]
        return data.draw(st.sampled_from(found)) if found else None

    # The server's application.

    def note(self) -> None:
        events, self.server.events = self.server.events, []
        for event in events:
            match event:
                case Opened(stream):
                    assert stream.id not in self.streams
                    assert stream.head.path.decode() == f"{PATH}{stream.id % 3}"
                    self.streams[stream.id] = stream
                case Message(stream, data):
                    self.told[stream.id].came.append(data)
                    self.told[stream.id].unread.append(data)
                case Reset(stream):
                    self.streams.pop(stream.id, None)
                case Lost():
                    self.lost = event
                case Broken():
                    raise AssertionError(event)
                case Ended() | Drained():
                    pass

    @rule(data=st.data())
    def read(self, data: Any) -> None:
        stream_id = self.served(data, lambda told: bool(told.unread))
        if stream_id is not None:
            self.server.read(self.streams[stream_id], len(self.told[stream_id].unread.pop(0)))

    @rule(data=st.data(), size=SIZES, at_once=st.booleans())
    def answer(self, data: Any, size: int, at_once: bool) -> None:
        stream_id = self.served(data, lambda told: not told.finished)
        if stream_id is not None:
            told = self.told[stream_id]
            said = content(stream_id, len(told.answered), size)
            told.answered.append(said)
            self.server.send(self.streams[stream_id], said)
            self.settle(at_once)

    @rule(data=st.data())
    def finish(self, data: Any) -> None:
        stream_id = self.served(data, lambda told: not told.finished)
        if stream_id is not None:
            self.told[stream_id].finished = True
            self.server.finish(self.streams[stream_id], Code.OK)

    @rule(held=st.booleans())
    def hold(self, held: bool) -> None:
        self.server.outbound.held = held

    def served(self, data: Any, good: Any) -> int | None:
        found = [stream_id for stream_id in self.streams if good(self.told[stream_id])]
        return data.draw(st.sampled_from(found)) if found else None

    # What must hold.

    @invariant()
    def nobody_gave_up_the_connection(self) -> None:
        assert self.lost is None

    @invariant()
    def what_came_is_what_was_said(self) -> None:
        for told in self.told.values():
            assert told.came == told.asked[: len(told.came)]
            assert b"".join(map(message, told.answered)).startswith(told.heard)

    @invariant()
    def the_books_are_right(self) -> None:
        streams = self.server.streams.values()
        assert self.server.outbound.unsent == sum(stream.unsent for stream in streams)
        assert self.server._inbound.held == sum(stream.unread + stream.parts_bytes for stream in streams)

    def teardown(self) -> None:
        """Let everything come to its end: all that was said on streams that were not reset has been heard."""
        self.server.outbound.held = False
        self.change_settings(1 << 20, 16_384, 4096)
        self.client.increment_flow_control_window(1 << 24)
        for _ in range(200):
            if not (self.to_server or self.to_client or any(self.waiting.values())):
                self.pump()
                if not (self.to_server or self.to_client):
                    break
            self.carry_to_server(1.0)
            for stream_id, stream in list(self.streams.items()):
                while self.told[stream_id].unread:
                    self.server.read(stream, len(self.told[stream_id].unread.pop(0)))
            self.carry_to_client(1.0)
        self.nobody_gave_up_the_connection()
        for told in self.told.values():
            if not told.reset:
                assert told.came == told.asked or told.finished
                assert told.heard == b"".join(map(message, told.answered))
                assert told.ended == told.finished
        self.server.fail(ErrorCode.NO_ERROR, "over")
        self.note()
        self.the_books_are_right()
        assert not self.server.streams


Agreement.TestCase.settings = settings(max_examples=100, stateful_step_count=50)
TestAgreement = Agreement.TestCase


def test_a_thousand_calls_of_every_size_in_one_connection() -> None:
    """Long enough for tables to turn over and windows to be used up many times."""
    rng = Random(1)
    machine = Agreement()
    machine.greet(65_535, 16_384)
    for number in range(1000):
        machine.open(rng.choice(["", "x-same", "x-new"]))
        stream_id = max(machine.told)
        told = machine.told[stream_id]
        said = content(stream_id, 0, rng.choice([10, 1000, 20_000]))
        told.asked.append(said)
        machine.waiting[stream_id] = message(said)
        while machine.waiting.get(stream_id):
            machine.send_on()
            machine.carry_to_server(1.0)
            machine.carry_to_client(1.0)
        machine.client.end_stream(stream_id)
        told.half_closed = True
        machine.carry_to_server(1.0)
        machine.server.read(machine.streams[stream_id], len(told.unread.pop()))
        machine.server.send(machine.streams[stream_id], said[::-1])
        machine.server.finish(machine.streams.pop(stream_id), Code.OK)
        told.answered.append(said[::-1])
        told.finished = True
        machine.client.increment_flow_control_window(len(said) + 5)
        while machine.to_client or not told.ended:
            machine.carry_to_client(1.0)
        assert told.heard == message(said[::-1]), number
    machine.teardown()
