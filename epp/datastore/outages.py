"""How long to wait before trying again, by how long a kind of refusal has been going on.

What has lasted for t seconds is expected to last for about t more when nothing else is known of it (the Lindy
estimate), so a client is told to wait for that long: a second at the start of a hiccup, not every second of an outage.
"""

from __future__ import annotations

import math

from epp.domain import Reason

QUIET_S = 5.0  # without a refusal of the kind, the next one begins a new episode
WAIT_S_MAX = 30


class Outages:
    """Remembers, by reason, when the present episode began and when it was last seen."""

    def __init__(self) -> None:
        self._episodes: dict[Reason, tuple[float, float]] = {}

    def wait(self, reason: Reason, now: float) -> int | None:
        """Whole seconds for Retry-After, at least the reason's own; None where waiting does not help."""
        if reason.retry_after_s is None:
            return None
        began, last = self._episodes.get(reason, (now, now))
        if now - last > QUIET_S + self._told(began, last):
            began = now
        self._episodes[reason] = began, now
        return max(reason.retry_after_s, self._told(began, now))

    @staticmethod
    def _told(began: float, now: float) -> int:
        return min(math.ceil(now - began), WAIT_S_MAX)
