"""The bytes of one HTTP/1.1 answer to a GET -> its status and body.

Must stay true: nothing beyond the bounds is kept, whatever comes; the result does not depend on how the bytes are cut
into pieces; after an answer that ended as it should, with nothing behind it, the connection can carry the next one.
Only what is asked for is understood: no redirects, no compression, no upgrade.
"""

from __future__ import annotations

from collections.abc import Callable

HEAD_BYTES_MAX = 32 << 10
CHUNK_LINE_BYTES_MAX = 1 << 10  # a chunk's size and its extensions; one trailer
TRAILERS_MAX = 64
INTERIM_MAX = 8  # 1xx answers before the real one
LENGTH_DIGITS_MAX = 15


class BadHttp(Exception):
    """The answer is not one we can use; the message says what is wrong with it."""


class TooLarge(BadHttp):
    """The body is larger than was allowed."""


class Answer:
    """Feed it what comes with `feed`, tell it the end of the connection with `eof`; `done` when it is whole."""

    __slots__ = (
        "_body",
        "_buffer",
        "_bytes_max",
        "_interim",
        "_left",
        "_size",
        "_step",
        "_trailers",
        "begun",
        "done",
        "keep",
        "status",
    )

    def __init__(self, bytes_max: int) -> None:
        self.status = 0
        self.begun = False
        self.done = False
        self.keep = False
        self._bytes_max = bytes_max
        self._buffer = b""
        self._body: list[bytes] = []
        self._size = 0
        self._left = 0
        self._interim = 0
        self._trailers = 0
        self._step: Callable[[Answer, bytes], bytes] = Answer._head  # not bound to us: a cycle would keep the body

    @property
    def body(self) -> bytes:
        """What came of it."""
        return self._body[0] if len(self._body) == 1 else b"".join(self._body)

    def feed(self, data: bytes) -> None:
        """The next piece. Raises BadHttp; what comes after that or after the end of the answer is not looked at."""
        if self.done:
            self.keep = False  # nobody asked for more
            return
        self.begun = True
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        while data and not self.done:
            data = self._step(self, data)
        if data and self.done:
            self.keep = False

    def eof(self) -> None:
        """The server has closed the connection. Raises BadHttp where the answer is not whole then."""
        if self._step is Answer._until_close:
            self.done = True
        elif not self.done:
            raise BadHttp("the answer was cut off")

    # Each step takes what it understands of the data and returns the rest, or keeps all of it until there is more.

    def _head(self, data: bytes) -> bytes:
        end = data.find(b"\r\n\r\n")
        if end > HEAD_BYTES_MAX or (end < 0 and len(data) > HEAD_BYTES_MAX):
            raise BadHttp(f"its head is longer than {HEAD_BYTES_MAX} bytes")
        if not b"HTTP/1.".startswith(data[:7]):
            raise BadHttp("not HTTP as we know it")
        if end < 0:
            self._buffer = data
            return b""
        status_line, *lines = data[:end].split(b"\r\n")
        self.status = _status(status_line)
        rest = data[end + 4 :]
        if 100 <= self.status < 200:
            self._interim += 1
            if self.status == 101 or self._interim > INTERIM_MAX:
                raise BadHttp(f"HTTP {self.status} was not asked for")
            return rest
        self._settle(_headers(lines), persistent=status_line.startswith(b"HTTP/1.1"))
        return rest

    def _settle(self, headers: dict[bytes, bytes], *, persistent: bool) -> None:
        """How the body will come."""
        connection = headers.get(b"connection", b"").lower()
        self.keep = b"close" not in connection and (persistent or b"keep-alive" in connection)
        if self.status in (204, 304):
            self.done = True
            return
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise BadHttp("the answer is compressed, which was not asked for")
        coding, length = headers.get(b"transfer-encoding"), headers.get(b"content-length")
        if coding is not None:
            if coding.lower() != b"chunked":
                raise BadHttp("the answer has a transfer coding that was not asked for")
            self.keep = self.keep and length is None  # with both, who knows who reads what
            self._step = Answer._chunk_size
        elif length is not None:
            self._left = _length(length)
            self._grow(self._left)
            self.done = self._left == 0
            self._step = Answer._counted
        else:
            self.keep = False
            self._step = Answer._until_close

    def _counted(self, data: bytes) -> bytes:
        piece, rest = data[: self._left], data[self._left :]
        self._body.append(piece)
        self._left -= len(piece)
        self.done = self._left == 0
        return rest

    def _until_close(self, data: bytes) -> bytes:
        self._grow(len(data))
        self._body.append(data)
        return b""

    def _chunk_size(self, data: bytes) -> bytes:
        line, rest = self._line(data)
        if line is None:
            return b""
        digits = line.partition(b";")[0].strip(b" \t")
        if not digits or len(digits) > LENGTH_DIGITS_MAX or digits.strip(b"0123456789abcdefABCDEF"):
            raise BadHttp("the size of a chunk is not a number")
        self._left = int(digits, 16)
        self._grow(self._left)
        self._step = Answer._chunk if self._left else Answer._trailer
        return rest

    def _chunk(self, data: bytes) -> bytes:
        piece, rest = data[: self._left], data[self._left :]
        self._body.append(piece)
        self._left -= len(piece)
        if self._left == 0:
            self._step = Answer._chunk_end
        return rest

    def _chunk_end(self, data: bytes) -> bytes:
        line, rest = self._line(data)
        if line is None:
            return b""
        if line:
            raise BadHttp("a chunk is longer than it said")
        self._step = Answer._chunk_size
        return rest

    def _trailer(self, data: bytes) -> bytes:
        line, rest = self._line(data)
        if line is None:
            return b""
        self._trailers += 1
        if self._trailers > TRAILERS_MAX:
            raise BadHttp("the answer has too many trailers")
        self.done = not line
        return rest

    def _line(self, data: bytes) -> tuple[bytes | None, bytes]:
        """One line without its end; None, with all of it kept, while the end is not there."""
        end = data.find(b"\r\n", 0, CHUNK_LINE_BYTES_MAX + 2)
        if end >= 0:
            return data[:end], data[end + 2 :]
        if len(data) > CHUNK_LINE_BYTES_MAX + 1:
            raise BadHttp("a line between chunks is too long")
        self._buffer = data
        return None, b""

    def _grow(self, count: int) -> None:
        self._size += count
        if self._size > self._bytes_max:
            raise TooLarge(f"the answer is larger than {self._bytes_max} bytes")


def _status(line: bytes) -> int:
    version, _, rest = line.partition(b" ")
    code = rest[:3]
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or not (
        code.isdigit() and rest[3:4] in (b"", b" ") and code >= b"100"
    ):
        raise BadHttp("not HTTP as we know it")
    return int(code)


def _headers(lines: list[bytes]) -> dict[bytes, bytes]:
    """By lower-case name; a repeated one, which for those we look at is only right if it says the same, as a list."""
    found: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name.strip() != name:
            raise BadHttp("not HTTP as we know it")
        key, value = name.lower(), value.strip(b" \t")
        found[key] = value if found.get(key, value) == value else found[key] + b", " + value
    return found


def _length(value: bytes) -> int:
    if not value.isdigit() or len(value) > LENGTH_DIGITS_MAX:
        raise BadHttp("its length is not a number")
    return int(value)
