"""The words of vSR's format: signal kinds, plugin and algorithm types, and what decisions may refer to."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from semantic.judges.known import Judge
from semantic.plan import Card
from semantic.rules import Rule

SWITCH_OFF = "set enabled: false or use --lenient"
KINDS: Mapping[str, str] = {
    "keyword": "keywords",
    "domain": "domains",
    "embedding": "embeddings",
    "complexity": "complexity",
    "context": "context",
    "jailbreak": "jailbreak",
    "pii": "pii",
    "language": "language",
    "fact_check": "fact_check",
    "user_feedback": "user_feedbacks",
    "classifier": "classifiers",
    "conversation": "conversation",
    "metadata": "metadata",
    "authz": "role_bindings",
    "preference": "preferences",
    "reask": "reasks",
    "structure": "structure",
    "modality": "modality",
    "event": "events",
    "kb": "kb",
    "projection": "projections",
}
"""Each condition type and the key below `routing.signals` that declares signals of it."""
PLUGIN_KINDS = frozenset(
    {
        "system_prompt",
        "fast_response",
        "header_mutation",
        "response_cache",
        "semantic-cache",
        "request_params",
        "tools",
        "tool_selection",
        "router_replay",
        "context_compression",
        "memory",
        "rag",
        "hallucination",
        "response_jailbreak",
        "image_gen",
    }
)


@dataclass(slots=True)
class Names:
    """What decisions may refer to: models by name, and signals by kind and name.

    A signal without a judge is one that we cannot compute. `composed` holds the rule that a complexity signal waits
    for.
    """

    models: Mapping[str, Card]
    signals: dict[str, dict[str, Judge | None]] = field(default_factory=dict)
    composed: dict[str, Rule] = field(default_factory=dict)

    def judges(self) -> tuple[Judge, ...]:
        """All that can be computed."""
        return tuple(judge for named in self.signals.values() for judge in named.values() if judge is not None)
