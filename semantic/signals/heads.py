"""The shipped models seen as `Signals`: every head, personal data, and the encoder's vector of a text."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from semantic.classifier import Classifier
from semantic.signals.api import EMBEDDING, NOTHING, PII, Answer, Seen, Span, Vector, Vectors
from semantic.signals.encoder import THREADS
from semantic.signals.engine import Engine
from semantic.signals.reader import SignalReader
from semantic.signals.settings import SHIPPED
from semantic.signals.shipped import PROVIDES
from semantic.signals.values import Head, TextSignals


class HeadSignals:
    """Both tiers behind the seam. `thresholds` replace the calibrated ones of the folder, by head."""

    def __init__(self, reader: SignalReader, thresholds: Mapping[str, float] | None = None) -> None:
        """Serves at once."""
        self.reader = reader
        settings = reader.engine.settings
        own = {name: head.threshold for name, head in settings.encoder.items()}
        self._thresholds = {**own, "language": settings.language_threshold, **(thresholds or {})}

    @classmethod
    def load(cls, folder: Path = SHIPPED, threads: int = THREADS) -> "HeadSignals":
        """Loads tier 0, a tenth of a second; `prepare` brings the encoder. ConfigError for a folder that is none."""
        engine = Engine(folder, threads, late=True)
        return cls(SignalReader(engine, Classifier(engine.encoder)))

    def prepare(self) -> None:
        """Loads the encoder. Blocking. Raises ConfigError."""
        self.reader.engine.encoder.prepare()

    @property
    def provides(self) -> Mapping[str, tuple[str, ...]]:
        """Every head with its labels, the types of personal data, and the vector."""
        return PROVIDES

    async def see(self, text: str, wanted: frozenset[str], deadline: float) -> Seen:
        """As much of what is wanted as can be had in time; the encoder runs only for what tier 0 leaves open."""
        if not wanted & PROVIDES.keys():
            return NOTHING
        found = await self.reader.read(text, deadline, wanted, embedding=EMBEDDING in wanted)
        answers = {name: self._answer(name, head) for name, head in found.heads.items() if name in wanted}
        vector = found.embedding if EMBEDDING in wanted else None
        spans = _spans(found) if PII in wanted else None
        unit = None if vector is None else _unit(vector)
        return Seen(answers, spans, unit, found.coverage, found.pii_complete)

    def embed(self, texts: Sequence[str]) -> Vectors | None:
        """One unit vector a text."""
        if not texts:
            return None
        return np.stack([_unit(found.embedding) for found in self.reader.engine.encoder.classify(texts)])

    def counts(self) -> object:
        """How texts were read, and what became of the encoder's queue."""
        ready = self.reader.engine.encoder.ready
        return {"encoder_ready": ready, **asdict(self.reader.levels), **asdict(self.reader.classifier.counts)}

    def close(self) -> None:
        """Lets the worker thread go. Closing twice is harmless."""
        self.reader.close()

    def _answer(self, name: str, head: Head) -> Answer:
        threshold = self._thresholds[name]
        is_short = head.confidence < threshold
        return Answer(head.label, head.confidence, head.probabilities, head.abstained or is_short, threshold, head.tier)


def _spans(found: TextSignals) -> tuple[Span, ...] | None:
    """None when nothing was found and not all could look: what was found stays found."""
    if not found.pii and not found.pii_complete:
        return None
    return found.pii


def _unit(vector: Vector) -> Vector:
    return np.asarray(vector / max(float(np.sqrt(vector @ vector)), 1e-12), dtype=np.float32)
