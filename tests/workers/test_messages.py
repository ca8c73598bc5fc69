"""What is said arrives as it was said, however the bytes are cut."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.protocol.exchange import Route
from epp.protocol.messages import Decide, Immediate
from epp.workers.messages import Answer, Asked, Counted, Down, Ended, Gone, Message, Unpacking, Up, Way, packed

ASK = Decide({"a": "é", ":path": "/v1"}, b"\x00\xff" * 5, frozenset({"10.0.0.1:80"}), {"x": "y"}, True, True)
ASKED = Asked(7, 0, 1.5, ASK, 3, True)
ROUTE = Route("10.0.0.1:80", [("a", "b")], ["c"], b"body", True, [("x", "y")], {"a": 1.0}, {"ns": {"k": "v"}})
WAY = Way(7, "id", 2.0, "m", None, True, 0.1, "10.0.0.1:80", True, False, True, ROUTE)
COUNTED = Counted([1, 2], 1, [0, 0], 3, 1, [0.1], [], [("OK", 0.2)], [], ["ValueError"])


@given(st.lists(st.integers(0, 400), max_size=20))
def test_however_bytes_are_cut_the_same_messages_come_out(cuts: list[int]) -> None:
    said: list[Message] = [ASKED, Gone(7), COUNTED, ASKED]
    data = b"".join(packed(message) for message in said)  # type: ignore[arg-type]  # each of them is one
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    unpacking, decode = Unpacking(), msgspec.msgpack.Decoder(Up).decode
    found = [decode(one) for a, b in pairwise(edges) for one in unpacking.feed(data[a:b])]

    assert found == said


@pytest.mark.parametrize("message", [WAY, Answer(1, "id", 0.0, Immediate(429, [("a", "b")], b"body", "why"))])
def test_what_is_decided_is_read_as_it_was(message: Down) -> None:
    (found,) = map(msgspec.msgpack.Decoder(Down).decode, Unpacking().feed(packed(message)))

    assert msgspec.to_builtins(found) == msgspec.to_builtins(message)
    assert type(found) is type(message)


def test_an_end_carries_the_pace_of_its_answer() -> None:
    said = Ended(1, "completed", 2.0, 0.5, 200, None, True, None, 10, ([1, 0, 2], 0.3))
    (found,) = map(msgspec.msgpack.Decoder(Up).decode, Unpacking().feed(packed(said)))

    assert found == said
