"""`python -m benchmarks.observe.muted serve ...`: OneHop that counts nothing, for measuring; it has no such flag."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import epp.app
from epp.cli import serve
from epp.domain import Receipt
from epp.flow.gate import Unobserved
from epp.scheduling.framework import Scheduler
from epp.telemetry import Telemetry


class Muted(Telemetry):
    """Hears of everything and keeps nothing."""

    def measure(self, profile: Scheduler) -> None:
        """Plugins are not timed."""

    def meter(self, pool: str) -> Any:
        """Nor is the gate."""
        return Unobserved()

    def pace(self, receipt: Receipt) -> Callable[[float], None]:
        """Nor are the pieces of an answer."""
        return _nothing


def _nothing(*_: object) -> None:
    """Not counted."""


for name in (
    "gathered", "decided", "chose", "receipt", "foretold", "looked", "ended", "responded", "stream_ended", "connected",
    "disconnected", "breached", "rewritten", "read_failed", "ejected",
):  # fmt: skip
    setattr(Muted, name, _nothing)

if __name__ == "__main__":
    vars(epp.app)["Telemetry"] = Muted  # the composition root builds the one it finds
    sys.exit(serve.run(sys.argv[2:]))
