"""The semantic router: a conversation in, an ordered list of models out, always in time and never an exception."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from semantic.classifier import Classifier
from semantic.config import SemanticConfig, load_config
from semantic.rules import FALLBACK_CATEGORY, Signals, decide, settle
from semantic.signals.encoder import THREADS
from semantic.signals.engine import Engine
from semantic.signals.reader import SignalReader
from semantic.signals.settings import SHIPPED
from semantic.signals.values import Head, Level
from semantic.text import to_classify

TOP_CATEGORIES = 3
NEEDS = frozenset({"domain"})
"""The heads that a rule can ask for; only these make the encoder run."""


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


class SemanticRouter:
    """Classifies, decides, and names the candidates; the last of them is always the default model."""

    def __init__(self, config: SemanticConfig, reader: SignalReader, threshold: float) -> None:
        """`threshold` is the model's own; the configuration may set another."""
        self.aliases: frozenset[str] = config.aliases
        self.warnings: tuple[str, ...] = config.warnings
        self.reader = reader
        self._config = config
        self._own_threshold = threshold
        self._threshold = threshold if config.threshold is None else config.threshold

    @classmethod
    def load(
        cls, path: Path, *, lenient: bool = False, folder: Path = SHIPPED, threads: int = THREADS
    ) -> "SemanticRouter":
        """Reads the configuration, then loads the model. Blocking: call it in a thread when a loop is running.

        ConfigError for a mistake in either, OSError when the configuration cannot be read.
        """
        config = load_config(path, lenient=lenient)
        engine = Engine(folder, threads)
        engine.read(["warm up"], "1")  # the first pass allocates; no request should pay for it
        reader = SignalReader(engine, Classifier(engine.encoder))
        return cls(config, reader, engine.settings.encoder["domain"].threshold)

    async def choose(self, messages: Sequence[tuple[str, str]], deadline_s: float) -> Choice:
        """The candidates for a conversation of (role, text), within `deadline_s` seconds."""
        text = to_classify(messages)
        if text is None:
            return self._without_category("skipped", "the request has no text of a user")
        signals = await self.reader.read(text, asyncio.get_running_loop().time() + deadline_s, NEEDS)
        found = signals.heads.get("domain")
        if found is None:
            return self._without_category("degraded", "the prompt could not be classified in time")
        return self._with_category(found, signals.level)

    def close(self) -> None:
        """Lets the worker thread go. Closing twice is harmless."""
        self.reader.close()

    def _with_category(self, found: Head, level: Level) -> Choice:
        # A sure answer that abstains is one about a language that the head was not trained on.
        is_foreign = found.abstained and found.confidence >= self._own_threshold
        signals = settle(found.label, 0.0 if is_foreign else found.confidence, self._threshold)
        match = decide(self._config.decisions, signals, self._config.strategy)
        looks = f"the prompt looks like {found.label} ({found.confidence:.2f})"
        if is_foreign:
            looks += f", in a language it was not trained on, so it counts as {FALLBACK_CATEGORY}"
        elif signals.category != found.label:
            looks += f", below the threshold of {self._threshold:.2f}, so it counts as {FALLBACK_CATEGORY}"
        return Choice(
            models=self._candidates(match.decision.models if match else ()),
            decision=match.decision.name if match else None,
            category=signals.category,
            confidence=found.confidence,
            probabilities=found.top(TOP_CATEGORIES),
            classification=level,
            reason=f"{looks}; {self._chosen(match.decision.name if match else None)}",
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
        )

    def _candidates(self, models: Sequence[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*models, self._config.default_model)))

    def _chosen(self, decision: str | None) -> str:
        if decision is None:
            return f"no decision applies, so the default model {self._config.default_model} answers"
        return f"the decision {decision} applies"
