"""The rows of the matrix: what is tried, what we want to see, and where we know that it is otherwise, and why."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from tests.matrix.columns import Column


class Row(Enum):
    """Title, and what `ok` means."""

    BODY_TINY = "body: prompt of 1 B", "as the next"
    BODY_62000 = "body: 62,000 B", "as the next"
    BODY_62001 = "body: 62,001 B", "as the next"
    BODY_1M = "body: 1 MiB", "as the next"
    BODY_5M = (
        "body: 5 MiB",
        "`auto` was read from the body, a server of the chosen model answered, was asked by its own name, and had a "
        "prompt of the right length and, but for its last 128 B at most, the right bytes (asked directly for the same "
        "prompt, it finds it in its prefix cache)",
    )
    TOO_LARGE = "body: 21 MiB, announced", "413 by OneHop"
    TOO_LARGE_CHUNKED = "body: 21 MiB, chunked", "413 by OneHop"
    EVENTS = (
        "answer: 3,000 events",
        "every event in order, the end included, and the request is in the ledger meanwhile",
    )
    EVENTS_LARGE = "answer: 3,000 events in large writes", "the same when many events come in one piece"
    ANSWER_WHOLE = "answer: 12 kB of JSON", "as the server wrote it, 20 times of 20"
    READER_SLOW = "slow client: reads the answer over 2 s", "every event in order"
    BODY_SLOW = (
        "slow client: sends 62,001 B over 3 s",
        "answered 200, though that is longer than the message timeout (2 s)",
    )
    BODY_SLOW_5M = "slow client: sends 5 MiB over 3 s", "the same"
    GONE_SENDING = "client gone while it sends", "nothing is left behind"
    GONE_WAITING = "client gone while it waits", "nothing is left behind; the server was told"
    GONE_READING = "client gone in mid-answer", "the same"
    DEAD_ONE = "backend dead: one of three, not known yet", "12 requests of 62,001 B, 12 answers"
    DEAD_ALL = "backend dead: all", "503 at once"
    DIES_COMPUTING = "backend dies before its answer", "another one answers"
    DIES_ANSWERING = "backend dies during its answer", "the client sees at once that the answer is cut"
    LOAD_OPEN = (
        "OneHop killed and back under load, failing open",
        "every request is answered 200; then OneHop decides again",
    )
    LOAD_CLOSED = (
        "OneHop killed and back under load, failing closed",
        "an error within 5 s for requests open between kill and return, and for no others; then OneHop decides again",
    )
    KILLED_ANSWERING = "OneHop killed in mid-answer, failing open", "the client gets the whole answer"
    FROZEN_OPEN = "OneHop frozen (SIGSTOP), failing open", "200 within 5 s"
    FROZEN_CLOSED = "OneHop frozen (SIGSTOP), failing closed", "an error within 5 s"

    def __init__(self, title: str, wanted: str) -> None:
        self.title = title
        self.wanted = wanted


@dataclass(frozen=True, slots=True)
class Known:
    """What is seen instead of `ok` (a regular expression), where, and the footnote that says why."""

    rows: tuple[Row, ...]
    where: Callable[[Column], bool]
    seen: str
    note: str


BODIES = (Row.BODY_TINY, Row.BODY_62000, Row.BODY_62001, Row.BODY_1M, Row.BODY_5M)


def _headers_only(column: Column) -> bool:
    return column.wiring == "headers"


def _eager(column: Column) -> bool:
    return column.eager


def _duplex(column: Column) -> bool:
    return column.wiring == "duplex"


KNOWN = [
    Known(
        BODIES,
        _headers_only,
        "not read",
        "No body is shown to us: it arrives whole, but `auto` in it is not read, and the default pool gets it as it "
        "is. The model has to be in `x-selected-model`, set by a filter before ours.",
    ),
    Known(
        (Row.BODY_1M, Row.BODY_5M),
        _eager,
        "not read",
        "Above 512 KiB we answer before the body is whole, because Envoy stops sending a STREAMED body at its buffer "
        "limit: it arrives whole, but `auto` in it is not read, and the default pool gets it as it is.",
    ),
    Known(
        (Row.TOO_LARGE_CHUNKED,),
        _headers_only,
        "400",
        "The limit holds for an announced length only, as no body is shown to us. The model server got the body (the "
        "simulated one refuses a prompt longer than its context).",
    ),
    Known(
        (Row.LOAD_OPEN,),
        _duplex,
        r"ok|\d+ of \d+: (500|ClientPayloadError)(, \d+ of \d+: (500|ClientPayloadError))?",
        "Failing open works late: until Envoy's health check has noticed that OneHop is gone (about a second), a "
        "request of which a body piece was sent gets a 500 (envoy#41276). Answers that are under way at the kill are "
        "cut. The requests counted are those open at any time from the kill to the return, at 25 a second.",
    ),
    Known(
        (Row.LOAD_CLOSED,),
        _duplex,
        r"ok|\d+ of \d+: ClientPayloadError",
        "Answers that were under way at the kill are cut.",
    ),
    Known(
        (Row.KILLED_ANSWERING,),
        _duplex,
        "cut, visibly",
        "Every piece of the answer passes through OneHop, so the answer ends with it. The client sees that it is cut.",
    ),
    Known(
        (Row.FROZEN_OPEN,),
        _duplex,
        "500",
        "Full duplex has no message timeout. A request that comes before the HTTP/2 keepalive of our Envoy "
        "configuration (every second, and a second for the answer) or the health check has noticed gets a 500 then, "
        "although it should fail open (envoy#41276); later ones do.",
    ),
]


def known(row: Row, column: Column, seen: str) -> Known | None:
    """The known difference that explains what is seen, if there is one."""
    if seen == "ok":
        return None
    return next((k for k in KNOWN if row in k.rows and k.where(column) and re.fullmatch(k.seen, seen)), None)


def expected(row: Row, column: Column) -> list[str]:
    """What may be seen: the known differences of this place, or else `ok`."""
    return [k.seen for k in KNOWN if row in k.rows and k.where(column)] or ["ok"]
