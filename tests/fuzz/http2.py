"""The bytes of an HTTP/2 client, after its preface, against our connection with an application that answers.

`Q` as the first byte lets nobody answer, so that what happens cannot depend on where the bytes are cut.
"""

from __future__ import annotations

from epp.edge.http2 import frames
from epp.edge.http2.connection import Connection
from epp.edge.http2.events import Broken, Ended, Event, Lost, Message, Opened, Reset
from epp.edge.http2.frames import ErrorCode
from epp.edge.http2.limits import Http2Limits
from epp.edge.status import Code

LIMITS = Http2Limits(
    receive_bytes_max=2000,
    streams_max=8,
    refused_burst=4,
    header_list_bytes_max=2000,
    continuations_max=4,
    resets_burst=8,
    pings_burst=8,
    settings_burst=8,
    idle_frames_burst=16,
    crumbs_burst=8,
    control_bytes_max=4000,
)


def http2(data: bytes) -> None:
    """However it is cut, nothing is raised and nothing stays behind."""
    quiet, data = data[:1] == b"Q", frames.PREFACE + frames.settings({}) + data[1:]
    whole = _run([data], quiet)
    cut = _run(_cut(data), quiet)
    if quiet:
        assert whole == cut, "what happens depends on where the bytes are cut"


def _cut(data: bytes) -> list[bytes]:
    sizes, pieces, at = (1, 2, 9, 3, 30, 8, 100), [], 0
    while at < len(data):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[at : at + size])
        at += size
    return pieces


def _run(pieces: list[bytes], quiet: bool) -> list[tuple[str, int]]:
    connection = Connection(LIMITS, 0.0)
    told: list[tuple[str, int]] = []
    ended: set[int] = set()
    for piece in pieces:
        connection.receive(piece, 0.0)
        _serve(connection, quiet, told, ended)
    connection.fail(ErrorCode.NO_ERROR, "over")
    _serve(connection, quiet, told, ended)
    assert not connection.streams
    assert connection._inbound.held == connection.outbound.unsent == 0
    opened = [stream_id for kind, stream_id in told if kind == "Opened"]
    assert len(set(opened)) == len(opened)
    return told


def _serve(connection: Connection, quiet: bool, told: list[tuple[str, int]], ended: set[int]) -> None:
    """Answer everything, in a way that depends on nothing but what was said."""
    while True:
        events, connection.events = connection.events, []
        for event in events:
            told.append((type(event).__name__, _of(event)))
            if not quiet:
                _answer(connection, event)
            if isinstance(event, Reset):
                assert event.stream.id not in ended, "a stream ends once"
                ended.add(event.stream.id)
        if not quiet:
            while data := connection.take(0.0):
                _check(data)
        if not connection.events:
            return


def _answer(connection: Connection, event: Event) -> None:
    match event:
        case Message(stream, data):
            connection.read(stream, len(data))
            connection.send(stream, data * 20)
        case Ended(stream) | Opened(stream) if stream.id % 4 == 1 or isinstance(event, Ended):
            connection.finish(stream, Code.OK)
        case Broken(stream, code, text):
            connection.finish(stream, code, text)


def _of(event: Event) -> int:
    if isinstance(event, Lost):
        return int(event.code)
    stream = getattr(event, "stream", None)
    return 0 if stream is None else int(stream.id)


def _check(data: bytes) -> None:
    """What we say is frames."""
    while data:
        size = int.from_bytes(data[:3], "big")
        assert size <= frames.FRAME_BYTES_LARGEST
        assert len(data) >= 9 + size
        assert data[3] <= frames.CONTINUATION
        data = data[9 + size :]
