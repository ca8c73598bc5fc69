"""HTTP/2 frames as numbers and bytes (RFC 9113, sections 4, 6 and 7). No state."""

from __future__ import annotations

from enum import IntEnum
from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_BYTES_DEFAULT = 16_384  # SETTINGS_MAX_FRAME_SIZE until told otherwise, and the least it can be
FRAME_BYTES_LARGEST = 2**24 - 1
WINDOW_DEFAULT = 65_535
WINDOW_LARGEST = 2**31 - 1
STREAM_ID_LARGEST = 2**31 - 1

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

# Ids of settings.
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS = 1, 2, 3
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 4, 5, 6


class ErrorCode(IntEnum):
    """Why a stream or a connection ends (RFC 9113, section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


# The 24 bits of a length as 16 and 8, then type, flags and stream.
FRAME_HEADER = Struct(">HBBBL")
# The same, and the five bytes that begin a gRPC message: whether it is compressed, and its length.
MESSAGE_HEADER = Struct(">HBBBLBL")
SETTING = Struct(">HL")
_WITH_NUMBER = Struct(">HBBBLL")
_GOAWAY = Struct(">HBBBLLL")


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One frame; the payload must fit it."""
    size = len(payload)
    return FRAME_HEADER.pack(size >> 8, size & 0xFF, kind, flags, stream_id) + payload


def window_update(stream_id: int, increment: int) -> bytes:
    """More room for what the peer sends, on a stream or (0) on the connection."""
    return _WITH_NUMBER.pack(0, 4, WINDOW_UPDATE, 0, stream_id, increment)


def reset(stream_id: int, code: ErrorCode) -> bytes:
    """The end of a stream that goes wrong."""
    return _WITH_NUMBER.pack(0, 4, RST_STREAM, 0, stream_id, code)


def goaway(last_stream_id: int, code: ErrorCode, why: bytes = b"") -> bytes:
    """No streams after this one are served."""
    size = 8 + len(why)
    return _GOAWAY.pack(size >> 8, size & 0xFF, GOAWAY, 0, 0, last_stream_id, code) + why


def settings(values: dict[int, int]) -> bytes:
    """Our settings."""
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(key, value) for key, value in values.items()))


SETTINGS_ACK = frame(SETTINGS, ACK, 0)
