"""What the director is given in place of things that a simulation has no use for."""

from __future__ import annotations

from collections.abc import Callable

from epp.datastore.fleet import Fleet
from epp.datastore.pool import Pool
from epp.domain import Candidate, Choice, Receipt, Request
from epp.telemetry import Telemetry


class QuietTelemetry(Telemetry):
    """Counts nothing, and lets no defect pass as a plain pick."""

    def __init__(self, pool: Pool) -> None:
        fleet = Fleet(pool.name)
        fleet.pools[pool.name] = fleet.all = pool
        super().__init__(fleet)

    def decided(self, receipt: Receipt) -> None:
        """Not counted."""

    def ended(self, receipt: Receipt) -> None:
        """Not counted."""

    def pace(self, receipt: Receipt) -> Callable[[float], None]:
        """Not counted."""
        return lambda seconds: None

    def surprise(self, error: BaseException) -> bool:
        """A defect ends the run: results must not rest on fallbacks."""
        raise AssertionError("a defect in the picker") from error


class NoAliases:
    """A semantic stage with nothing to choose: every request names its model."""

    aliases: frozenset[str] = frozenset()
    guards = False
    closed = False

    async def choose(self, request: Request) -> Choice:
        """Not asked, as there are no aliases."""
        return Choice((Candidate(request.model),))

    async def check(self, request: Request, model: str | None) -> Choice:
        """Not asked, as there are no guards."""
        return Choice((Candidate(model),))
