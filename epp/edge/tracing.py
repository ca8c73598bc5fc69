"""The seam to traces: what a stream tells of its request. `otel.py` stands behind it, where tracing is on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from epp.domain import Receipt
from epp.outcome import Routed


class Trace(Protocol):
    """One request on its way through us."""

    def routed(self, routed: Routed) -> None:
        """It has an endpoint (or, on the first of two streams, a model): the model server is told of the trace."""

    def ended(self, receipt: Receipt) -> None:
        """It is over. What comes after that changes nothing."""

    def abandoned(self) -> None:
        """Its stream is over, and nobody has said how it ended."""


class Tracer(Protocol):
    """Starts traces."""

    def start(self, headers: Mapping[str, str], began: float) -> Trace:
        """For a request with these headers, by lower-case name, whose stream began at that monotonic second."""
