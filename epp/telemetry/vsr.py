"""vSR's core names: what was looked at in a prompt, and older readings of families that exist anyway.

Names and labels are vSR's; the buckets are ours. Of its 138 names these are the ones that its users keep dashboards of.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from epp.domain import Choice, Usage
from epp.telemetry.families import AnswerFamilies
from epp.telemetry.series import Counter, Histogram, Rows

METHOD = "classifier"  # the only one here; vSR tells several apart
_LOOK_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
_PART = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)
_TURN = (1, *(2**n for n in range(3, 21)))
_SIGNAL = ("signal_type", "signal_name")


class SemanticFamilies:
    """Prompts as the semantic stage sees them. `texts` are the encoder's own counts, by what became of a text."""

    def __init__(self, answers: AnswerFamilies, texts: Callable[[], Rows]) -> None:
        text = "Signals that were looked at, whether they held or not."
        self.extracted = Counter("llm_signal_extraction", text, _SIGNAL)
        text = "Until the signals of a type were known; those that one model answers together take the same time."
        self.seconds = Histogram("llm_signal_extraction_latency_seconds", text, _LOOK_S, _SIGNAL[:1])
        text, labels = "How sure the classifier was of a request's category.", ("category", "classification_method")
        self.confidence = Histogram("llm_classification_confidence", text, _PART, labels)
        text = "Part of a prompt's bytes that was read, of requests for an alias."
        self.coverage = Histogram("onehop_classification_coverage_ratio", text, _PART)
        text = "Texts for the encoder by what became of them."
        self.texts = Counter("onehop_classifier_texts", text, ["fate"], read=texts)
        text = "How sure it was where a decision applied."
        self.sure = Histogram("llm_decision_confidence", text, _PART, ["decision_name"])
        text, labels = "Prompt tokens of a request for an alias, by what it is about.", ("model", "domain")
        self.turn_prompt = Histogram("llm_session_turn_prompt_tokens", text, _TURN, labels)
        text = "Generated tokens, likewise."
        self.turn_completion = Histogram("llm_session_turn_completion_tokens", text, _TURN, labels)
        self.prompt = _tokens("prompt_tokens", "Prompt tokens by model.", [answers.input])
        self.completion = _tokens("completion_tokens", "Generated tokens by model.", [answers.output])
        self.tokens = _tokens("tokens", "Both.", [answers.input, answers.output])

    def looked(self, signals: Collection[tuple[str, str]], seconds: float) -> None:
        """These signals, by type and name, were looked at together, which took so long."""
        for signal in signals:
            self.extracted.child(*signal).inc()
        for kind in {kind for kind, _ in signals}:
            self.seconds.child(kind).observe(seconds)

    def classified(self, choice: Choice) -> None:
        """A request for an alias was given its candidates."""
        if choice.category is not None and choice.confidence is not None:
            self.confidence.child(choice.category, METHOD).observe(choice.confidence)
            if choice.decision is not None:
                self.sure.child(choice.decision).observe(choice.confidence)
        coverage = choice.signals.get("coverage")
        if coverage and coverage["total_bytes"]:
            self.coverage.child().observe(coverage["scanned_bytes"] / coverage["total_bytes"])

    def turn(self, model: str, domain: str, usage: Usage) -> None:
        """One turn of a conversation was answered by the model."""
        self.turn_prompt.child(model, domain).observe(usage.prompt)
        self.turn_completion.child(model, domain).observe(usage.completion)

    def families(self) -> Iterator[Counter | Histogram]:
        """All of them."""
        yield from (one for one in vars(self).values() if isinstance(one, (Counter, Histogram)))


def _tokens(name: str, text: str, of: list[Histogram]) -> Counter:
    def read() -> Rows:
        sums: dict[str, float] = {}
        for family in of:
            for model, total in family.totals("target_model_name").items():
                sums[model] = sums.get(model, 0.0) + total
        return (((model,), total) for model, total in sums.items())

    return Counter(f"llm_model_{name}", text, ["model"], read=read)
