"""Header blocks out of HEADERS and CONTINUATION frames (RFC 9113, 6.2 and 6.10), and the padding that DATA has, too."""

from __future__ import annotations

from struct import Struct

from epp.edge.http2 import frames
from epp.edge.http2.bounds import Fatal
from epp.edge.http2.frames import ErrorCode
from epp.edge.http2.limits import Http2Limits

_NUMBER = Struct(">L")


class Block:
    """A header block, whole or still coming."""

    __slots__ = ("end_stream", "fragments", "frames", "size", "stream_id")

    def __init__(self, stream_id: int, end_stream: bool, fragment: bytes) -> None:
        self.stream_id = stream_id
        self.end_stream = end_stream
        self.fragments = [fragment]
        self.size = len(fragment)
        self.frames = 0

    def go_on(self, fragment: bytes, limits: Http2Limits) -> None:
        """One CONTINUATION more. Raises `Fatal` where they are too many or too much."""
        self.frames += 1
        self.size += len(fragment)
        if self.frames > limits.continuations_max:
            raise Fatal(ErrorCode.ENHANCE_YOUR_CALM, "too many continuations", "continuations_max")
        if self.size > limits.header_block_bytes_max:
            raise Fatal(ErrorCode.ENHANCE_YOUR_CALM, "a header block too large", "header_block_bytes_max")
        self.fragments.append(fragment)


def fragment_of(flags: int, stream_id: int, payload: bytes) -> bytes:
    """What HEADERS holds of its block, without padding and priority. Raises `Fatal`."""
    at, stop = 0, len(payload)
    if stream_id == 0:
        raise Fatal(ErrorCode.PROTOCOL_ERROR, "headers of no stream")
    if flags & frames.PADDED:
        at, stop = unpadded(payload, at, stop)
    if flags & frames.WITH_PRIORITY:
        if stop - at < 5:
            raise Fatal(ErrorCode.FRAME_SIZE_ERROR, "headers that end in their priority")
        if depends_on(payload, at) == stream_id:
            raise Fatal(ErrorCode.PROTOCOL_ERROR, "a stream that depends on itself")
        at += 5
    return payload if stop - at == len(payload) else payload[at:stop]


def unpadded(data: bytes, at: int, stop: int) -> tuple[int, int]:
    """Where the content begins and stops. Raises `Fatal`."""
    if at == stop:
        raise Fatal(ErrorCode.FRAME_SIZE_ERROR, "padding without a length")
    padding = data[at]
    if padding > stop - at - 1:
        raise Fatal(ErrorCode.PROTOCOL_ERROR, "more padding than frame")
    return at + 1, stop - padding


def depends_on(payload: bytes, at: int) -> int:
    """The stream that a priority names."""
    found: int = _NUMBER.unpack_from(payload, at)[0]
    return found & frames.STREAM_ID_LARGEST
