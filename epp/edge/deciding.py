"""The seam between a stream and who decides for it: the director of this process, or another process that has it.

`epp.director.Director` and `epp.telemetry.Telemetry` are the ones behind it where one process does everything; with
`--workers` it is `epp/workers/`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from epp.domain import Endpoint, Receipt, Refused, Usage
from epp.outcome import Answered, Routed
from epp.protocol.messages import Decide, Metadata


class Decides(Protocol):
    """What a stream asks of a director; each method as `Director` describes it."""

    @property
    def reporting(self) -> bool: ...

    async def decide(
        self, ask: Decide, prefer: Endpoint | None = None, waits: Callable[[float], Awaitable[None]] | None = None
    ) -> Routed | Answered: ...

    def refuse(self, ask: Decide, refused: Refused) -> Answered: ...

    def may_evict(self, routed: Routed, evict: Callable[[], None]) -> None: ...

    def evicted(self, routed: Routed) -> Answered: ...

    def heads(self, routed: Routed, served: str | None) -> None: ...

    def reports(self, routed: Routed, usage: Usage | None) -> Metadata | None: ...

    def answered(self, routed: Routed) -> None: ...

    def ended(self, routed: Routed) -> None: ...


class Level(Protocol):
    """A number that goes up and down."""

    def inc(self, amount: float = 1.0) -> None: ...

    def dec(self, amount: float = 1.0) -> None: ...


class Counts(Protocol):
    """What streams count; each method as `Telemetry` describes it."""

    @property
    def streams(self) -> Level: ...

    def gathered(self, seconds: float) -> None: ...

    def ended(self, receipt: Receipt) -> None: ...

    def pace(self, receipt: Receipt) -> Callable[[float], None]: ...

    def responded(self, seconds: float) -> None: ...

    def stream_ended(self, code: str, seconds: float) -> None: ...

    def surprise(self, error: BaseException) -> bool: ...
