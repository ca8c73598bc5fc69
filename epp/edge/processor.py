"""`ExternalProcessor/Process` over any transport: how many streams there are, and with which status each ends."""

from __future__ import annotations

from collections.abc import Callable

from epp.edge.deciding import Counts
from epp.edge.health import EXT_PROC
from epp.edge.methods import DEFAULT_LIMITS, Methods, Read, Write
from epp.edge.status import Code, Failed
from epp.edge.stream import Defect, Stream
from epp.protocol.codec import BadMessage


class Processor:
    """Runs a `Stream` for each call. Messages stay bytes: the codec is ours."""

    def __init__(
        self, new_stream: Callable[[], Stream], telemetry: Counts, streams_max: int = DEFAULT_LIMITS.streams_max
    ) -> None:
        self._new_stream = new_stream
        self._telemetry = telemetry
        self._streams_max = streams_max
        self.open = 0
        self.turned_away = 0

    def methods(self) -> Methods:
        """What a transport serves."""
        return {f"/{EXT_PROC}/Process": self.process}

    async def process(self, read: Read, write: Write) -> None:
        """One stream. Cancelled when the peer resets it. Raises `Failed`."""
        if self.open >= self._streams_max:
            self.turned_away += 1
            self._telemetry.stream_ended("ResourceExhausted", 0.0)
            raise Failed(Code.RESOURCE_EXHAUSTED, f"{self._streams_max} streams are open already")
        self.open += 1
        self._telemetry.streams.inc()
        try:
            await self._new_stream().run(read, write)
        except BadMessage as bad:
            raise Failed(Code.INVALID_ARGUMENT, str(bad)) from None
        except Defect as defect:
            raise Failed(Code.INTERNAL, str(defect)) from None
        finally:
            self.open -= 1
            self._telemetry.streams.dec()
