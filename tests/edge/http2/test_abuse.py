"""Every bound of a connection, and one step beyond it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import pytest

from epp.edge.http2 import frames
from epp.edge.http2.budget import Budget
from epp.edge.http2.frames import ErrorCode
from epp.edge.http2.limits import Http2Limits
from epp.edge.status import Code
from tests.edge.http2.peer import RawPeer, message

PING = frames.frame(frames.PING, 0, 0, b"whatever")


def resets(peer: RawPeer) -> Iterator[bytes]:
    for number in range(1, 1000, 2):
        yield peer.headers(number) + frames.reset(number, ErrorCode.CANCEL)


def made_to_reset(peer: RawPeer) -> Iterator[bytes]:
    """The peer makes us do it, by a mistake on each stream."""
    for number in range(1, 1000, 2):
        yield peer.headers(number) + frames.window_update(number, 0)


def malformed(peer: RawPeer) -> Iterator[bytes]:
    for number in range(1, 1000, 2):
        yield peer.headers(number, connection="close")


def late_data(peer: RawPeer) -> Iterator[bytes]:
    yield peer.headers(1) + frames.reset(1, ErrorCode.CANCEL)
    for _ in range(1000):
        yield peer.data(1, b"x")


def refused(peer: RawPeer) -> Iterator[bytes]:
    for number in range(1, 1000, 2):
        yield peer.headers(number)


def continued(peer: RawPeer) -> Iterator[bytes]:
    yield frames.frame(frames.HEADERS, 0, 1, b"")
    for _ in range(1000):
        yield frames.frame(frames.CONTINUATION, 0, 1, b"")


def large_block(peer: RawPeer) -> Iterator[bytes]:
    yield frames.frame(frames.HEADERS, 0, 1, bytes(600))
    yield frames.frame(frames.CONTINUATION, 0, 1, bytes(600))


def many_headers(peer: RawPeer) -> Iterator[bytes]:
    yield peer.block(1, peer.encoder.encode([(f"x-{n}", "") for n in range(50)]))


def large_headers(peer: RawPeer) -> Iterator[bytes]:
    """A few bytes that say much: one field, again and again out of the table."""
    yield peer.block(1, peer.encoder.encode([("x", "y" * 400)]) + b"\xbe" * 100)


def crumbs(peer: RawPeer) -> Iterator[bytes]:
    stream = peer.open(1)
    peer.connection.send(stream, bytes(10_000))
    for _ in range(1000):
        yield frames.window_update(1, 1)


def forever(frame: bytes) -> Callable[[RawPeer], Iterator[bytes]]:
    def said(_: RawPeer) -> Iterator[bytes]:
        for _ in range(1000):
            yield frame

    return said


def many_windows(peer: RawPeer) -> Iterator[bytes]:
    peer.open(1)
    for _ in range(1000):
        yield frames.window_update(1, 1)


def empty_data(peer: RawPeer) -> Iterator[bytes]:
    peer.open(1)
    for _ in range(1000):
        yield peer.data(1, b"")


def half_messages(peer: RawPeer) -> Iterator[bytes]:
    for number in range(1, 100, 2):
        yield peer.headers(number) + peer.data(number, message(bytes(20_000))[:10_000])


def unread_messages(peer: RawPeer) -> Iterator[bytes]:
    for number in range(1, 100, 2):
        yield peer.headers(number) + peer.data(number, message(bytes(10_000)))


def unsent_answers(peer: RawPeer) -> Iterator[bytes]:
    for number in range(1, 100, 2):
        peer.connection.send(peer.open(number), bytes(80_000))
        yield b""


def late_on_answered(peer: RawPeer) -> Iterator[bytes]:
    """DATA after both sides have ended, which we meet with a reset, on one stream after the other."""
    for number in range(1, 1000, 2):
        peer.connection.finish(peer.open(number, end=True), Code.OK)
        yield peer.data(number, b"x")


def resets_of_what_is_gone(peer: RawPeer) -> Iterator[bytes]:
    yield peer.headers(1)
    for _ in range(1000):
        yield frames.reset(1, ErrorCode.CANCEL)


def opened_after_goodbye(peer: RawPeer) -> Iterator[bytes]:
    peer.connection.serve_no_more()
    for number in range(1, 1000, 2):
        yield peer.headers(number)


BREACHES: list[tuple[str, dict[str, Any], Callable[[RawPeer], Iterator[bytes]]]] = [
    ("streams_max", {"streams_max": 3, "refused_burst": 5}, refused),
    ("header_block_bytes_max", {"header_block_bytes_max": 1000}, large_block),
    ("header_list_bytes_max", {"header_list_bytes_max": 10_000}, large_headers),
    ("header_list_bytes_max", {"header_count_max": 40}, many_headers),
    ("continuations_max", {}, continued),
    ("resets_burst", {"resets_burst": 20}, resets),
    ("resets_burst", {"resets_burst": 20}, made_to_reset),
    ("resets_burst", {"resets_burst": 20}, malformed),
    ("resets_burst", {"resets_burst": 20}, late_on_answered),
    ("idle_frames_burst", {"idle_frames_burst": 20}, late_data),
    ("idle_frames_burst", {"idle_frames_burst": 20}, resets_of_what_is_gone),
    ("idle_frames_burst", {"idle_frames_burst": 20}, opened_after_goodbye),
    ("pings_burst", {"pings_burst": 20}, forever(PING)),
    ("settings_burst", {"settings_burst": 20}, forever(frames.settings({}))),
    ("idle_frames_burst", {"idle_frames_burst": 20}, empty_data),
    ("idle_frames_burst", {"idle_frames_burst": 20}, many_windows),
    ("idle_frames_burst", {"idle_frames_burst": 20}, forever(frames.frame(frames.PRIORITY, 0, 1, bytes(5)))),
    ("idle_frames_burst", {"idle_frames_burst": 20}, forever(frames.frame(0x77, 0, 1))),
    ("idle_frames_burst", {"idle_frames_burst": 20}, forever(frames.SETTINGS_ACK)),
    ("idle_frames_burst", {"idle_frames_burst": 20}, forever(frames.frame(frames.PING, 1, 0, bytes(8)))),
    ("idle_frames_burst", {"idle_frames_burst": 20}, forever(frames.goaway(0, ErrorCode.NO_ERROR))),
    ("crumbs_burst", {"crumbs_burst": 20}, crumbs),
    ("buffered_bytes_max", {"buffered_bytes_max": 100_000}, half_messages),
    ("buffered_bytes_max", {"buffered_bytes_max": 100_000}, unread_messages),
    ("buffered_bytes_max", {"buffered_bytes_max": 100_000}, unsent_answers),
]


@pytest.mark.parametrize(("bound", "limits", "attack"), BREACHES, ids=lambda value: getattr(value, "__name__", None))
def test_beyond_a_bound_the_connection_ends_by_its_name(
    bound: str, limits: dict[str, Any], attack: Callable[[RawPeer], Iterator[bytes]]
) -> None:
    settings = {frames.INITIAL_WINDOW_SIZE: 0} if attack is crumbs else {}
    peer = RawPeer(settings, **limits)
    for said in attack(peer):
        peer.say(said)
        if peer.lost is not None:
            break

    assert peer.lost is not None
    assert (peer.lost.code, peer.lost.bound) == (ErrorCode.ENHANCE_YOUR_CALM, bound)
    assert peer.frames(frames.GOAWAY)[-1].code is ErrorCode.ENHANCE_YOUR_CALM
    assert not peer.connection.streams
    assert peer.connection._inbound.held == peer.connection.outbound.unsent == 0
    heard = len(peer.heard)
    peer.connection.tell_received(0)
    assert peer.say(PING) == []
    assert peer.heard[heard:] == []


def test_answers_that_the_socket_does_not_take_are_bounded() -> None:
    peer = RawPeer(control_bytes_max=1000)
    for _ in range(1000):
        peer.connection.receive(PING, peer.now)  # and nobody asks for what it says
        if peer.connection.lost:
            break
    peer.listen()

    assert peer.lost is not None
    assert peer.lost.bound == "control_bytes_max"


def test_up_to_a_bound_nothing_happens() -> None:
    peer = RawPeer(pings_burst=20, settings_burst=20, idle_frames_burst=20, continuations_max=3)
    peer.open(1)
    peer.say(PING * 20 + frames.settings({}) * 19 + peer.data(1, b"") * 20)

    assert peer.lost is None


def test_what_comes_now_and_then_may_come_for_ever() -> None:
    peer = RawPeer(pings_burst=5, pings_per_s=1.0)
    for _ in range(100):
        peer.now += 1.0
        peer.say(PING)

    assert peer.lost is None


@pytest.mark.parametrize(
    ("what", "attack"),
    [
        ("pings", forever(PING)),
        ("settings", forever(frames.settings({}))),
        ("resets", resets),
        ("idle_frames", empty_data),
        ("crumbs", crumbs),
    ],
)
def test_what_comes_twice_as_often_as_it_may_for_ever_ends_the_connection(
    what: str, attack: Callable[[RawPeer], Iterator[bytes]]
) -> None:
    limits: dict[str, Any] = {f"{what}_burst": 5, f"{what}_per_s": 2.0}
    peer = RawPeer({frames.INITIAL_WINDOW_SIZE: 0} if attack is crumbs else {}, **limits)
    steps = 0
    for said in attack(peer):
        peer.now += 0.25
        peer.say(said)
        steps += 1
        if peer.lost is not None:
            break

    assert peer.lost is not None
    assert peer.lost.bound == f"{what}_burst"
    assert 8 <= steps <= 12


def test_windows_for_what_we_send_are_no_flood() -> None:
    """A long answer in full duplex earns its window updates."""
    peer = RawPeer(idle_frames_burst=20)
    stream = peer.open(1)
    for _ in range(1000):
        peer.connection.send(stream, b"chunk")
        peer.say(frames.window_update(1, 10) + frames.window_update(0, 10))

    assert peer.lost is None


@pytest.mark.parametrize(("message_bytes", "window"), [(300_000, 256), (10, 15)])
def test_pieces_that_are_large_enough_or_whole_are_no_crumbs(message_bytes: int, window: int) -> None:
    peer = RawPeer({frames.INITIAL_WINDOW_SIZE: 0}, crumbs_burst=5, crumb_bytes=256)
    stream = peer.open(1)
    for _ in range(200):
        if not stream.unsent:
            peer.connection.send(stream, bytes(message_bytes))
        peer.say(frames.window_update(1, window))

    assert peer.lost is None
    assert [len(f.payload) for f in peer.frames(frames.DATA)] == [window] * 200


def test_streams_that_were_answered_may_be_reset_at_any_rate() -> None:
    """As gateways do when clients leave."""
    peer = RawPeer(resets_burst=5)
    for number in range(1, 1000, 2):
        peer.connection.send(peer.open(number), b"answer")
        peer.say(frames.reset(number, ErrorCode.CANCEL))

    assert peer.lost is None


def test_a_stream_too_many_is_refused_and_may_be_asked_for_again() -> None:
    peer = RawPeer(streams_max=2)
    first = peer.open(1)
    peer.open(3)
    refused = peer.say(peer.headers(5))
    peer.connection.finish(first, Code.OK)
    again = peer.open(7)
    peer.say(peer.data(5, b"under way"))

    assert refused == []
    assert len(peer.frames(frames.RST_STREAM, 5)) == 1
    assert peer.frames(frames.RST_STREAM, 5)[0].code is ErrorCode.REFUSED_STREAM
    assert again.id == 7


def test_a_budget_refills_to_its_burst_and_no_further() -> None:
    budget = Budget(3, 2.0, 0.0)
    spent = [budget.spend(0.0) for _ in range(4)]
    later = [budget.spend(1.0) for _ in range(3)]
    much_later = [budget.spend(100.0) for _ in range(4)]

    assert (spent, later, much_later) == ([True] * 3 + [False], [True, True, False], [True] * 3 + [False])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pings_burst", 0),
        ("keepalive_s", -1.0),
        ("stream_window_bytes", 65_534),
        ("connection_window_bytes", 1000),
        ("streams_max", 1 << 31),
        ("age_jitter", 1.0),
    ],
)
def test_a_bound_nobody_could_live_with_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        Http2Limits(**{name: value})  # type: ignore[arg-type]


def test_every_bound_is_described() -> None:
    described = Http2Limits.__doc__ or ""

    assert [field.name for field in fields(Http2Limits) if field.name not in described] == []
