"""Signals in time: a glance at once, the encoder batched across requests, and whatever is late left out.

Nothing is raised for a text: no answer within the deadline is an unknown, and the level says so.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from semantic.classifier import Classifier
from semantic.signals.api import Coverage, Span
from semantic.signals.detectors import SLICE_CHARACTERS, scan
from semantic.signals.encoder import Encoded
from semantic.signals.engine import Ask, Engine, Glance
from semantic.signals.ngrams import bytes_of
from semantic.signals.values import TextSignals
from semantic.windows import PIECE_CHARACTERS, PIECES_MAX, pieces_of

SLICE_S = 0.001
"""How long personal data is looked for before others have their turn; of all long texts together, so that many of them
hold the event loop no longer than one."""
SPANS_MAX = 500
"""More spans are joined in a thread, which lets others have turns between them: tens of thousands take a while."""
GLANCES_S = 0.005
"""How long tier 0 reads texts in one turn of the event loop, however many come at once: whose deadline has come, or
whose answer is there, waits for no more of them than that."""


@dataclass(slots=True)
class Levels:
    """How many texts were read how, for the coverage metric."""

    full: int = 0
    degraded: int = 0
    skipped: int = 0
    encoded: int = 0
    """Texts that tier 1 was asked about."""


class SignalReader:
    """The engine behind an event loop."""

    def __init__(self, engine: Engine, classifier: Classifier[Encoded], tier: Ask = "auto") -> None:
        """`tier` 0 never asks the encoder, 1 always does, auto when tier 0 is not sure."""
        self.levels = Levels()
        self.engine = engine
        self.classifier = classifier
        self._tier = tier
        self._turn = asyncio.Lock()
        self._glances_until: float | None = None

    async def read(
        self, text: str, deadline: float, needs: frozenset[str] | None = None, *, embedding: bool = False
    ) -> TextSignals:
        """The signals by `deadline` (the event loop's clock).

        Only heads in `needs` (with `pii`), and a wanted `embedding`, make tier 1 run.
        """
        if not text.strip():
            return self._counted(TextSignals({}, (), Coverage(0, bytes_of(text)), "skipped", 0))
        if not await self._may_glance(deadline):
            return self._counted(TextSignals({}, (), Coverage(0, bytes_of(text)), "degraded", 0, pii_complete=False))
        personal = needs is None or "pii" in needs
        sliced = personal and len(text) > SLICE_CHARACTERS
        glance = self.engine.glance(text, personal=personal and not sliced)
        left = glance.open if needs is None else glance.open & needs
        if self._tier == "0" or (self._tier == "auto" and not left and not embedding):
            glance = await self._looked_through(text, glance, deadline) if sliced else glance
            return self._counted(self.engine.at_tier0(glance, left))
        self.levels.encoded += 1
        pieces = pieces_of(text, self._pieces_in_time(deadline))
        # The rank lets first pieces of others go before the tail of a long text.
        asked = self.classifier.classify_all([text[s:e] for s, e in pieces], deadline, range(len(pieces)))
        if sliced:
            glance, encoded = await asyncio.gather(self._looked_through(text, glance, deadline), asked)
        else:
            encoded = await asked
        if len(glance.detected) > SPANS_MAX:
            return self._counted(await asyncio.to_thread(self._joined, text, glance, pieces, encoded))
        return self._counted(self._joined(text, glance, pieces, encoded))

    async def _may_glance(self, deadline: float) -> bool:
        """Waits until this turn of the loop has time for a glance; False where that is past the deadline."""
        loop, waited = asyncio.get_running_loop(), False
        while self._glances_until is not None and time.perf_counter() >= self._glances_until:
            waited = True
            await asyncio.sleep(0)
        if self._glances_until is None:
            self._glances_until = time.perf_counter() + GLANCES_S
            loop.call_soon(self._next_turn)
        return not waited or loop.time() < deadline

    def _next_turn(self) -> None:
        self._glances_until = None

    def _joined(
        self, text: str, glance: Glance, pieces: Sequence[tuple[int, int]], encoded: Sequence[Encoded | None]
    ) -> TextSignals:
        return self.engine.signals(text, glance, pieces, encoded, everything=self._tier == "1")

    def close(self) -> None:
        """Lets the worker thread go. Closing twice is harmless."""
        self.classifier.close()

    def _pieces_in_time(self, deadline: float) -> int:
        """How many pieces of a text are worth asking for; the first in any case."""
        seconds = deadline - asyncio.get_running_loop().time()
        return int(min(PIECES_MAX, 1 + max(0.0, self.classifier.within(seconds)) // PIECE_CHARACTERS))

    async def _looked_through(self, text: str, glance: Glance, deadline: float) -> Glance:
        """The glance with personal data, as far as the text could be looked through by the deadline.

        On the event loop, in slices: patterns hold the interpreter, so that a thread would make everybody wait, too.
        """
        loop = asyncio.get_running_loop()
        found: list[Span] = []
        steps = scan(text, found)
        complete = False
        # Who waits for a turn stops waiting at the deadline, too, however many wait.
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while not complete and loop.time() < deadline:
                    async with self._turn:
                        # uvloop's own clock stands still until the loop comes round.
                        until = time.perf_counter() + SLICE_S
                        complete = all(time.perf_counter() < until for _ in steps)
                        await asyncio.sleep(0)
        return replace(glance, detected=tuple(found), looked_through=complete)

    def _counted(self, signals: TextSignals) -> TextSignals:
        setattr(self.levels, signals.level, getattr(self.levels, signals.level) + 1)
        return signals
