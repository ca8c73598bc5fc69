"""Signals in time: a glance at once, the encoder batched across requests, and whatever is late left out.

Nothing is raised for a text: no answer within the deadline is an unknown, and the level says so.
"""

import asyncio
from dataclasses import dataclass

from semantic.classifier import Classifier
from semantic.signals.encoder import Encoded
from semantic.signals.engine import Ask, Engine, Glance
from semantic.signals.values import Coverage, TextSignals
from semantic.windows import pieces_of

GLANCE_CHARACTERS_MAX = 8_000
"""A longer text is glanced at in a thread: its patterns would hold the event loop for more than a millisecond."""


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

    async def read(
        self, text: str, deadline: float, needs: frozenset[str] | None = None, *, embedding: bool = False
    ) -> TextSignals:
        """The signals by `deadline` (the event loop's clock).

        Only heads in `needs` (with `pii`), and a wanted `embedding`, make tier 1 run.
        """
        if not text.strip():
            return self._counted(TextSignals({}, (), Coverage(0, len(text.encode(errors="replace"))), "skipped", 0))
        glance = await self._glance(text, personal=needs is None or "pii" in needs)
        left = glance.open if needs is None else glance.open & needs
        if self._tier == "0" or (self._tier == "auto" and not left and not embedding):
            return self._counted(self.engine.at_tier0(glance, left))
        self.levels.encoded += 1
        pieces = pieces_of(text)
        # The rank lets first pieces of others go before the tail of a long text.
        asked = [self.classifier.classify(text[s:e], deadline, rank=min(n, 2)) for n, (s, e) in enumerate(pieces)]
        encoded = await asyncio.gather(*asked)
        return self._counted(self.engine.signals(text, glance, pieces, encoded, everything=self._tier == "1"))

    def close(self) -> None:
        """Lets the worker thread go. Closing twice is harmless."""
        self.classifier.close()

    async def _glance(self, text: str, *, personal: bool) -> Glance:
        if len(text) <= GLANCE_CHARACTERS_MAX:
            return self.engine.glance(text, personal=personal)
        return await asyncio.to_thread(self.engine.glance, text, personal=personal)

    def _counted(self, signals: TextSignals) -> TextSignals:
        setattr(self.levels, signals.level, getattr(self.levels, signals.level) + 1)
        return signals
