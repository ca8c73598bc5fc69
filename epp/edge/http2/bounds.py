"""How often a peer may do what costs us more than it, and what is raised when it goes too far."""

from __future__ import annotations

from epp.edge.http2.budget import Budget
from epp.edge.http2.frames import ErrorCode
from epp.edge.http2.limits import Http2Limits


class Fatal(Exception):
    """The connection cannot go on. `bound` names the limit that the peer went beyond, if that is why."""

    def __init__(self, code: ErrorCode, why: str, bound: str | None = None) -> None:
        super().__init__(why)
        self.code = code
        self.why = why
        self.bound = bound


class Bounds:
    """The budgets of one connection, whose caller keeps `now`. Each method raises `Fatal` where its budget is spent."""

    def __init__(self, limits: Http2Limits, now: float) -> None:
        self.now = now
        self._idle = Budget(limits.idle_frames_burst, limits.idle_frames_per_s, now)
        self._pings = Budget(limits.pings_burst, limits.pings_per_s, now)
        self._settings = Budget(limits.settings_burst, limits.settings_per_s, now)
        self._resets = Budget(limits.resets_burst, limits.resets_per_s, now)
        self._refused = Budget(limits.refused_burst, 1.0, now)

    def idle(self) -> None:
        """A frame that brings nothing on."""
        self._spend(self._idle, "too many frames that bring nothing on", "idle_frames_burst")

    def ping(self) -> None:
        """A PING to be answered."""
        self._spend(self._pings, "too many pings", "pings_burst")

    def settings(self) -> None:
        """SETTINGS to be acknowledged."""
        self._spend(self._settings, "too many settings", "settings_burst")

    def reset(self) -> None:
        """A stream that ends before it was answered."""
        self._spend(self._resets, "too many streams that are reset", "resets_burst")

    def refusal(self) -> None:
        """One stream more than there may be."""
        self._spend(self._refused, "too many streams", "streams_max")

    def _spend(self, budget: Budget, why: str, bound: str) -> None:
        if not budget.spend(self.now):
            raise Fatal(ErrorCode.ENHANCE_YOUR_CALM, why, bound)
