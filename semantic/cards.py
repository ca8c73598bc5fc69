"""What model cards mean together: which abilities a model has, and what is lost by taking another one.

A list of capabilities is free text in vSR, so its silence is ambiguous. It counts as a no only for words that the file
uses: where some card says `tools`, a card that lists capabilities without it has none; where no card says `json`,
nothing is known of JSON modes. A card without a list is not known to lack anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

UNRELATED = 1.0
"""The margin of a model of which nobody says that it may stand in for the first."""
IMAGES = frozenset({"vision", "image", "images", "image_input", "multimodal", "omni"})
AUDIO = frozenset({"audio", "audio_input", "speech", "omni"})
TOOLS = frozenset({"tools", "tool_use", "tool_calling", "tool_calls", "function_calling", "functions"})
JSON = frozenset({"json", "json_mode", "json_object", "json_schema", "structured_output", "structured_outputs"})


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a model can take; None is not known."""

    images: bool | None = None
    audio: bool | None = None
    tools: bool | None = None
    json_mode: bool | None = None


def abilities(capabilities: Mapping[str, frozenset[str] | None]) -> dict[str, Abilities]:
    """By model, of the words of its card as they are written; None stands for a card without a list."""
    said = {name: None if words is None else frozenset(map(_plain, words)) for name, words in capabilities.items()}
    used = frozenset[str]().union(*(words for words in said.values() if words is not None))

    def can(words: frozenset[str] | None, spellings: frozenset[str]) -> bool | None:
        return bool(spellings & words) if words is not None and spellings & used else None

    return {n: Abilities(can(w, IMAGES), can(w, AUDIO), can(w, TOOLS), can(w, JSON)) for n, w in said.items()}


def margins(
    models: Sequence[str], weights: Sequence[float], qualities: Mapping[str, float | None]
) -> tuple[float, ...]:
    """What is lost by each model against the first, 0 to 1; `weights` are those of the models a decision lists.

    By the scores of both cards where they have one, else by the weights where these differ; models listed side by side
    without either are equals. A model that the decision does not list, and no score compares, is `UNRELATED`.
    """
    first = qualities.get(models[0])
    lost = [0.0]
    for place, model in enumerate(models[1:], start=1):
        own = qualities.get(model)
        if first is not None and own is not None:
            lost.append(round(max(0.0, first - own), 6))
        elif place < len(weights):
            lost.append(round(1.0 - max(0.0, weights[place]) / weights[0], 6) if weights[0] > 0 else 0.0)
        else:
            lost.append(UNRELATED)
    return tuple(lost)


def _plain(word: str) -> str:
    return word.strip().lower().replace("-", "_").replace(" ", "_")
