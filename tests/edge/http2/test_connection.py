"""One connection, frame by frame."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import pytest
from hpack import Encoder

from epp.edge.http2 import answers, frames
from epp.edge.http2.answers import MESSAGE_BYTES_MAX
from epp.edge.http2.events import Broken, Drained, Ended, Message, Opened, Pong, Reset
from epp.edge.http2.frames import ErrorCode
from epp.edge.http2.outbound import TURN_BYTES
from epp.edge.status import Code
from tests.edge.http2.peer import HEADERS, PATH, RawPeer, message


def test_a_call_from_its_headers_to_its_trailers() -> None:
    peer = RawPeer()
    opened, came, ended = peer.say(peer.headers(1) + peer.data(1, message(b"ask"), end=True))
    assert isinstance(opened, Opened)
    stream = opened.stream
    peer.connection.send(stream, b"answer")
    peer.connection.finish(stream, Code.OK)
    peer.listen()
    (data,) = peer.frames(frames.DATA)

    assert stream.head.path == PATH.encode()
    assert (came, ended) == (Message(stream, b"ask"), Ended(stream))
    assert data.payload == message(b"answer")
    assert peer.trailers(1) == {"grpc-status": "0"}
    assert peer.frames(frames.HEADERS)[-1].flags & frames.END_STREAM
    assert not peer.connection.streams


def test_we_greet_before_we_are_greeted() -> None:
    peer = RawPeer(greet=False, streams_max=7)
    peer.listen()
    (settings,) = peer.frames(frames.SETTINGS)
    said = dict(frames.SETTING.iter_unpack(settings.payload))

    assert said[frames.MAX_CONCURRENT_STREAMS] == 7


def test_what_is_said_can_be_cut_anywhere() -> None:
    peer = RawPeer(greet=False)
    said = frames.PREFACE + frames.settings({}) + peer.headers(1) + peer.data(1, message(b"ask"), end=True)
    for at in range(len(said)):
        peer.say(said[at : at + 1])

    assert [type(event) for event in peer.events] == [Opened, Message, Ended]


def test_headers_in_many_pieces_are_one_block() -> None:
    peer = RawPeer()
    block = peer.encoder.encode(list(HEADERS.items()))
    said = frames.frame(frames.HEADERS, 0, 1, block[:3])
    said += frames.frame(frames.CONTINUATION, 0, 1, block[3:5]) + frames.frame(frames.CONTINUATION, 4, 1, block[5:])

    assert [type(event) for event in peer.say(said)] == [Opened]
    assert [type(event) for event in peer.say(peer.data(1, message(b"ask")))] == [Message]
    peer.say(frames.frame(frames.CONTINUATION, 4, 1, b""))
    assert peer.lost is not None
    assert peer.lost.why == "a continuation of nothing"


def test_padding_and_priority_are_not_content() -> None:
    peer = RawPeer()
    block = peer.encoder.encode(list(HEADERS.items()))
    flags = frames.END_HEADERS | frames.PADDED | frames.WITH_PRIORITY
    peer.say(frames.frame(frames.HEADERS, flags, 1, b"\x03" + bytes(5) + block + bytes(3)))
    (came,) = peer.say(frames.frame(frames.DATA, frames.PADDED, 1, b"\x02" + message(b"ask") + bytes(2)))

    assert isinstance(came, Message)
    assert came.data == b"ask"


@pytest.mark.parametrize("cut", [1, 4, 5, 6, 9])
def test_messages_are_whole_wherever_data_cuts_them(cut: int) -> None:
    peer = RawPeer()
    peer.open()
    said = message(b"one") + message(b"") + message(b"three")
    for at in range(0, len(said), cut):
        peer.say(peer.data(1, said[at : at + cut]))
    came = [event.data for event in peer.events if isinstance(event, Message)]

    assert came == [b"one", b"", b"three"]


def test_gzip_is_unpacked() -> None:
    peer = RawPeer()
    peer.say(peer.headers(1, grpc_encoding="gzip"))
    (came,) = peer.say(peer.data(1, message(gzip.compress(b"ask"), compressed=True)))

    assert isinstance(came, Message)
    assert came.data == b"ask"


@pytest.mark.parametrize(
    ("data", "end", "code"),
    [
        (message(b"x" * 101), False, Code.RESOURCE_EXHAUSTED),
        (message(b"x" * 101)[:5], False, Code.RESOURCE_EXHAUSTED),
        (message(gzip.compress(bytes(1000)), compressed=True), False, Code.RESOURCE_EXHAUSTED),
        (message(b"no gzip", compressed=True), False, Code.INTERNAL),
        (message(gzip.compress(b"ask")[:-1], compressed=True), False, Code.INTERNAL),
        (b"\x02" + message(b"x")[1:], False, Code.INTERNAL),
        (message(b"half")[:-1], True, Code.INTERNAL),
        (b"\x00", True, Code.INTERNAL),
    ],
)
def test_what_is_no_message_ends_its_stream_with_a_status_and_hurts_no_other(
    data: bytes, end: bool, code: Code
) -> None:
    peer = RawPeer(receive_bytes_max=100)
    peer.say(peer.headers(1, grpc_encoding="gzip"))
    (broken,) = peer.say(peer.data(1, data, end))
    assert isinstance(broken, Broken)
    peer.connection.finish(broken.stream, broken.code, broken.text)
    peer.open(3)
    (came,) = peer.say(peer.data(3, message(b"ask")))

    assert broken.code is code
    assert peer.trailers(1)["grpc-status"] == str(int(code))
    assert isinstance(came, Message)


@pytest.mark.parametrize(("size", "kind"), [(100, Message), (101, Broken)])
@pytest.mark.parametrize("cut", [1, 3, 4, 5, 6])
def test_a_message_may_be_as_large_as_its_bound_wherever_its_length_is_cut(size: int, kind: type, cut: int) -> None:
    peer = RawPeer(receive_bytes_max=100)
    peer.open()
    said = message(bytes(size))
    first = peer.say(peer.data(1, said[:cut]))
    events = first + peer.say(peer.data(1, said[cut:]) if not first else b"")

    assert [type(event) for event in events] == [kind]
    assert peer.connection._inbound.held == (size + 5 if kind is Message else 0)


def test_a_compressed_message_needs_an_encoding() -> None:
    peer = RawPeer()
    peer.open()
    (broken,) = peer.say(peer.data(1, message(gzip.compress(b"ask"), compressed=True)))

    assert isinstance(broken, Broken)
    assert broken.code is Code.INTERNAL


def test_a_status_without_an_answer_is_trailers_only() -> None:
    peer = RawPeer()
    stream = peer.open(end=True)
    peer.connection.finish(stream, Code.NOT_FOUND, "100 % no\nsuch thing: \u00e9")
    peer.listen()
    (only,) = peer.frames(frames.HEADERS)

    assert only.flags & frames.END_STREAM
    assert peer.trailers(1) == {
        ":status": "200",
        "content-type": "application/grpc",
        "grpc-status": "5",
        "grpc-message": "100 %25 no%0Asuch thing: %C3%A9",
    }


@pytest.mark.parametrize("length", [1, 126, 127, 128, 254, 255, 256, 341])
def test_a_status_text_of_any_length_can_be_read(length: int) -> None:
    """HPACK writes a length of 127 and more in further bytes."""
    peer = RawPeer()
    peer.connection.finish(peer.open(end=True), Code.UNKNOWN, "x" * length)
    peer.listen()

    assert peer.trailers(1)["grpc-message"] == "x" * length


def test_a_status_text_is_bounded_however_it_is_written() -> None:
    peer = RawPeer()
    for number, text in ((1, "x" * 5000), (3, "%" * 5000)):
        peer.connection.finish(peer.open(number, end=True), Code.UNKNOWN, text)
    peer.listen()

    assert peer.trailers(1)["grpc-message"] == "x" * (MESSAGE_BYTES_MAX // 3)
    assert peer.trailers(3)["grpc-message"] == "%25" * (MESSAGE_BYTES_MAX // 3)


def test_a_client_that_is_still_sending_is_told_to_stop_when_we_have_answered() -> None:
    peer = RawPeer()
    stream = peer.open()
    peer.connection.finish(stream, Code.INTERNAL)
    peer.listen()
    peer.say(peer.data(1, message(b"under way"), end=True))
    (reset,) = peer.frames(frames.RST_STREAM)

    assert reset.code is ErrorCode.NO_ERROR
    assert peer.lost is None


# Windows of ours.


def test_an_answer_waits_for_the_streams_window_and_goes_on_where_it_stopped() -> None:
    peer = RawPeer({frames.INITIAL_WINDOW_SIZE: 10})
    stream = peer.open(end=True)
    peer.connection.send(stream, b"x" * 20)
    peer.connection.finish(stream, Code.OK)
    peer.listen()
    before = b"".join(f.payload for f in peer.frames(frames.DATA))
    events = peer.say(frames.window_update(1, 100))
    after = b"".join(f.payload for f in peer.frames(frames.DATA))

    assert before == message(b"x" * 20)[:10]
    assert after == message(b"x" * 20)
    assert events == []
    assert peer.trailers(1) == {"grpc-status": "0"}
    assert not peer.connection.streams


def test_a_small_message_does_not_overtake_a_large_one() -> None:
    """The large one goes in several frames, when it is its stream's turn; the small one would fit at once."""
    peer = RawPeer()
    stream = peer.open()
    said = [b"a" * 20_000, b"small", b"b" * 20_000, b""]
    for each in said:
        peer.connection.send(stream, each)
    peer.connection.finish(stream, Code.OK)
    peer.listen()

    assert b"".join(f.payload for f in peer.frames(frames.DATA)) == b"".join(map(message, said))
    assert peer.heard[-2].kind == frames.HEADERS  # and a reset, as the client has not ended


def test_who_waits_to_write_hears_when_all_is_on_its_way() -> None:
    peer = RawPeer({frames.INITIAL_WINDOW_SIZE: 10})
    stream = peer.open()
    peer.connection.send(stream, b"x" * 20)
    peer.listen()

    assert stream.unsent == 15
    assert peer.say(frames.window_update(1, 100)) == [Drained(stream)]
    assert stream.unsent == 0


def test_a_stream_without_a_window_holds_up_no_other() -> None:
    peer = RawPeer({frames.INITIAL_WINDOW_SIZE: 0})
    slow, quick = peer.open(1), peer.open(3)
    peer.connection.send(slow, b"slow")
    peer.connection.send(quick, b"quick")
    peer.say(frames.window_update(3, 100))

    assert [f.stream_id for f in peer.frames(frames.DATA)] == [3]


def test_streams_that_share_a_window_take_turns() -> None:
    peer = RawPeer({frames.INITIAL_WINDOW_SIZE: 1 << 20, frames.MAX_FRAME_SIZE: 16_384})
    streams = [peer.open(1), peer.open(3)]
    for stream in streams:
        peer.connection.send(stream, bytes(100_000))
    peer.listen()

    assert [f.stream_id for f in peer.frames(frames.DATA)][:4] == [1, 3, 1, 3]


def test_one_write_takes_a_bounded_part_of_what_waits_and_the_next_ones_the_rest() -> None:
    peer = RawPeer({frames.INITIAL_WINDOW_SIZE: 1 << 22})
    stream = peer.open()
    peer.say(frames.window_update(0, 1 << 22))
    peer.connection.send(stream, bytes(1 << 20))
    writes = []
    while data := peer.connection.take(peer.now):
        writes.append(len(data))

    assert TURN_BYTES <= max(writes) < TURN_BYTES + 2 * frames.FRAME_BYTES_DEFAULT
    assert sum(writes) > 1 << 20


def test_small_messages_of_all_streams_together_keep_to_the_connections_window() -> None:
    """RFC 9113, 5.2.1: 65,535 bytes to begin with, whatever the streams' own windows are."""
    peer = RawPeer({frames.INITIAL_WINDOW_SIZE: 1 << 20})
    streams = [peer.open(number) for number in range(1, 21, 2)]
    for _ in range(10):
        for stream in streams:
            peer.connection.send(stream, bytes(995))
        peer.listen()
    before = sum(len(f.payload) for f in peer.frames(frames.DATA))
    peer.say(frames.window_update(0, 1 << 20))

    assert before == 65_535
    assert sum(len(f.payload) for f in peer.frames(frames.DATA)) == 10 * 10 * 1000


def test_a_window_can_be_taken_back_to_less_than_nothing() -> None:
    peer = RawPeer({frames.INITIAL_WINDOW_SIZE: 30})
    stream = peer.open()
    peer.connection.send(stream, bytes(20))
    peer.say(frames.settings({frames.INITIAL_WINDOW_SIZE: 5}))
    peer.connection.send(stream, bytes(10))
    peer.say(frames.window_update(1, 20))
    stuck = len(peer.frames(frames.DATA))
    peer.say(frames.window_update(1, 1))
    (last,) = peer.frames(frames.DATA)[stuck:]

    assert stream.send_window == 0
    assert stuck == 1
    assert last.payload == b"\x00"


def test_large_answers_are_split_as_the_peer_wants_them() -> None:
    peer = RawPeer({frames.INITIAL_WINDOW_SIZE: 1 << 20})
    stream = peer.open()
    peer.connection.outbound.widen(1 << 20)
    peer.connection.send(stream, bytes(50_000))
    peer.say(frames.settings({frames.MAX_FRAME_SIZE: 40_000}))
    peer.connection.send(stream, bytes(50_000))
    peer.listen()
    sizes = [len(f.payload) for f in peer.frames(frames.DATA)]

    assert max(sizes) == 40_000
    assert sum(sizes) == 100_010


def test_while_the_socket_takes_nothing_answers_wait_and_then_go() -> None:
    peer = RawPeer()
    stream = peer.open()
    peer.connection.outbound.held = True
    peer.connection.send(stream, b"x" * 20)
    waits = stream.unsent
    peer.connection.outbound.held = False
    peer.listen()

    assert waits == 25
    assert peer.frames(frames.DATA)[0].payload == message(b"x" * 20)


# Windows of the peer's.


def test_a_stream_gets_more_window_only_as_it_is_read() -> None:
    peer = RawPeer(stream_window_bytes=65_535, connection_window_bytes=1 << 20)
    stream = peer.open()
    for _ in range(4):
        peer.say(peer.data(1, message(bytes(10_000))))
    before = peer.frames(frames.WINDOW_UPDATE, 1)
    for _ in range(4):
        peer.connection.read(stream, 10_000)
    peer.listen()
    (after,) = peer.frames(frames.WINDOW_UPDATE, 1)

    assert before == []
    assert stream.receive_window == 65_535 - stream.unread
    assert int.from_bytes(after.payload, "big") >= 30_000


@pytest.mark.parametrize("answered", [True, False])
def test_what_is_read_is_not_held_any_more_whoever_says_so(answered: bool) -> None:
    peer = RawPeer(stream_window_bytes=65_535)
    stream = peer.open()
    for _ in range(50):
        peer.say(peer.data(1, message(bytes(10_000))))
        if answered:
            peer.connection.answer(stream, 10_000, [b"one", b"two"])
        else:
            peer.connection.read(stream, 10_000)
        assert (stream.unread, peer.connection._inbound.held) == (0, 0)
    peer.listen()

    assert len(peer.frames(frames.DATA)) == (100 if answered else 0)
    assert peer.frames(frames.RST_STREAM) == []


@pytest.mark.parametrize("body", [b"", b"why"])
def test_a_stream_that_is_declined_is_over_once_that_is_sent(body: bytes) -> None:
    peer = RawPeer()
    stream = peer.open(end=True)
    peer.connection.decline(stream, answers.http_error(405), body)
    peer.listen()

    assert peer.trailers(1)[":status"] == "405"
    assert b"".join(f.payload for f in peer.frames(frames.DATA)) == body
    *before, last = [bool(f.flags & frames.END_STREAM) for f in peer.heard if f.stream_id == 1]
    assert last
    assert not any(before)
    assert peer.connection.outbound.unsent == 0
    assert not peer.connection.streams


def test_a_message_larger_than_the_window_gets_through() -> None:
    peer = RawPeer(stream_window_bytes=65_535)
    stream = peer.open()
    left = message(bytes(300_000))
    while left:
        size = min(16_384, stream.receive_window)
        assert size > 0
        peer.say(peer.data(1, left[:size]))
        left = left[size:]

    assert [len(event.data) for event in peer.events if isinstance(event, Message)] == [300_000]


def test_all_streams_together_never_have_more_than_the_connections_window() -> None:
    peer = RawPeer(connection_window_bytes=200_000)
    left = 65_535 + _granted(peer)
    before = left
    for number in range(1, 41, 2):
        peer.say(peer.headers(number) + peer.data(number, message(bytes(16_000))[:16_000]))
        left = 65_535 + _granted(peer) - (number + 1) // 2 * 16_000
        assert 100_000 <= left <= 200_000

    assert before == 200_000


def _granted(peer: RawPeer) -> int:
    """Bytes that the peer may send beyond what it may from the beginning."""
    return sum(int.from_bytes(f.payload, "big") for f in peer.frames(frames.WINDOW_UPDATE, 0))


def test_the_connections_window_is_given_back_whoever_reads() -> None:
    peer = RawPeer(connection_window_bytes=65_535)
    peer.open()
    for _ in range(20):
        peer.say(peer.data(1, message(bytes(16_000))))
    given = sum(int.from_bytes(f.payload, "big") for f in peer.frames(frames.WINDOW_UPDATE, 0))

    assert peer.lost is None
    assert given >= 20 * 16_005 - 65_535


def test_more_than_a_streams_window_ends_it() -> None:
    peer = RawPeer(stream_window_bytes=65_535)
    stream = peer.open(1)
    for _ in range(5):
        peer.say(peer.data(1, message(bytes(16_000))))

    assert peer.frames(frames.RST_STREAM, 1)[0].code is ErrorCode.FLOW_CONTROL_ERROR
    assert Reset(stream) in peer.events
    assert peer.lost is None


# Streams that end otherwise.


def test_a_reset_is_told_once_and_frees_what_the_stream_held() -> None:
    peer = RawPeer()
    stream = peer.open()
    peer.say(peer.data(1, message(b"unread") + b"\0\0"))
    events = peer.say(frames.reset(1, ErrorCode.CANCEL) + frames.reset(1, ErrorCode.CANCEL))

    assert events == [Reset(stream)]
    assert stream.held_bytes == 0
    assert not peer.connection.streams


def test_what_is_said_of_a_stream_that_is_gone_goes_nowhere() -> None:
    peer = RawPeer()
    stream = peer.open()
    peer.say(peer.data(1, message(b"unread")) + frames.reset(1, ErrorCode.CANCEL))
    heard = len(peer.heard)
    peer.connection.read(stream, 6)
    peer.connection.send(stream, b"answer")
    peer.connection.finish(stream, Code.OK)
    peer.connection.abort(stream, ErrorCode.CANCEL)
    peer.listen()

    assert peer.heard[heard:] == []


@pytest.mark.parametrize(
    "changed",
    [
        {"upper": {"Te": "trailers"}},
        {"connection": {"connection": "close"}},
        {"te": {"te": "gzip"}},
        {"no path": {":path": ""}},
        {"unknown pseudo": {":unknown": "x"}},
        {"newline": {"x": "a\nb"}},
        {"length": {"content-length": "x"}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_headers_that_http2_forbids_end_their_stream(changed: dict[str, dict[str, str]]) -> None:
    (change,) = changed.values()
    peer = RawPeer()
    events = peer.say(peer.block(1, peer.encoder.encode([*{**HEADERS, **change}.items()])))
    peer.open(3)

    assert events == []
    assert peer.frames(frames.RST_STREAM, 1)[0].code is ErrorCode.PROTOCOL_ERROR
    assert 1 not in peer.connection.streams


def test_a_length_that_is_not_kept_ends_the_stream() -> None:
    peer = RawPeer()
    peer.say(peer.headers(1, content_length="3"))
    peer.say(peer.data(1, message(b"ask"), end=True))

    assert peer.frames(frames.RST_STREAM, 1)[0].code is ErrorCode.PROTOCOL_ERROR
    assert isinstance(peer.events[-1], Reset)


def test_trailers_of_a_request_end_it() -> None:
    peer = RawPeer()
    stream = peer.open()
    events = peer.say(peer.block(1, peer.encoder.encode([("x-note", "1")]), end=True))

    assert events == [Ended(stream)]


Fault = Callable[[RawPeer], bytes]
FAULTS: dict[str, tuple[ErrorCode, Fault]] = {
    "data of no stream": (ErrorCode.PROTOCOL_ERROR, lambda p: p.data(0, b"x")),
    "data of a stream that is not": (ErrorCode.PROTOCOL_ERROR, lambda p: p.data(9, b"x")),
    "a frame too large": (ErrorCode.FRAME_SIZE_ERROR, lambda p: p.data(1, bytes(16_385))),
    "headers of no stream": (ErrorCode.PROTOCOL_ERROR, lambda p: p.headers(0)),
    "an even stream": (ErrorCode.PROTOCOL_ERROR, lambda p: p.headers(2)),
    "a stream that was passed over": (ErrorCode.PROTOCOL_ERROR, lambda p: p.headers(5) + p.headers(3)),
    "a stream that has ended": (ErrorCode.STREAM_CLOSED, lambda p: p.data(1, b"", end=True) + p.headers(1)),
    "hpack that is none": (ErrorCode.COMPRESSION_ERROR, lambda p: p.block(3, b"\xff\xff\xff\xff")),
    "no continuation": (ErrorCode.PROTOCOL_ERROR, lambda p: frames.frame(frames.HEADERS, 0, 3, b"") + p.data(1, b"")),
    "a continuation of nothing": (ErrorCode.PROTOCOL_ERROR, lambda _: frames.frame(frames.CONTINUATION, 4, 1)),
    "a continuation of another": (
        ErrorCode.PROTOCOL_ERROR,
        lambda _: frames.frame(frames.HEADERS, 0, 3, b"") + frames.frame(frames.CONTINUATION, 4, 5),
    ),
    "padding beyond the frame": (ErrorCode.PROTOCOL_ERROR, lambda _: frames.frame(0, frames.PADDED, 1, b"\x05abc")),
    "half a setting": (ErrorCode.FRAME_SIZE_ERROR, lambda _: frames.frame(frames.SETTINGS, 0, 0, b"abc")),
    "a full acknowledgement": (ErrorCode.FRAME_SIZE_ERROR, lambda _: frames.frame(frames.SETTINGS, 1, 0, bytes(6))),
    "settings of a stream": (ErrorCode.PROTOCOL_ERROR, lambda _: frames.frame(frames.SETTINGS, 0, 1)),
    "push that is 2": (ErrorCode.PROTOCOL_ERROR, lambda _: frames.settings({frames.ENABLE_PUSH: 2})),
    "a window too large": (ErrorCode.FLOW_CONTROL_ERROR, lambda _: frames.settings({4: 1 << 31})),
    "frames too small": (ErrorCode.PROTOCOL_ERROR, lambda _: frames.settings({frames.MAX_FRAME_SIZE: 16_383})),
    "frames too large": (ErrorCode.PROTOCOL_ERROR, lambda _: frames.settings({frames.MAX_FRAME_SIZE: 1 << 24})),
    "a pushed promise": (ErrorCode.PROTOCOL_ERROR, lambda _: frames.frame(frames.PUSH_PROMISE, 4, 1, bytes(4))),
    "a short ping": (ErrorCode.FRAME_SIZE_ERROR, lambda _: frames.frame(frames.PING, 0, 0, bytes(7))),
    "a ping of a stream": (ErrorCode.PROTOCOL_ERROR, lambda _: frames.frame(frames.PING, 0, 1, bytes(8))),
    "a goodbye of a stream": (ErrorCode.PROTOCOL_ERROR, lambda _: frames.frame(frames.GOAWAY, 0, 1, bytes(8))),
    "a short goodbye": (ErrorCode.FRAME_SIZE_ERROR, lambda _: frames.frame(frames.GOAWAY, 0, 0, bytes(7))),
    "a short reset": (ErrorCode.FRAME_SIZE_ERROR, lambda _: frames.frame(frames.RST_STREAM, 0, 1, bytes(3))),
    "a reset of what is not": (ErrorCode.PROTOCOL_ERROR, lambda _: frames.reset(9, ErrorCode.CANCEL)),
    "a short window update": (ErrorCode.FRAME_SIZE_ERROR, lambda _: frames.frame(frames.WINDOW_UPDATE, 0, 0, bytes(3))),
    "no window update": (ErrorCode.PROTOCOL_ERROR, lambda _: frames.window_update(0, 0)),
    "windows of what is not": (ErrorCode.PROTOCOL_ERROR, lambda _: frames.window_update(9, 1)),
    "the window beyond all": (ErrorCode.FLOW_CONTROL_ERROR, lambda _: frames.window_update(0, (1 << 31) - 1)),
    "priority of no stream": (ErrorCode.PROTOCOL_ERROR, lambda _: frames.frame(frames.PRIORITY, 0, 0, bytes(5))),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_ends_the_connection_with_its_code_and_every_stream(name: str) -> None:
    code, fault = FAULTS[name]
    peer = RawPeer()
    stream = peer.open(1)
    peer.say(fault(peer))
    (goodbye,) = peer.frames(frames.GOAWAY)

    assert goodbye.code is code
    assert peer.lost is not None
    assert peer.lost.bound is None
    assert [event for event in peer.events if isinstance(event, Reset)].count(Reset(stream)) == 1
    assert not peer.connection.streams
    assert peer.connection.over


STREAM_FAULTS: dict[str, tuple[ErrorCode, Fault]] = {
    "data after the end": (ErrorCode.STREAM_CLOSED, lambda p: p.data(1, b"", end=True) + p.data(1, b"x")),
    "trailers that do not end it": (
        ErrorCode.PROTOCOL_ERROR,
        lambda p: p.block(1, p.encoder.encode([("x-note", "1")])),
    ),
    "headers in the middle": (ErrorCode.PROTOCOL_ERROR, lambda p: p.headers(1)),
    "pseudo-headers at the end": (ErrorCode.PROTOCOL_ERROR, lambda p: p.headers(1, end=True)),
    "no window": (ErrorCode.PROTOCOL_ERROR, lambda _: frames.window_update(1, 0)),
    "a window beyond all": (ErrorCode.FLOW_CONTROL_ERROR, lambda _: frames.window_update(1, (1 << 31) - 1)),
    "a short priority": (ErrorCode.FRAME_SIZE_ERROR, lambda _: frames.frame(frames.PRIORITY, 0, 1, bytes(4))),
    "priority over itself": (ErrorCode.PROTOCOL_ERROR, lambda _: frames.frame(2, 0, 1, b"\0\0\0\1\0")),
}


@pytest.mark.parametrize("name", STREAM_FAULTS)
def test_a_fault_on_a_stream_ends_only_that(name: str) -> None:
    code, fault = STREAM_FAULTS[name]
    peer = RawPeer()
    stream = peer.open(1)
    peer.say(fault(peer))
    peer.open(3)

    assert peer.frames(frames.RST_STREAM, 1)[0].code is code
    assert peer.events.count(Reset(stream)) == 1
    assert peer.lost is None


def test_the_first_words_must_be_http2() -> None:
    for said in (b"GET / HTTP/1.1\r\n", frames.PREFACE + frames.window_update(0, 1), b"PRI * HTTP/1"):
        peer = RawPeer(greet=False)
        peer.say(said)

        assert peer.lost is not None
        assert peer.frames(frames.GOAWAY)[0].code is ErrorCode.PROTOCOL_ERROR


def test_unknown_frames_and_settings_and_priorities_are_nothing() -> None:
    peer = RawPeer({0x99: 1})
    peer.say(frames.frame(0x99, 0xFF, 5, b"whatever") + frames.frame(frames.PRIORITY, 0, 1, bytes(5)))

    assert peer.lost is None


def test_a_ping_comes_back_and_so_does_ours() -> None:
    peer = RawPeer()
    peer.connection.ping(b"ours....")
    peer.say(frames.frame(frames.PING, 0, 0, b"theirs.."))
    pings = peer.frames(frames.PING)
    events = peer.say(frames.frame(frames.PING, frames.ACK, 0, b"ours...."))

    assert [(ping.flags, ping.payload) for ping in pings] == [(0, b"ours...."), (frames.ACK, b"theirs..")]
    assert events == [Pong(b"ours....")]


def test_when_we_leave_open_streams_end_and_no_new_ones_begin() -> None:
    peer = RawPeer()
    stream = peer.open(1)
    peer.connection.announce_end()
    late = peer.open(3)
    peer.connection.serve_no_more()
    events = peer.say(peer.headers(5) + peer.data(5, message(b"too late")))
    peer.connection.serve_no_more()
    first, second = peer.frames(frames.GOAWAY)
    over = [peer.connection.over]
    for one in (stream, late):
        peer.connection.finish(one, Code.OK)
        over.append(peer.connection.over)

    assert events == []
    assert peer.frames(frames.RST_STREAM, 5) == []
    assert int.from_bytes(first.payload[:4], "big") == frames.STREAM_ID_LARGEST
    assert int.from_bytes(second.payload[:4], "big") == 3
    assert over == [False, False, True]


def test_a_peer_that_leaves_is_served_to_its_end() -> None:
    peer = RawPeer()
    stream = peer.open(1)
    peer.say(frames.goaway(0, ErrorCode.NO_ERROR))
    before = peer.connection.over
    peer.connection.finish(stream, Code.OK)

    assert (before, peer.connection.over) == (False, True)


def test_headers_that_were_seen_before_are_not_decoded_again() -> None:
    peer = RawPeer()
    for number in range(10):
        peer.open(2 * number + 1)
    decoded = peer.connection._heads.decoded
    peer.say(peer.headers(21, x_new="value"))
    after = peer.open(23)

    assert decoded <= 2  # once to fill the table, once to see that it is full
    assert after.head.path == PATH.encode()


def test_a_block_means_what_the_table_says_now() -> None:
    """The same bytes, an index, after another entry has come before it."""
    peer = RawPeer()
    peer.open(1)
    block = peer.encoder.encode(list(HEADERS.items()))
    peer.say(peer.block(3, block))
    peer.say(peer.block(5, b"\x40\x01x\x01y" + block))  # now every index is one further
    events = peer.say(peer.block(7, block))

    assert not [event for event in events if isinstance(event, Opened) and event.stream.head.path == PATH.encode()]


def test_a_block_means_nothing_any_more_once_the_table_has_no_room() -> None:
    """The same bytes, an index, after the peer has made its table smaller."""
    peer = RawPeer()
    for number in (1, 3, 5):
        peer.open(number)
    indexed = peer.encoder.encode(list(HEADERS.items()))
    small = Encoder()
    small.header_table_size = 0
    (opened,) = peer.say(peer.block(7, small.encode(list(HEADERS.items()))))
    events = peer.say(peer.block(9, indexed))

    assert isinstance(opened, Opened)
    assert not [event for event in events if isinstance(event, Opened)]
    assert peer.lost is not None
    assert peer.lost.code is ErrorCode.COMPRESSION_ERROR


@pytest.mark.parametrize(("second", "opens"), [("3", True), ("4", False)])
def test_a_length_that_is_said_twice_is_one_only_if_both_are_the_same(second: str, opens: bool) -> None:
    peer = RawPeer()
    twice = [*HEADERS.items(), ("content-length", "3"), ("content-length", second)]
    events = peer.say(peer.block(1, peer.encoder.encode(twice)))

    assert [type(event) for event in events] == ([Opened] if opens else [])


def test_a_stream_that_we_ended_and_the_peer_reset_takes_no_headers() -> None:
    """After its reset the peer says nothing more; what was under way before it is ignored."""
    peer = RawPeer()
    stream = peer.open()
    peer.connection.finish(stream, Code.OK)
    peer.say(peer.data(1, b"under way"))
    ignored = peer.lost
    peer.say(frames.reset(1, ErrorCode.CANCEL))
    peer.say(peer.headers(1))

    assert ignored is None
    assert peer.lost is not None
    assert peer.lost.code is ErrorCode.STREAM_CLOSED
