"""The semantic router: a conversation in, an ordered list of models out, always in time and never an exception."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from semantic.cards import Abilities, Card, abilities, margins
from semantic.classifier import Classifier
from semantic.config import SemanticConfig, load_config
from semantic.onnx import DOMAIN_MODEL, THREADS, Classification, DomainModel
from semantic.rules import FALLBACK_CATEGORY, Match, Signals, decide, settle
from semantic.text import to_classify

TOP_CATEGORIES = 3


@dataclass(frozen=True, slots=True)
class Choice:
    """What the semantic stage says of a request. `reason` is one sentence and holds nothing of the prompt."""

    models: tuple[str, ...]
    decision: str | None
    category: str | None
    confidence: float | None
    probabilities: tuple[tuple[str, float], ...]
    classification: Literal["full", "degraded", "skipped"]
    reason: str
    margins: tuple[float, ...] = ()
    """Quality lost by each model against the first, as in `cards.margins`."""
    never_degrade: bool = False


class SemanticRouter:
    """Classifies, decides, and names the candidates; the last of them is always the default model."""

    def __init__(self, config: SemanticConfig, classifier: Classifier, threshold: float) -> None:
        """`threshold` is the model's own; the configuration may set another."""
        self.aliases: frozenset[str] = config.aliases
        self.warnings: tuple[str, ...] = config.warnings
        self.cards: Mapping[str, Card] = config.cards
        self.abilities: Mapping[str, Abilities] = abilities({n: card.capabilities for n, card in config.cards.items()})
        self._qualities = {name: card.quality for name, card in config.cards.items()}
        self.classifier = classifier
        self._config = config
        self._threshold = threshold if config.threshold is None else config.threshold

    @classmethod
    def load(
        cls, path: Path, *, lenient: bool = False, folder: Path = DOMAIN_MODEL, threads: int = THREADS
    ) -> "SemanticRouter":
        """Reads the configuration, then loads the model. Blocking: call it in a thread when a loop is running.

        ConfigError for a mistake in either, OSError when the configuration cannot be read.
        """
        config = load_config(path, lenient=lenient)
        model = DomainModel(folder, threads)
        model.classify(["warm up"])  # the first pass allocates; no request should pay for it
        return cls(config, Classifier(model), model.threshold)

    async def choose(self, messages: Sequence[tuple[str, str]], deadline_s: float) -> Choice:
        """The candidates for a conversation of (role, text), within `deadline_s` seconds."""
        text = to_classify(messages)
        if text is None:
            return self._without_category("skipped", "the request has no text of a user")
        found = await self.classifier.classify(text, asyncio.get_running_loop().time() + deadline_s)
        if found is None:
            return self._without_category("degraded", "the prompt could not be classified in time")
        return self._with_category(found)

    def close(self) -> None:
        """Lets the worker thread go. Closing twice is harmless."""
        self.classifier.close()

    def _with_category(self, found: Classification) -> Choice:
        signals = settle(found.category, found.confidence, self._threshold)
        match = decide(self._config.decisions, signals, self._config.strategy)
        looks = f"the prompt looks like {found.category} ({found.confidence:.2f})"
        if signals.category != found.category:
            looks += f", below the threshold of {self._threshold:.2f}, so it counts as {FALLBACK_CATEGORY}"
        return Choice(
            models=self._candidates(match.decision.models if match else ()),
            decision=match.decision.name if match else None,
            category=signals.category,
            confidence=found.confidence,
            probabilities=found.top(TOP_CATEGORIES),
            classification="full",
            reason=f"{looks}; {self._chosen(match.decision.name if match else None)}",
            margins=self._margins(match),
            never_degrade=match is not None and match.decision.never_degrade,
        )

    def _without_category(self, classification: Literal["degraded", "skipped"], why: str) -> Choice:
        """A catch-all decision may still hold; every rule that needs the category is unknown."""
        match = decide(self._config.decisions, Signals(category=None), self._config.strategy)
        return Choice(
            models=self._candidates(match.decision.models if match else ()),
            decision=match.decision.name if match else None,
            category=None,
            confidence=None,
            probabilities=(),
            classification=classification,
            reason=f"{why}; {self._chosen(match.decision.name if match else None)}",
            margins=self._margins(match),
            never_degrade=match is not None and match.decision.never_degrade,
        )

    def _candidates(self, models: Sequence[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*models, self._config.default_model)))

    def _margins(self, match: Match | None) -> tuple[float, ...]:
        models = self._candidates(match.decision.models if match else ())
        return margins(models, match.decision.weights if match else (), self._qualities)

    def _chosen(self, decision: str | None) -> str:
        if decision is None:
            return f"no decision applies, so the default model {self._config.default_model} answers"
        return f"the decision {decision} applies"
