"""What happens to requests, for the log: the first of a kind at once, the others counted and told every ten seconds.

Must stay true: however many there are, a kind writes one line in `EVERY_S`, with how many it stands for and the last
receipt; the words are ours, and nothing of a prompt is among them.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from epp.domain import Receipt

log = logging.getLogger(__name__)
EVERY_S = 10.0
CLIENTS_OWN = range(400, 429)  # what a client has to mend; but for a guard that objects


@dataclass(slots=True)
class _Kind:
    """What happened since the last line."""

    level: int
    what: str
    count: int = 0
    receipt: Receipt | None = None


class Digest:
    """Of one port's requests; to be told within the event loop."""

    def __init__(self, pool: str) -> None:
        self._pool = pool
        self._kinds: dict[str, _Kind] = {}

    def refused(self, receipt: Receipt) -> None:
        """It was, and the receipt says why."""
        kind = self._kinds.get(receipt.outcome)
        if kind is None:
            expected = receipt.status in CLIENTS_OWN and not receipt.outcome.startswith("guard_")
            level = logging.INFO if expected else logging.WARNING
            self._first(receipt.outcome, _Kind(level, f"refused with {receipt.status}"), receipt)
        else:
            kind.count, kind.receipt = kind.count + 1, receipt

    def degraded(self, receipt: Receipt) -> None:
        """It could not be classified in time, or not in full."""
        kind = self._kinds.get("degraded")
        if kind is None:
            self._first("degraded", _Kind(logging.WARNING, "not classified in full or in time"), receipt)
        else:
            kind.count, kind.receipt = kind.count + 1, receipt

    def _first(self, reason: str, kind: _Kind, receipt: Receipt) -> None:
        self._say(reason, kind, receipt, 1)
        self._kinds[reason] = kind
        asyncio.get_running_loop().call_later(EVERY_S, self._again, reason)

    def _again(self, reason: str) -> None:
        """What has come since; after a while without any, the next is the first again."""
        kind = self._kinds[reason]
        if kind.receipt is None:
            del self._kinds[reason]
            return
        self._say(reason, kind, kind.receipt, kind.count)
        kind.count, kind.receipt = 0, None
        asyncio.get_running_loop().call_later(EVERY_S, self._again, reason)

    def _say(self, reason: str, kind: _Kind, receipt: Receipt, count: int) -> None:
        told = {"reason": reason, "pool": self._pool, "count": count, "receipt": receipt.id, "status": receipt.status}
        tenant = receipt.tenant if receipt.tenant.isprintable() else ascii(receipt.tenant)
        if count == 1:
            told |= {"tenant": tenant, "priority": receipt.priority}
            log.log(kind.level, "a request was %s: %s", kind.what, reason, extra={"told": told})
        else:
            words = f"%d more requests were %s in the last {EVERY_S:.0f} s: %s"
            log.log(kind.level, words, count, kind.what, reason, extra={"told": told})
