"""The exchange by transcripts: messages in, actions out, for each dialect."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable

import pytest

from epp.domain import Reason, Refused
from epp.protocol.exchange import CHUNK_BYTES_MAX, HELD_BYTES_MAX, Buffers, Exchange, Route, State
from epp.protocol.messages import (
    Action,
    BadMessage,
    Body,
    BodyMode,
    BodyReply,
    Chunk,
    Decide,
    Edits,
    Event,
    Headers,
    HeadersReply,
    Immediate,
    Modes,
    Reply,
    Side,
    TrailersReply,
)
from tests.make import DUPLEX, ONE_HOP, answer_head, body, head, trailers

LIMIT = 20 * 1024 * 1024
THERE = Route("10.0.0.1:8000", [("x-selected-model", "m")], model_changed=True)
EDITS = Edits([("x-selected-model", "m")], (), "10.0.0.1:8000", True)
STREAMED = Modes(BodyMode.STREAMED, BodyMode.NONE)
EAGER = Modes(BodyMode.STREAMED, BodyMode.NONE, eager=True)


def play(events: Iterable[Event], route: Route = THERE, exchange: Exchange | None = None) -> list[Action]:
    """Every action, each `Decide` followed by the replies of routing to `route`."""
    exchange = exchange or Exchange(Buffers(LIMIT, LIMIT))
    actions: list[Action] = []
    for event in events:
        for action in exchange.receive(event):
            actions.append(action)
            if isinstance(action, Decide):
                actions += exchange.routed(route)
    return actions


def replies(actions: list[Action]) -> list[Reply]:
    return [a for a in actions if not isinstance(a, Decide)]


def sent(actions: list[Action], side: Side = Side.REQUEST) -> bytes:
    return b"".join(a.data for a in actions if isinstance(a, Chunk) and a.side is side)


def test_full_duplex_answers_nothing_until_the_body_is_complete() -> None:
    exchange = Exchange(Buffers(LIMIT, LIMIT))

    assert exchange.receive(head(DUPLEX)) == []
    assert exchange.receive(body(b'{"a":', end=False)) == []
    (decide,) = exchange.receive(body(b"1}"))
    assert isinstance(decide, Decide)
    assert decide.body == b'{"a":1}'
    assert exchange.routed(THERE) == [HeadersReply(Side.REQUEST, EDITS), Chunk(Side.REQUEST, b'{"a":1}', True)]


def test_full_duplex_sends_a_new_body_with_its_length() -> None:
    actions = play([head(DUPLEX), body(b"old")], Route("10.0.0.1:8000", body=b"newer"))

    assert replies(actions) == [
        HeadersReply(Side.REQUEST, Edits([("content-length", "5")], (), "10.0.0.1:8000", False)),
        Chunk(Side.REQUEST, b"newer", True),
    ]


@pytest.mark.parametrize(("size", "count"), [(0, 1), (1, 1), (62_000, 1), (62_001, 2), (124_000, 2), (130_000, 3)])
def test_full_duplex_splits_bodies_and_ends_once(size: int, count: int) -> None:
    pieces = [a for a in play([head(DUPLEX), body(b"x" * size)]) if isinstance(a, Chunk)]

    assert len(pieces) == count
    assert max(len(p.data) for p in pieces) <= CHUNK_BYTES_MAX
    assert [p.end for p in pieces] == [False] * (count - 1) + [True]


def test_full_duplex_ignores_a_repeated_end_of_stream() -> None:
    exchange = Exchange(Buffers(LIMIT, LIMIT))
    play([head(DUPLEX), body(b"abc")], exchange=exchange)

    assert exchange.receive(body(b"c")) == []
    assert exchange.receive(body(b"")) == []


def test_full_duplex_request_trailers_end_the_body() -> None:
    actions = play([head(DUPLEX), body(b"abc", end=False), trailers()])

    assert replies(actions) == [
        HeadersReply(Side.REQUEST, EDITS),
        Chunk(Side.REQUEST, b"abc", False),
        TrailersReply(Side.REQUEST),
    ]


def test_full_duplex_trailers_without_a_body() -> None:
    assert replies(play([head(DUPLEX), trailers()])) == [HeadersReply(Side.REQUEST, EDITS), TrailersReply(Side.REQUEST)]


def test_full_duplex_response_goes_on_piece_by_piece() -> None:
    exchange = Exchange(Buffers(LIMIT, LIMIT))
    route = Route("10.0.0.1:8000", response_headers=[("x-vsr-selected-model", "m")])
    play([head(DUPLEX), body(b"{}")], route, exchange)
    answer = [
        answer_head(),
        body(b"data: 1\n\n", False, Side.RESPONSE),
        body(b"", False, Side.RESPONSE),
        body(b"data: 2\n\n", True, Side.RESPONSE),
        body(b"data: 2\n\n", True, Side.RESPONSE),
    ]
    actions = [exchange.receive(event) for event in answer]

    assert actions == [
        [HeadersReply(Side.RESPONSE, Edits([("x-vsr-selected-model", "m")]))],
        [Chunk(Side.RESPONSE, b"data: 1\n\n", False)],
        [],
        [Chunk(Side.RESPONSE, b"data: 2\n\n", True)],
        [],
    ]
    assert exchange.status == 200


def test_full_duplex_response_trailers_are_answered() -> None:
    exchange = Exchange(Buffers(LIMIT, LIMIT))
    play([head(DUPLEX), body(b"{}")], exchange=exchange)
    actions = play([answer_head(), body(b"x", False, Side.RESPONSE), trailers(Side.RESPONSE)], exchange=exchange)

    assert actions == [
        HeadersReply(Side.RESPONSE),
        Chunk(Side.RESPONSE, b"x", False),
        TrailersReply(Side.RESPONSE),
    ]


def test_a_stream_that_shows_only_the_response_passes_it_on() -> None:
    actions = play([answer_head(), body(b"x", False, Side.RESPONSE), body(b"", True, Side.RESPONSE)])

    assert actions == [
        HeadersReply(Side.RESPONSE),
        Chunk(Side.RESPONSE, b"x", False),
        Chunk(Side.RESPONSE, b"", True),
    ]


def test_one_hop_takes_three_messages() -> None:
    actions = play([head(ONE_HOP), body(b"{}"), answer_head()])

    assert replies(actions) == [
        HeadersReply(Side.REQUEST),
        BodyReply(Side.REQUEST, None, EDITS),
        HeadersReply(Side.RESPONSE),
    ]


def test_one_hop_gives_a_new_body_its_length_in_the_same_answer() -> None:
    actions = play([head(ONE_HOP), body(b"old")], Route("10.0.0.1:8000", body=b"newer"))

    assert replies(actions)[-1] == BodyReply(
        Side.REQUEST, b"newer", Edits([("content-length", "5")], (), "10.0.0.1:8000", False)
    )


def test_one_hop_with_request_trailers_has_the_whole_body_in_one_message() -> None:
    actions = play([head(ONE_HOP), body(b"{}", end=False), trailers()])

    assert replies(actions) == [
        HeadersReply(Side.REQUEST),
        BodyReply(Side.REQUEST, None, EDITS),
        TrailersReply(Side.REQUEST),
    ]


@pytest.mark.parametrize("modes", [DUPLEX, ONE_HOP, STREAMED, EAGER, Modes(BodyMode.NONE, BodyMode.NONE), None])
def test_a_request_without_a_body_is_decided_at_its_headers(modes: Modes | None) -> None:
    (decide, reply) = play([head(modes, end=True)])

    assert isinstance(decide, Decide)
    assert decide.body == b""
    assert reply == HeadersReply(Side.REQUEST, EDITS)


def test_headers_only_mode_decides_without_a_body() -> None:
    (decide, reply) = play([head(Modes(BodyMode.NONE, BodyMode.NONE))])

    assert isinstance(decide, Decide)
    assert decide.body is None
    assert reply == HeadersReply(Side.REQUEST, EDITS)


def test_streamed_asks_for_the_whole_body_and_decides_again() -> None:
    decide, reply, again, second = play([head(STREAMED), body(b"{}")])

    assert isinstance(decide, Decide)
    assert decide.body is None
    assert reply == HeadersReply(Side.REQUEST, EDITS, Modes(BodyMode.BUFFERED, BodyMode.NONE))
    assert isinstance(again, Decide)
    assert again.body == b"{}"
    assert second == BodyReply(Side.REQUEST, None, EDITS)


def test_streamed_in_pieces_passes_them_on_one_reply_each() -> None:
    actions = play([head(STREAMED), body(b"{", end=False), body(b"}", end=False), body(b"")])

    assert actions[2:] == [BodyReply(Side.REQUEST)] * 3


def test_eager_streamed_holds_the_answers_and_puts_a_new_body_in_the_first() -> None:
    actions = play([head(EAGER), body(b"o", end=False), body(b"ld")], Route("10.0.0.1:8000", body=b"newer"))

    assert replies(actions) == [
        HeadersReply(Side.REQUEST, Edits([("content-length", "5")], (), "10.0.0.1:8000", False)),
        BodyReply(Side.REQUEST, b"newer"),
        BodyReply(Side.REQUEST, b""),
    ]


def test_eager_streamed_does_not_hold_more_than_envoy_would() -> None:
    big = b"x" * (HELD_BYTES_MAX + 1)
    decide, *rest = play([head(EAGER), body(big, end=False), body(b"}", end=True)])

    assert isinstance(decide, Decide)
    assert decide.body is None
    assert rest == [HeadersReply(Side.REQUEST, EDITS), BodyReply(Side.REQUEST), BodyReply(Side.REQUEST)]


def test_a_body_over_the_limit_is_refused_also_after_the_route_was_chosen_by_headers() -> None:
    exchange = Exchange(Buffers(HELD_BYTES_MAX + 10, LIMIT))
    play([head(EAGER), body(b"x" * (HELD_BYTES_MAX + 1), end=False)], exchange=exchange)

    with pytest.raises(Refused, match="larger than"):
        exchange.receive(body(b"x" * 10, end=False))


def test_a_body_over_the_limit_is_refused_at_the_byte_that_is_too_many() -> None:
    exchange = Exchange(Buffers(10, 100))
    exchange.receive(head(DUPLEX))
    exchange.receive(body(b"x" * 10, end=False))

    with pytest.raises(Refused) as refused:
        exchange.receive(body(b"x", end=False))
    assert refused.value.reason is Reason.BODY_TOO_LARGE


def test_a_declared_length_over_the_limit_is_refused_at_the_headers() -> None:
    with pytest.raises(Refused, match="larger than 10 bytes"):
        Exchange(Buffers(10, 100)).receive(head(ONE_HOP, **{"content-length": "11"}))


def test_nothing_follows_an_answer_of_our_own() -> None:
    exchange = Exchange(Buffers(LIMIT, LIMIT))
    exchange.receive(head(DUPLEX))
    exchange.receive(body(b"{}"))
    immediate = Immediate(404, [], b"{}")

    assert exchange.answer(immediate) == [immediate]
    assert exchange.state is State.CLOSED
    assert exchange.receive(body(b"{}")) == []
    assert exchange.receive(answer_head(404)) == []


def test_the_subset_of_the_body_message_counts_where_it_is_sent() -> None:
    exchange = Exchange(Buffers(LIMIT, LIMIT))
    exchange.receive(Headers(Side.REQUEST, {}, False, DUPLEX, frozenset({"early"})))
    (decide,) = exchange.receive(Body(Side.REQUEST, b"{}", True, frozenset({"late"})))

    assert isinstance(decide, Decide)
    assert decide.subset == frozenset({"late"})


@pytest.mark.parametrize("events", [[body(b"{}")], [trailers()], [head(ONE_HOP), head(ONE_HOP)]])
def test_a_message_out_of_order_is_a_clear_error(events: list[Event]) -> None:
    with pytest.raises(BadMessage, match="request headers come first, and once"):
        play(events)


def test_bodies_of_all_streams_together_are_bounded_and_let_go_when_answered() -> None:
    buffers = Buffers(100, 150)
    first, second, third = (Exchange(buffers) for _ in range(3))
    for exchange in (first, second, third):
        exchange.receive(head(DUPLEX))
    first.receive(body(b"x" * 100))
    with pytest.raises(Refused, match="too many large request bodies") as refused:
        second.receive(body(b"x" * 60, end=False))
    first.routed(THERE)
    third.receive(body(b"x" * 90, end=False))
    held = buffers.held
    third.close()
    third.close()

    assert refused.value.reason is Reason.BUFFERS_FULL
    assert held == 90
    assert buffers.held == 0


TEXT = '{"model": "auto", "messages": [{"role": "user", "content": "Grüße <&> 12345678901234567890"}]}'.encode()


@pytest.mark.parametrize("trailing", [False, True], ids=["end", "trailers"])
def test_a_body_that_waits_for_its_decision_is_held_once(trailing: bool) -> None:
    size, count = 1 << 16, 32
    exchange = Exchange(Buffers(LIMIT, LIMIT))
    tracemalloc.start()
    exchange.receive(head(DUPLEX))
    for n in range(count):
        asked = exchange.receive(body(bytes([n]) * size, end=n == count - 1 and not trailing))
    if trailing:
        asked = exchange.receive(trailers())
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    (decide,) = asked  # whoever decides has the body in hand as long as the request waits
    assert isinstance(decide, Decide)
    assert size * count <= held < 1.2 * size * count
    forwarded = [reply.data for reply in exchange.routed(THERE) if isinstance(reply, Chunk)]
    assert b"".join(forwarded) == b"".join(bytes([n]) * size for n in range(count))


@pytest.mark.parametrize("modes", [DUPLEX, EAGER])
@pytest.mark.parametrize("at", range(len(TEXT) + 1))
def test_a_body_split_at_any_byte_comes_out_whole(modes: Modes, at: int) -> None:
    actions = play([head(modes), body(TEXT[:at], end=False), body(TEXT[at:])])
    (decide,) = [a for a in actions if isinstance(a, Decide)]

    assert decide.body == TEXT
    if modes is DUPLEX:
        assert sent(actions) == TEXT
    else:
        assert [a for a in actions if isinstance(a, BodyReply)] == [BodyReply(Side.REQUEST)] * 2


def test_a_body_one_byte_at_a_time_comes_out_whole() -> None:
    pieces = [body(TEXT[i : i + 1], end=False) for i in range(len(TEXT))]

    assert sent(play([head(DUPLEX), *pieces, body(b"")])) == TEXT
