"""What becomes of a request once it is routed: who served it, when its answer began and ended, what is learned of it.

Must stay true: however a request ends, its lease is closed and its eviction forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from epp.domain import Endpoint, Usage
from epp.flow.eviction import Running
from epp.flow.gate import Gate
from epp.outcome import Routed
from epp.picking import Picking
from epp.scheduling.framework import Answer, Metadata
from epp.telemetry import Telemetry

_FAILED = int(HTTPStatus.BAD_REQUEST)


class Afterwards:
    """The second half of a director; what it is told of comes from the stream of the request."""

    def __init__(self, picking: Picking, telemetry: Telemetry, now: Callable[[], float], gate: Gate | None) -> None:
        self._pool = picking.pool
        self._profile = picking.profile
        self._telemetry = telemetry
        self._now = now
        self._gate = gate

    def may_evict(self, routed: Routed, evict: Callable[[], None]) -> None:
        """The stream can cut the request off: `evict` is called when others need its place more, if ever."""
        gate, lease, priority = self._gate, routed.lease, routed.receipt.priority
        if gate is None or lease is None or lease.holders > 1 or not gate.control.evictions.may(priority):
            return
        routed.running = Running(priority, self._now(), lease, evict)
        gate.control.evictions.add(routed.running)

    def served(self, routed: Routed, address: str) -> None:
        """The gateway says who answered: if it went elsewhere, the ledger and the scorers' memories follow."""
        routed.receipt.served = address
        extra = None if routed.query is None else routed.query.extra
        if routed.lease is None or address in (routed.lease.endpoint.address, extra and extra.destination):
            return
        endpoint = self._pool.at(address)
        if endpoint is None:
            return
        picked = routed.lease.endpoint
        routed.lease.move(endpoint, self._now())
        if routed.query is not None:
            routed.query.passed = self._tried_before(address, routed)
            self._profile.moved(routed.query, picked, endpoint)

    def _tried_before(self, address: str, routed: Routed) -> list[Endpoint]:
        """Of a destination that lists several, those after the first that the gateway went through to get there."""
        _, *further = (routed.route.destination or "").split(",")
        tried = further[: further.index(address)] if address in further else further
        return [endpoint for at in tried if (endpoint := self._pool.at(at)) is not None]

    def heads(self, routed: Routed, served: str | None) -> None:
        """The answer begins: who served it, if the gateway says so, and what plugins want the client to be told."""
        if served is not None:
            self.served(routed, served)
        if routed.query is not None and routed.lease is not None:
            more = self._profile.heads(routed.query, routed.lease.endpoint, served)
            if more:
                routed.route.response_headers = [*routed.route.response_headers, *more]

    def reports(self, routed: Routed, usage: Usage | None) -> Metadata | None:
        """What plugins want the gateway to be told with the last piece of the answer."""
        return None if routed.query is None else self._profile.reports(routed.query, usage)

    @property
    def reporting(self) -> bool:
        """Whether any plugin ever reports: then the usage must be known by the last piece."""
        return self._profile.reporting

    def answered(self, routed: Routed) -> None:
        """The first piece of the answer is here; that of a stream is its first token."""
        receipt = routed.receipt
        if (receipt.status or 200) >= _FAILED:
            return  # a refusal comes at once, and says nothing of how long a prompt takes
        if receipt.stream and routed.query is not None and routed.lease is not None:
            took = (receipt.first_answer_s or 0.0) - (receipt.decided_s or 0.0)
            self._profile.answered(routed.query, routed.lease.endpoint, took)
            self._telemetry.foretold(receipt, took)

    def ended(self, routed: Routed) -> None:
        """The stream is over, for whatever reason; the receipt says how. The lease is closed."""
        lease, receipt = routed.lease, routed.receipt
        if lease is None:
            return
        if self._gate is not None and routed.running is not None:
            self._gate.control.evictions.remove(routed.running, self._now())
        lease.close(self._now())
        if self._gate is not None and receipt.usage is not None:
            self._gate.control.generated(receipt.tenant, receipt.priority, receipt.usage, self._now())
        if routed.query is not None and receipt.outcome != "superseded" and not lease.charged:
            decided = receipt.decided_s or 0.0
            first = receipt.first_answer_s if receipt.stream else None
            answer = Answer(
                seconds=(receipt.ended_s or 0.0) - decided,
                first_s=None if first is None else first - decided,
                status=receipt.status,
                whole=receipt.outcome == "completed",
                usage=receipt.usage,
                fault=receipt.fault,
            )
            self._profile.ended(routed.query, lease.endpoint, answer)
