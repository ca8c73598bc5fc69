"""A worker's end and the deciding end in one process, with every message packed and unpacked on its way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

import msgspec

from epp.director import Director
from epp.edge.tracing import Tracer
from epp.telemetry import Telemetry
from epp.workers.asking import Asking, FarDirector
from epp.workers.counts import FarCounts
from epp.workers.desk import Deciding, Desk
from epp.workers.messages import Down, Unpacking, Up, packed


class Joined:
    """`director` decides, `far` is what streams see of it. Messages arrive in a later turn of the loop, in order."""

    def __init__(
        self, director: Director, telemetry: Telemetry, now: Callable[[], float], tracer: Tracer | None = None
    ) -> None:
        self.desk = Desk(Deciding([director], telemetry, now, tracer), self._down)
        self.asking = Asking(self._up)
        self.counts = FarCounts()
        self.far = FarDirector(0, self.asking, self.counts, now, Random(1))
        self._decode_up = msgspec.msgpack.Decoder(Up).decode
        self._decode_down = msgspec.msgpack.Decoder(Down).decode
        self.cut = False

    def _up(self, message: Up) -> None:
        data = packed(message)
        asyncio.get_running_loop().call_soon(self._arrive_up, data)

    def _arrive_up(self, data: bytes) -> None:
        if not self.cut:
            self._count()
            for one in Unpacking().feed(data):
                self.desk.heard(self._decode_up(one))

    def _count(self) -> None:
        news = self.counts.news([], 0)
        if news is not None:
            for one in Unpacking().feed(packed(news)):
                self.desk.heard(self._decode_up(one))

    def _down(self, message: Down) -> None:
        data = packed(message)
        asyncio.get_running_loop().call_soon(self._arrive_down, data)

    def _arrive_down(self, data: bytes) -> None:
        for one in Unpacking().feed(data):
            self.asking.heard(self._decode_down(one))  # type: ignore[arg-type]  # no other kind is sent here

    async def settle(self) -> None:
        """Until what was said has arrived, counts as well."""
        for _ in range(4):
            await asyncio.sleep(0)
        if not self.cut:
            self._count()

    def die(self) -> None:
        """The worker is gone: nothing that it said and that has not arrived ever will."""
        self.cut = True
        self.desk.close()
