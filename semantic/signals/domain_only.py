"""The category classifier seen as `Signals`: it knows the domain of a text and nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from semantic.classifier import Classifier
from semantic.onnx import DOMAIN_MODEL, THREADS, DomainModel
from semantic.signals.api import DOMAIN, NOTHING, Answer, Coverage, Seen, Vectors
from semantic.signals.shipped import PROVIDES


class DomainSignals:
    """One head, one tier. Below `threshold` the answer abstains."""

    def __init__(self, classifier: Classifier, threshold: float) -> None:
        """`threshold` is the model's own."""
        self.classifier = classifier
        self._threshold = threshold

    @classmethod
    def load(cls, folder: Path = DOMAIN_MODEL, threads: int = THREADS) -> "DomainSignals":
        """Loads the model. Blocking. Raises ConfigError for a folder that is none."""
        model = DomainModel(folder, threads)
        model.classify(["warm up"])  # the first pass allocates; no request should pay for it
        return cls(Classifier(model), model.threshold)

    @property
    def provides(self) -> Mapping[str, tuple[str, ...]]:
        """The domain alone."""
        return PROVIDES

    async def see(self, text: str, wanted: frozenset[str], deadline: float) -> Seen:
        """The domain, if it is wanted and known in time."""
        found = await self.classifier.classify(text, deadline) if DOMAIN in wanted else None
        if found is None:
            return NOTHING
        answer = Answer(
            label=found.category,
            confidence=found.confidence,
            probabilities=found.probabilities,
            abstained=found.confidence < self._threshold,
            threshold=self._threshold,
        )
        return Seen({DOMAIN: answer}, coverage=Coverage(found.scanned_bytes, len(text.encode(errors="replace"))))

    def embed(self, texts: Sequence[str]) -> Vectors | None:
        """Nothing here embeds."""
        return None

    def counts(self) -> object:
        """The classifier's."""
        return self.classifier.counts

    def close(self) -> None:
        """Lets the worker thread go."""
        self.classifier.close()
