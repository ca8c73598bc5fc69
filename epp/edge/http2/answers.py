"""Response headers and trailers as HPACK bytes.

Every field is a literal that is not indexed (RFC 7541, section 6.2.2), or an entry of the static table: what we send
never depends on what was sent before, and whatever table size the peer wants is fine.
"""

from __future__ import annotations

from epp.edge.status import Code

# Our dynamic table has no room, said once and before all: a peer may ask for less than the default at any time, and
# then wants to hear of it.
NO_TABLE = b"\x20"
MESSAGE_BYTES_MAX = 1024  # of a status text
_CONTENT_TYPE = b"\x0f\x10\x10application/grpc"  # entry 31 of the static table
GRPC = b"\x88" + _CONTENT_TYPE  # entry 8: ":status" 200
_PLAIN = frozenset(range(0x20, 0x7F)) - {0x25}


def trailers(code: Code, text: str = "") -> bytes:
    """The end of an answer."""
    if code is Code.OK:
        return _OK
    return _literal(b"grpc-status", b"%d" % code) + (_literal(b"grpc-message", _escaped(text)) if text else b"")


def http_error(status: int) -> bytes:
    """An answer to what is no gRPC, of plain text."""
    return b"\x08" + _text(b"%d" % status) + b"\x0f\x10" + _text(b"text/plain")


def accepted_encodings() -> bytes:
    """What messages may be compressed with."""
    return _literal(b"grpc-accept-encoding", b"identity,gzip")


def _literal(name: bytes, value: bytes) -> bytes:
    return b"\x00" + _text(name) + _text(value)


def _text(value: bytes) -> bytes:
    """A length in seven bits and as many more as it takes, then the bytes (sections 5.1 and 5.2)."""
    length = len(value)
    if length < 127:
        return bytes((length,)) + value
    length -= 127
    more = b"\x7f"
    while length >= 128:
        more += bytes((length % 128 + 128,))
        length //= 128
    return more + bytes((length,)) + value


def _escaped(text: str) -> bytes:
    """`grpc-message`: UTF-8 in which everything but printable ASCII is percent-encoded."""
    raw = text.encode("utf-8", "replace")[: MESSAGE_BYTES_MAX // 3]
    return b"".join(bytes((byte,)) if byte in _PLAIN else b"%%%02X" % byte for byte in raw)


_OK = _literal(b"grpc-status", b"0")
