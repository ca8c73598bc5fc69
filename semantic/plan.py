"""What a decision does to its requests, as configured: models, how one is chosen, plugins. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

FamilyType = Literal["chat_template_kwargs", "reasoning_effort", "top_level_reasoning_effort"]
Factor = Literal["quality", "latency", "cost", "load"]
FACTORS: tuple[Factor, ...] = ("quality", "latency", "cost", "load")


@dataclass(frozen=True, slots=True)
class Family:
    """How models of one make are told to reason: which member of the body, and of which type."""

    type: FamilyType
    parameter: str


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model that may answer. `use_reasoning` None leaves the request's reasoning as it is."""

    model: str
    lora: str | None = None
    weight: float = 1.0
    use_reasoning: bool | None = None
    effort: str | None = None

    @property
    def served(self) -> str:
        """The name the request's model becomes: the adapter's, if there is one."""
        return self.lora or self.model


@dataclass(frozen=True, slots=True)
class Limits:
    """Ceilings of `multi_factor`; None where there is none. Milliseconds, currency for a million tokens, requests."""

    ttft_ms: float | None = None
    cost_per_1m: float | None = None
    inflight: float | None = None


@dataclass(frozen=True, slots=True)
class Algorithm:
    """How a decision orders its models."""

    type: Literal["static", "multi_factor"] = "static"
    weights: Mapping[Factor, float] = field(default_factory=lambda: dict.fromkeys(FACTORS, 0.25))
    limits: Limits = Limits()
    on_no_candidates: Literal["cheapest", "first", "fail"] = "cheapest"


@dataclass(frozen=True, slots=True)
class SystemPrompt:
    """Words for the model. `replace` overwrites the client's own; `insert` goes before them; None: only without any."""

    text: str
    mode: Literal["replace", "insert"] | None = None


@dataclass(frozen=True, slots=True)
class RequestParams:
    """What a client may ask of the model: names taken out, and ceilings."""

    blocked: frozenset[str] = frozenset()
    max_tokens: int | None = None
    max_n: int | None = None
    strip_unknown: bool = False


@dataclass(frozen=True, slots=True)
class Plugins:
    """What else a decision does. `headers` are lower-case names and values; a value of None removes the header."""

    system_prompt: SystemPrompt | None = None
    fast_response: str | None = None
    headers: tuple[tuple[str, str | None], ...] = ()
    params: RequestParams | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """What is said of a model: capabilities None where nothing is."""

    name: str
    loras: frozenset[str] = frozenset()
    capabilities: frozenset[str] | None = None
    quality: float | None = None
    context_tokens: int | None = None
    cost_per_1m: float | None = None
    family: Family | None = None
