"""What a connection knows of one open stream."""

from __future__ import annotations

from collections import deque
from typing import Any

from epp.edge.http2.head import Head


class Http2Stream:
    """Both halves of one stream, and the application's own thing that goes with it (`call`).

    receive_window: what the peer may still send; unread: bytes of whole messages that wait to be read
    send_window: what we may still send; queue, unsent: what waits for that
    parts, parts_bytes: of a message that is half here: its beginning until the length is known, then its content, of
        which there will be `wanted_bytes`, compressed or not
    ending: the trailers that go when the queue is empty; in_turn: whether it stands among those that can go on
    """

    __slots__ = (
        "call",
        "ended_by_peer",
        "ended_by_us",
        "ending",
        "got_bytes",
        "head",
        "headed",
        "id",
        "in_turn",
        "is_compressed",
        "parts",
        "parts_bytes",
        "queue",
        "receive_window",
        "send_window",
        "unread",
        "unsent",
        "wanted_bytes",
    )

    def __init__(self, stream_id: int, head: Head, receive_window: int, send_window: int) -> None:
        self.id = stream_id
        self.head = head
        self.receive_window = receive_window
        self.send_window = send_window
        self.unread = 0
        self.got_bytes = 0
        self.parts: list[bytes] | None = None
        self.parts_bytes = 0
        self.wanted_bytes: int | None = None
        self.is_compressed = 0
        self.queue: deque[bytes | memoryview] | None = None
        self.unsent = 0
        self.ending: bytes | None = None
        self.headed = False
        self.in_turn = False
        self.ended_by_peer = False
        self.ended_by_us = False
        self.call: Any = None

    @property
    def held_bytes(self) -> int:
        """What it keeps in memory."""
        return self.unread + self.parts_bytes + self.unsent
