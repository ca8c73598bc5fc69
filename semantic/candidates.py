"""Who may answer a request once the decision is known, in what order, and with which edits of the request. Pure."""

from dataclasses import replace
from itertools import takewhile

from semantic.asked import Asked, needs
from semantic.cards import abilities, margins
from semantic.choice import NO_ABILITIES, Candidate
from semantic.config import SemanticConfig
from semantic.edits import HeaderEdit
from semantic.plan import ModelRef, Plugins
from semantic.reasoning import lowered, reasoning_edits
from semantic.requests import plugin_edits, plugin_headers
from semantic.rules import Match
from semantic.select import OUTPUT_TOKENS, Measure, may, order
from semantic.sessions import Remembered

SELECTED_MODEL = "x-selected-model"


class Candidates:
    """By one configuration."""

    def __init__(self, config: SemanticConfig) -> None:
        self._config = config
        self._abilities = abilities({name: card.capabilities for name, card in config.cards.items()})

    def of(
        self, asked: Asked, match: Match | None, before: Remembered | None, measure: Measure
    ) -> tuple[Candidate, ...]:
        """Who may answer, the decision being known: its models, the default one, and whoever else can do the task."""
        config = self._config
        decision = match.decision if match else None
        refs = order(decision.refs, decision.algorithm, config.cards, measure) if decision else []
        if decision is not None and not refs:
            return ()
        wanted = [*refs, ModelRef(config.default_model)]
        need, tokens = needs(asked), asked.prompt_tokens + _answer_tokens(asked)

        def able(model: str) -> bool:
            return may(config.cards.get(model), self._abilities.get(model, NO_ABILITIES), need, tokens)

        if not any(able(ref.model) for ref in wanted):
            # Nobody that was thought of can do this: whoever can comes after them.
            wanted += [ModelRef(name) for name in config.cards if able(name)]
        if before is not None and before.models:
            wanted.sort(key=lambda ref: self._served(ref) != before.models[0])
        plugins = decision.plugins if decision else Plugins()
        edits, headers = plugin_edits(asked, plugins), plugin_headers(plugins)
        waiting = config.extras.efforts.get(decision.name) if decision else None
        out: dict[str, Candidate] = {}
        for ref in wanted:
            served = self._served(ref)
            if served not in out:
                out[served] = self._candidate(asked, ref, Candidate(served, edits, headers, waiting_max=waiting))
        # Only what a decision lists side by side is compared by its weights.
        weighed = {self._served(ref): ref.weight for ref in reversed(refs)}
        weights = [weighed[name] for name in takewhile(weighed.__contains__, out)]
        lost = margins([*out], weights, {name: one.quality for name, one in out.items()})
        return tuple(replace(one, margin=margin) for one, margin in zip(out.values(), lost, strict=True))

    def _candidate(self, asked: Asked, ref: ModelRef, plain: Candidate) -> Candidate:
        """With what is this model's own: its reasoning, and its name for routes where its servers have another."""
        config = self._config
        card = config.cards.get(ref.model)
        edits = plain.edits + reasoning_edits(asked, ref, card, config.default_effort)
        headers = plain.headers
        if plain.model != ref.served:
            headers = (HeaderEdit(SELECTED_MODEL, ref.served), *headers)
        less = None if plain.waiting_max is None else lowered(ref, card, config.default_effort)
        lower = None if less is None else plain.edits + reasoning_edits(asked, less, card, config.default_effort)
        return Candidate(
            model=plain.model,
            edits=edits,
            headers=headers,
            lowered=lower,
            waiting_max=None if lower is None else plain.waiting_max,
            quality=None if card is None else card.quality,
            context_tokens=None if card is None else card.context_tokens,
            abilities=self._abilities.get(ref.model, NO_ABILITIES),
        )

    def _served(self, ref: ModelRef) -> str:
        return ref.lora or self._config.served.get(ref.model, ref.model)


def _answer_tokens(asked: Asked) -> int:
    for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"):
        value = asked.body.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return max(0, value)
    return OUTPUT_TOKENS
