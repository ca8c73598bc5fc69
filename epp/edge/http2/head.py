"""Request headers: HPACK to what a gRPC server must know of them, checked as RFC 9113 (section 8) wants it.

Must stay true: the dynamic table is the peer's to the entry, so every block is decoded in order, whatever becomes of
its stream. Only a block that was decoded before, and changed nothing in the table, which has not changed since, is
looked up instead: it can mean nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from hpack import Decoder, HPACKError
from hpack.exceptions import OversizedHeaderListError
from hpack.table import HeaderTable

from epp.edge.http2.limits import Http2Limits

KNOWN_BLOCKS_MAX = 256
KNOWN_BLOCK_BYTES_MAX = 1024
_CONNECTION_HEADERS = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
_PSEUDO = frozenset((b":method", b":scheme", b":authority", b":path"))
_NO_NAME = re.compile(rb"[^\x21-\x39\x3b-\x40\x5b-\x7e]")  # what no lower-case field name has (section 8.2.1)
_NO_VALUE = re.compile(rb"[\x00\r\n]")
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


class BadBlock(Exception):
    """A header block that cannot be decoded: nothing later on the connection can be."""


class TooLarge(Exception):
    """A header list beyond what was told to the peer; it was not decoded to the end."""


@dataclass(slots=True, frozen=True)
class Head:
    """What a request's headers say. `malformed` is what HTTP/2 forbids in them, or None.

    `timeout_s` is None where the client sets no deadline; `encoding` is what its messages may be compressed with.
    """

    malformed: str | None = None
    method: bytes = b""
    path: bytes = b""
    content_type: bytes = b""
    content_length: int | None = None
    encoding: bytes = b"identity"
    timeout_s: float | None = None


class HeadReader:
    """Decodes the header blocks of one connection, in their order."""

    def __init__(self, limits: Http2Limits) -> None:
        self._count_max = limits.header_count_max
        self._decoder = Decoder(limits.header_list_bytes_max)
        self._table = _WatchedTable()
        self._decoder.header_table = self._table
        self._known: dict[bytes, Head] = {}
        self._known_at = 0
        self.decoded = 0

    def request(self, block: bytes) -> Head:
        """The headers that open a stream. Raises `BadBlock` and `TooLarge`, after which the connection is lost."""
        table = self._table
        if self._known_at == table.changes:
            known = self._known.get(block)
            if known is not None:
                return known
        before = table.changes
        head = read_head(self._decode(block))
        if table.changes != before or self._known_at != before:
            self._known.clear()
            self._known_at = table.changes
        if table.changes == before and len(block) <= KNOWN_BLOCK_BYTES_MAX and len(self._known) < KNOWN_BLOCKS_MAX:
            self._known[block] = head
        return head

    def trailers(self, block: bytes) -> str | None:
        """The headers that end a request: what is forbidden in them. Raises as `request` does."""
        return read_head(self._decode(block), trailers=True).malformed

    def _decode(self, block: bytes) -> list[tuple[bytes, bytes]]:
        self.decoded += 1
        try:
            headers: list[tuple[bytes, bytes]] = [*self._decoder.decode(block, raw=True)]
        except OversizedHeaderListError as large:
            raise TooLarge from large
        except (HPACKError, UnicodeError, IndexError) as broken:
            raise BadBlock(type(broken).__name__) from broken
        if len(headers) > self._count_max:
            raise TooLarge
        return headers


class _WatchedTable(HeaderTable):
    """The dynamic table, with a count of its changes."""

    def __init__(self) -> None:
        self.changes = 0
        super().__init__()

    def add(self, name: bytes, value: bytes) -> None:
        self.changes += 1
        super().add(name, value)

    @property
    def maxsize(self) -> int:
        return super().maxsize

    @maxsize.setter
    def maxsize(self, newmax: int) -> None:
        self.changes += 1
        HeaderTable.maxsize.fset(self, newmax)  # type: ignore[attr-defined]  # the property of the class we extend


def read_head(headers: Iterable[tuple[bytes, bytes]], *, trailers: bool = False) -> Head:
    """What these headers say, or the first thing that is wrong with them."""
    found: dict[bytes, bytes] = {}
    regular = trailers
    for name, value in headers:
        if name[:1] == b":":
            if regular or name not in _PSEUDO or name in found:
                return Head("a pseudo-header that is unknown, late or there twice")
        else:
            regular = True
            wrong = _wrong(name, value)
            if wrong is not None or (name == b"content-length" and found.get(name, value) != value):
                return Head(wrong or "two lengths")
        found[name] = value
    return Head() if trailers else _head(found)


def _head(found: dict[bytes, bytes]) -> Head:
    method, path, length = found.get(b":method", b""), found.get(b":path", b""), found.get(b"content-length")
    if not method or not path or not found.get(b":scheme"):
        return Head("a pseudo-header is missing or empty")
    if length is not None and not length.isdigit():
        return Head("a content-length that is no number")
    return Head(
        None,
        method,
        path,
        found.get(b"content-type", b""),
        None if length is None else int(length[:19]),
        found.get(b"grpc-encoding", b"identity"),
        _timeout_s(found.get(b"grpc-timeout")),
    )


def _wrong(name: bytes, value: bytes) -> str | None:
    """What a regular field may not be (sections 8.2.1 and 8.2.2)."""
    if not name or _NO_NAME.search(name):
        return "a field name with characters that no name has"
    if _NO_VALUE.search(value) or value[:1] in (b" ", b"\t") or value[-1:] in (b" ", b"\t"):
        return "a field value with characters that no value has"
    if name in _CONNECTION_HEADERS or (name == b"te" and value != b"trailers"):
        return "a header of HTTP/1's connections"
    return None


def _timeout_s(value: bytes | None) -> float | None:
    """`grpc-timeout`; one that cannot be read is none, as in gRPC's own servers."""
    found = None if value is None else _TIMEOUT.fullmatch(value)
    return None if found is None else int(found[1]) * _UNITS_S[found[2]]
