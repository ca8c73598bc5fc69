"""What a worker's streams have in place of a director, a lease and metrics: each says it to the process that decides.

Must stay true: a call that was asked is answered, given up (`Gone`) or ended (`Ended`) once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import count
from random import Random
from typing import NoReturn

from epp import outcome
from epp.datastore.outages import Outages
from epp.datastore.pool import Lease
from epp.domain import Endpoint, Reason, Receipt, Refused, Usage
from epp.flow.eviction import Running
from epp.outcome import Answered, Routed
from epp.protocol.messages import Decide, Metadata
from epp.protocol.paths import path_of
from epp.workers.counts import Defect, FarCounts
from epp.workers.messages import (
    Answer,
    Asked,
    Ended,
    Evict,
    Failed,
    Gone,
    Headed,
    Prefilled,
    RefusedHere,
    Up,
    Wait,
    Way,
)

NOT_HERE = "only the process that decides does that"


class FarLease(Lease):
    """A lease in the ledger of the process that decides. Its endpoint bears the number of the call as a name."""

    __slots__ = ("_blind", "_endpoint", "_prefilled")

    def __init__(self, endpoint: Endpoint, prefilled: Callable[[], None], *, blind: bool) -> None:
        self._endpoint, self._prefilled, self._blind = endpoint, prefilled, blind

    @property
    def endpoint(self) -> Endpoint:
        """Where the request is charged."""
        return self._endpoint

    @property
    def blind(self) -> bool:
        """As the other process says."""
        return self._blind

    def prefilled(self, now: float = 0.0) -> None:
        """Told to the other process."""
        self._prefilled()

    def join(self) -> NoReturn:
        """Only the other process does that, and the rest."""
        raise AssertionError(NOT_HERE)

    def move(self, endpoint: Endpoint, now: float = 0.0) -> NoReturn:
        """Likewise."""
        raise AssertionError(NOT_HERE)

    def close(self, now: float = 0.0) -> NoReturn:
        """Likewise."""
        raise AssertionError(NOT_HERE)


def _nothing() -> None:
    """Who evicts is elsewhere."""


class Asking:
    """Calls of this worker that wait for an answer, and those that may be cut off; all ports share it."""

    def __init__(self, say: Callable[[Up], None]) -> None:
        self.say = say
        self._numbers = count(1)
        self._waiting: dict[int, deque[Way | Answer | Wait | Failed]] = {}
        self._woken: dict[int, asyncio.Future[None]] = {}
        self.calls: dict[str, int] = {}  # by the id of the receipt
        self.evicts: dict[int, Callable[[], None]] = {}

    def heard(self, message: Way | Answer | Wait | Failed | Evict) -> None:
        """What is about a call that is over changes nothing."""
        if isinstance(message, Evict):
            evict = self.evicts.get(message.call)
            if evict is not None:
                evict()
            return
        inbox = self._waiting.get(message.call)
        if inbox is not None:
            inbox.append(message)
            woken = self._woken.pop(message.call, None)
            if woken is not None and not woken.done():
                woken.set_result(None)

    async def ask(self, make: Callable[[int], Asked], waits: Callable[[float], Awaitable[None]] | None) -> Way | Answer:
        """The answer to a question. Raises Defect, and whatever `waits` raises."""
        number = next(self._numbers)
        inbox: deque[Way | Answer | Wait | Failed] = deque()
        self._waiting[number] = inbox
        self.say(make(number))
        whole = False
        try:
            while True:
                while not inbox:
                    self._woken[number] = woken = asyncio.get_running_loop().create_future()
                    await woken
                message = inbox.popleft()
                if isinstance(message, Wait):
                    if waits is not None:
                        await waits(message.seconds)
                    continue
                whole = True
                if isinstance(message, Failed):
                    raise Defect
                return message
        finally:
            del self._waiting[number]
            self._woken.pop(number, None)
            if not whole:
                self.say(Gone(number))


class FarDirector:
    """One port's director, as streams see it (`edge/deciding.py`)."""

    reporting = False  # who asks for such plugins is refused `--workers`

    def __init__(self, port: int, asking: Asking, counts: FarCounts, now: Callable[[], float], rng: Random) -> None:
        self._port = port
        self._asking = asking
        self._counts = counts
        self._now = now
        self._rng = rng
        self._outages = Outages()

    async def decide(
        self, ask: Decide, prefer: Endpoint | None = None, waits: Callable[[float], Awaitable[None]] | None = None
    ) -> Routed | Answered:
        """As the other process decides. Raises Defect."""
        began = self._now()
        before = None if prefer is None else int(prefer.name)
        said = await self._asking.ask(
            lambda call: Asked(call, self._port, began, ask, before, waits is not None),
            waits,
        )
        receipt = Receipt(said.receipt, "", said.at, "", None)
        if isinstance(said, Answer):
            return Answered(said.immediate, receipt)
        receipt.model, receipt.asked_model, receipt.stream = said.model, said.asked_model, said.stream
        receipt.decided_s = said.decided_s
        return self._routed(said, receipt)

    def _routed(self, said: Way, receipt: Receipt) -> Routed:
        endpoint = Endpoint(str(said.call), said.address)

        def prefilled() -> None:
            self._asking.say(Prefilled(said.call, receipt.first_answer_s, receipt.status, receipt.stream))

        lease = FarLease(endpoint, prefilled, blind=said.blind)
        routed = Routed(said.route, lease if said.leased else None, receipt)
        self._asking.calls[receipt.id] = said.call
        if said.running:
            routed.running = Running(receipt.priority, said.at, lease, _nothing)
        return routed

    def refuse(self, ask: Decide, refused: Refused) -> Answered:
        """The exchange gave the request up: answered here, and told."""
        receipt = Receipt(f"{self._rng.getrandbits(64):016x}", "", self._now(), path_of(ask.headers), None)
        told = Decide(ask.headers, None, ask.subset, ask.attributes)
        reason = refused.reason.code
        self._asking.say(RefusedHere(self._port, receipt.time, receipt.id, told, reason, refused.message))
        return self._refuse(refused, receipt)

    def _refuse(self, refused: Refused, receipt: Receipt) -> Answered:
        lasted_s = self._outages.wait(refused.reason, self._now())
        return outcome.refuse(refused, receipt, lasted_s if refused.retry_after_s is None else refused.retry_after_s)

    def may_evict(self, routed: Routed, evict: Callable[[], None]) -> None:
        """The stream can cut the request off, where the other process says that it may have to."""
        if routed.running is not None:
            self._asking.evicts[self._asking.calls[routed.receipt.id]] = evict

    def evicted(self, routed: Routed) -> Answered:
        """What the client is told whose request was cut off."""
        return self._refuse(Refused(Reason.EVICTED, "request evicted by flow control"), routed.receipt)

    def heads(self, routed: Routed, served: str | None) -> None:
        """The answer begins."""
        routed.receipt.served = served
        self._asking.say(Headed(self._asking.calls[routed.receipt.id], served))

    def reports(self, routed: Routed, usage: Usage | None) -> Metadata | None:
        """Never asked, as nothing reports."""
        return None

    def answered(self, routed: Routed) -> None:
        """Told with `Prefilled`, which comes before it."""

    def ended(self, routed: Routed) -> None:
        """The stream is over."""
        receipt = routed.receipt
        call = self._asking.calls.pop(receipt.id)
        self._asking.evicts.pop(call, None)
        self._asking.say(
            Ended(
                call,
                receipt.outcome,
                receipt.ended_s or 0.0,
                receipt.first_answer_s,
                receipt.status,
                receipt.fault,
                receipt.stream,
                receipt.usage,
                receipt.answer_bytes,
                self._counts.gaps(receipt),
            )
        )
