"""What a load generator reads out of an answer."""

from __future__ import annotations

from array import array

import pytest

from benchmarks.live.connection import Flight
from benchmarks.live.messages import CUT, Sample
from epp.edge.http1 import BadHttp
from tests.live.server import ANSWER, sse


def fed(data: bytes, pieces: int, *, stream: bool = True) -> tuple[Sample, array[float]]:
    """The answer in pieces of so many bytes, one each second after the request was due."""
    gaps = array("f")
    flight = Flight(0, 0.0, gaps)
    now = 0.0
    for begin in range(0, len(data), pieces):
        now += 1.0
        flight.feed(data[begin : begin + pieces], now)

    assert flight.done
    return flight.sample(0.0, now, stream), gaps


@pytest.mark.parametrize("pieces", [1, 2, 3, 7, 64, 1 << 20])
def test_tokens_do_not_depend_on_how_the_stream_is_cut(pieces: int) -> None:
    sample, _ = fed(sse(5), pieces)

    assert (sample.status, sample.tokens) == ("200", 5)


def test_each_event_that_travels_alone_is_a_read_of_its_own() -> None:
    chunk = len(sse(6)) - len(sse(5))  # what one more token takes
    head = len(sse(0, done=False)) - len(sse(0, done=False).partition(b"\r\n\r\n")[2])
    gaps = array("f")
    flight = Flight(0, 0.0, gaps)
    data = sse(5)
    flight.feed(data[:head], 1.0)
    for n in range(5):
        flight.feed(data[head + n * chunk : head + (n + 1) * chunk], 2.0 + n)
    flight.feed(data[head + 5 * chunk :], 9.0)
    sample = flight.sample(0.0, 9.0, stream=True)

    assert sample.ttft_s == 2.0  # the first event, not the head
    assert sample.reads == 6
    assert list(gaps) == [1.0, 1.0, 1.0, 1.0, 3.0]


def test_a_stream_without_its_last_event_is_cut_short() -> None:
    sample, _ = fed(sse(5, done=False), 1 << 20)

    assert sample.status == CUT


@pytest.mark.parametrize("pieces", [1, 3, 1 << 20])
def test_without_usage_the_events_are_the_tokens(pieces: int) -> None:
    body = b"data: {}\n\n" * 7 + b"data: [DONE]\n\n"
    sample, _ = fed(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body, pieces)

    assert sample.tokens == 7


def test_a_plain_answer_has_no_first_token() -> None:
    sample, gaps = fed(ANSWER, 5, stream=False)

    assert (sample.status, sample.ttft_s, list(gaps)) == ("200", None, [])
    assert sample.e2e_s is not None


def test_latency_counts_from_the_time_it_was_due() -> None:
    flight = Flight(0, 10.0, array("f"))
    flight.sent = 12.0
    flight.feed(ANSWER, 13.0)
    sample = flight.sample(8.0, 13.0, stream=False)

    assert (sample.at, sample.late_s, sample.e2e_s) == (2.0, 2.0, 3.0)


def test_what_is_no_http_is_refused() -> None:
    with pytest.raises(BadHttp):
        Flight(0, 0.0, array("f")).feed(b"SSH-2.0-OpenSSH\r\n\r\n", 1.0)
