"""Spans as OTLP's protobuf bytes, written at once: objects of the SDK and of protobuf cost several times as much.

The messages are those of opentelemetry-proto (https://github.com/open-telemetry/opentelemetry-proto, `trace.proto`,
`common.proto`); what is written is what the SDK's own encoder would write of the same spans (a test compares).
"""

from __future__ import annotations

import struct
from enum import IntEnum
from functools import lru_cache

from epp.protocol.wire import field, varint
from epp.telemetry.spans import Span, Value

_SPAN = b"\x12"  # ScopeSpans.spans
_ATTRIBUTE = b"\x4a"  # Span.attributes
_UNSET, _FAILED = b"\x7a\x00", b"\x7a\x02\x18\x02"  # Span.status
_LOCAL, _REMOTE = b"\x85\x01\x00\x01\x00\x00", b"\x85\x01\x00\x03\x00\x00"  # Span.flags: whether the parent is remote
_TIMES = struct.Struct("<cQcQ")
_DOUBLE = struct.Struct("<cd")
_TRUE, _FALSE = b"\x10\x01", b"\x10\x00"
_NEGATIVE = 1 << 64  # an int64 below zero is written as its two's complement
KNOWN_MAX = 1024  # attributes that are kept encoded


class Kind(IntEnum):
    """`Span.SpanKind`."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3


_KINDS = {kind: bytes((0x30, kind)) for kind in Kind}


def encode(said: Span, ids: bytes, parent: bytes, kind: Kind, clock: int, *, remote: bool = False) -> bytes:
    """One span as a field of `ScopeSpans`.

    `ids` is what `identity` makes; `parent` 8 bytes or none, which is `remote` where it was told by a caller. `clock`
    turns its seconds into wall-clock nanoseconds.
    """
    name = said.name.encode()
    parts = [
        ids,
        b"\x22\x08" + parent if parent else b"",
        b"\x2a" + varint(len(name)) + name,
        _KINDS[kind],
        _TIMES.pack(b"\x39", clock + int(said.start * 1e9), b"\x41", clock + int(said.end * 1e9)),
        *[_attribute(name, value) for name, value in said.attributes.items() if value is not None],
    ]
    if said.error is not None:
        parts.append(_attribute("error.type", said.error))
    parts.append(_UNSET if said.error is None else _FAILED)
    parts.append(_REMOTE if remote else _LOCAL)
    return field(_SPAN, b"".join(parts))


def identity(trace: int, span: int) -> bytes:
    """The fields for a span's trace and its own id."""
    return b"\x0a\x10" + trace.to_bytes(16, "big") + b"\x12\x08" + span.to_bytes(8, "big")


@lru_cache(maxsize=KNOWN_MAX, typed=True)
def _attribute(name: str, value: Value) -> bytes:
    """Most are those of the last request again."""
    key = field(b"\x0a", name.encode()) + b"\x12"
    if type(value) is str:
        content = field(b"\x0a", value.encode())
    elif type(value) is bool:
        content = _TRUE if value else _FALSE
    elif type(value) is int:
        content = b"\x18" + varint(value if value >= 0 else value + _NEGATIVE)
    else:
        content = _DOUBLE.pack(b"\x21", value)
    size = varint(len(content))
    return _ATTRIBUTE + varint(len(key) + len(size) + len(content)) + key + size + content
