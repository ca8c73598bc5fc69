"""What a worker counts, until it is told to the process that decides, which has the metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from epp.domain import Receipt
from epp.edge.processor import Processor
from epp.seldom import Seldom
from epp.telemetry.families import PACE_BOUNDS_S
from epp.telemetry.series import Distribution, Number
from epp.workers.messages import Counted


class Defect(Exception):
    """The process that decides met a defect; it has counted and logged it."""


class FarCounts:
    """Telemetry as streams see it (`edge/deciding.py`), and the tally of the connections. `news` empties it."""

    def __init__(self) -> None:
        self.streams = Number()
        self._connected = self._disconnected = 0
        self._gathered: list[float] = []
        self._responded: list[float] = []
        self._ended: list[tuple[str, float]] = []
        self._breaches: list[str] = []
        self._surprises: list[str] = []
        self._seldom = Seldom()
        self._gaps: dict[str, Distribution] = {}
        self._told: tuple[list[int], int, list[int], int, int] = ([], 0, [], 0, 0)

    def gathered(self, seconds: float) -> None:
        """A request is whole."""
        self._gathered.append(seconds)

    def ended(self, receipt: Receipt) -> None:
        """Counted where it was decided."""

    def pace(self, receipt: Receipt) -> Callable[[float], None]:
        """Where the seconds from piece to piece of a streamed answer go."""
        gaps = self._gaps[receipt.id] = Distribution(PACE_BOUNDS_S)
        return gaps.observe

    def gaps(self, receipt: Receipt) -> tuple[list[int], float] | None:
        """All of an answer that is over; None where there were none."""
        gaps = self._gaps.pop(receipt.id, None)
        return None if gaps is None else (gaps.counts, gaps.sum)

    def responded(self, seconds: float) -> None:
        """An answer has passed."""
        self._responded.append(seconds)

    def stream_ended(self, code: str, seconds: float) -> None:
        """A stream is over."""
        self._ended.append((code, seconds))

    def surprise(self, error: BaseException) -> bool:
        """A defect of ours; whether it is one to log."""
        if isinstance(error, Defect):
            return False
        self._surprises.append(type(error).__name__)
        return self._seldom.worth_telling(error)

    def connected(self) -> None:
        """A gateway's connection was handed to us."""
        self._connected += 1

    def disconnected(self) -> None:
        """A connection is gone."""
        self._disconnected += 1

    def breached(self, bound: str) -> None:
        """A peer went beyond this bound."""
        self._breaches.append(bound)

    def news(self, processors: Sequence[Processor], carrying: int) -> Counted | None:
        """What has changed since the last time; None where nothing has."""
        opened, away = [p.open for p in processors], [p.turned_away for p in processors]
        now = (opened, carrying, away, self._connected, self._disconnected)
        some = self._gathered or self._responded or self._ended or self._breaches or self._surprises
        if now == self._told and not some:
            return None
        self._told = now
        said = Counted(*now, self._gathered, self._responded, self._ended, self._breaches, self._surprises)
        self._gathered, self._responded, self._ended = [], [], []
        self._breaches, self._surprises = [], []
        return said
