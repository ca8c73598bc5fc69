"""Who stood at the gate, and which critical requests were at which endpoint, at a moment, as the receipts tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from epp.replay.recorded import WAITED_S, Recorded

OPEN_S = 600.0  # for how long a request counts whose end no receipt tells


class Lines:
    """`critical` says which priorities are."""

    def __init__(self, recorded: Iterable[Recorded], critical: Callable[[int], bool]) -> None:
        each = list(recorded)
        self._waited = [r for r in each if r.waited_s > WAITED_S]
        self._critical = [r for r in each if r.picked is not None and critical(r.priority)]

    def waiting(self, then: Recorded) -> Sequence[Recorded]:
        """Others of its pool that stood there when it came."""
        now = then.gate_at
        return [
            r
            for r in self._waited
            if r.pool == then.pool and r.id != then.id and r.gate_at < now < r.gate_at + r.waited_s
        ]

    def critical(self, then: Recorded, now: float) -> Counter[str]:
        """Critical requests in flight, by the address of their endpoint."""
        return Counter(str(r.picked) for r in self._critical if r.pool == then.pool and r.decided_at < now < _ended(r))


def _ended(recorded: Recorded) -> float:
    ended_s = recorded.told.get("ended_s")
    return recorded.decided_at + OPEN_S if ended_s is None else recorded.at + float(ended_s)
