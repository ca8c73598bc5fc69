"""HTTP answers, good, odd, bad and hostile, in one piece and cut anywhere."""

from __future__ import annotations

from http.client import HTTPMessage, HTTPResponse
from io import BytesIO
from itertools import pairwise
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.edge import http1
from epp.edge.http1 import Answer, BadHttp, TooLarge

BYTES_MAX = 1000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
COUNTED = HEAD + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n4;x=y\r\nwiki\r\n0B\r\npedia in \r\n\r\n0\r\nTrailer: 1\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nhello"


def whole(*pieces: bytes, eof: bool = True, bytes_max: int = BYTES_MAX) -> Answer:
    answer = Answer(bytes_max)
    for piece in pieces:
        answer.feed(piece)
    if eof and not answer.done:
        answer.eof()
    return answer


@pytest.mark.parametrize(
    ("data", "body", "keep"),
    [
        (COUNTED, b"hello", True),
        (CHUNKED, b"wikipedia in \r\n", True),
        (HEAD + b"content-length:0\r\n\r\n", b"", True),
        (HEAD + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
        (UNTIL_CLOSE, b"hello", False),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + COUNTED, b"hello", True),
        (HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
        (HEAD + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"", False),
        (HEAD + b"Content-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
        (b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
        (COUNTED + b"and more", b"hello", False),
    ],
)
def test_answers_and_whether_the_connection_can_be_used_again(data: bytes, body: bytes, keep: bool) -> None:
    answer = whole(data)

    assert (answer.status, answer.body, answer.keep) == (200, body, keep)


@pytest.mark.parametrize("data", [COUNTED, CHUNKED, UNTIL_CLOSE, b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED])
def test_it_does_not_matter_where_an_answer_is_cut(data: bytes) -> None:
    expected = whole(data)
    for size in range(1, len(data)):
        answer = whole(*(data[at : at + size] for at in range(0, len(data), size)))
        assert (answer.status, answer.body, answer.keep) == (expected.status, expected.body, expected.keep)


@pytest.mark.parametrize("data", [COUNTED, CHUNKED])
def test_an_answer_that_ends_early_is_cut_off(data: bytes) -> None:
    for end in range(len(data)):
        answer = whole(data[:end], eof=False)
        assert not answer.done
        with pytest.raises(BadHttp, match="cut off"):
            answer.eof()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "not HTTP as we know it"),
        (b"HTTP/2 200\r\n\r\n", "not HTTP as we know it"),
        (b"HTTP/1.1 20x OK\r\n\r\n", "not HTTP as we know it"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "not HTTP as we know it"),
        (b"HTTP/1.1 099 OK\r\n\r\n", "not HTTP as we know it"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "not HTTP as we know it"),
        (b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n", "not HTTP as we know it"),
        (b"HTTP/1.1 200 OK\r\n folded: 5\r\n\r\n", "not HTTP as we know it"),
        (HEAD + b"Content-Length: -5\r\n\r\n", "its length is not a number"),
        (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", "its length is not a number"),
        (HEAD + b"Content-Length: " + b"9" * 4000 + b"\r\n\r\n", "its length is not a number"),
        (HEAD + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\n", "compressed"),
        (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "transfer coding"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "size of a chunk"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", "size of a chunk"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x1\r\n", "size of a chunk"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1_0\r\n", "size of a chunk"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", "longer than it said"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 2000, "too long"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 100, "too many trailers"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "101 was not asked for"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 10, "100 was not asked for"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 10_000, "its head is longer"),
    ],
)
def test_what_cannot_be_used_says_why_however_it_is_cut(data: bytes, message: str) -> None:
    for size in (1, 7, len(data)):
        with pytest.raises(BadHttp, match=message):
            whole(*(data[at : at + size] for at in range(0, len(data), size)), eof=False)


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"Content-Length: 1001\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n3E9\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 1001,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 1001,
    ],
)
def test_no_more_is_kept_than_allowed(data: bytes) -> None:
    with pytest.raises(TooLarge, match="larger than 1000 bytes"):
        whole(data)


@given(
    st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6), st.sampled_from(["counted", "chunked", "close"])
)
def test_every_body_comes_through_in_every_framing_and_every_cut(body: bytes, cuts: list[int], framing: str) -> None:
    if framing == "counted":
        data = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    elif framing == "chunked":
        pieces = [body[at : at + 37] for at in range(0, len(body), 37)]
        data = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces)
        data += b"0\r\n\r\n"
    else:
        data = HEAD + b"\r\n" + body
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    answer = whole(*(data[a:b] for a, b in pairwise(edges)))

    assert (answer.status, answer.body) == (200, body)
    assert answer.keep is (framing != "close")


_MARKS = [
    *(
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 404 No\r\n",
        b"HTTP/1.1 100 C\r\n",
        b"Content-Length: ",
        b"Transfer-Encoding: chunked",
    ),
    *(b"Connection: close\r\n", b"\r\n", b"\r", b"\n", b"5", b"a", b"0", b":", b" ", b";", b"\x00", b"\xff", b"hello"),
]
_TEXTS = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(_MARKS), max_size=30).map(b"".join))


@given(_TEXTS, st.lists(st.integers(0, 200), max_size=5))
def test_whatever_comes_the_outcome_does_not_depend_on_the_cuts(data: bytes, cuts: list[int]) -> None:
    def outcome(*pieces: bytes) -> tuple[object, ...]:
        try:
            answer = whole(*pieces, bytes_max=50)
        except BadHttp as bad:
            return (str(bad),)
        return answer.status, answer.body, answer.keep

    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    assert outcome(data) == outcome(*(data[a:b] for a, b in pairwise(edges)))


class _Socket:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def makefile(self, *_: object) -> BytesIO:
        return BytesIO(self.data)


@given(st.lists(st.sampled_from(_MARKS), max_size=12).map(lambda marks: b"HTTP/1.1 200 OK\r\n" + b"".join(marks)))
def test_what_is_accepted_is_what_the_standard_library_reads(data: bytes) -> None:
    try:
        ours = whole(data)
    except BadHttp:
        return
    theirs = HTTPResponse(_Socket(data))  # type: ignore[arg-type]  # all it needs of a socket
    theirs.begin()

    assert theirs.status == ours.status
    if b"Transfer-Encoding" not in cast(HTTPMessage, theirs.headers) or theirs.chunked:
        assert theirs.read() == ours.body


def test_a_head_longer_than_its_bound_is_refused_also_when_it_comes_at_once() -> None:
    head = b"HTTP/1.1 200 OK\r\na: " + b"b" * http1.HEAD_BYTES_MAX + b"\r\nContent-Length: 0\r\n\r\n"

    with pytest.raises(BadHttp, match="head is longer"):
        whole(head)
