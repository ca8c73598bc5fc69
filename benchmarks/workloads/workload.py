"""A workload: what is asked for, and when, at a given rate.

Must stay true: the arrivals depend on rate and seed only, never on who answers; `after` names an earlier arrival.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal, Protocol


@dataclass(slots=True, frozen=True)
class Answer:
    """What one model is known to answer to a question: in so many tokens, and whether that is right."""

    tokens: int
    right: bool


@dataclass(slots=True, frozen=True)
class Question:
    """A question that several models have answered: its text, its true category, and the answers by model."""

    text: str
    category: str
    answers: Mapping[str, Answer]


@dataclass(slots=True, frozen=True)
class Ask:
    """One request's content. `blocks` are the ids of the prompt's blocks, the last one perhaps not full; `hashes` are
    those of the full blocks of prompt and answer, as the engine's prefix cache knows them."""

    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...]
    hashes: tuple[int, ...] = ()
    adapter: str | None = None
    tenant: str | None = None
    session: str | None = None
    """The name that a client gives its conversation by, where it has one."""
    question: Question | None = None
    """What the user asks, behind the text of `blocks`' first; any model may answer it, each in its own words."""


def answer_block(number: int, position: int) -> int:
    """An id that nobody else has, for a block of the answer to request `number`."""
    return -1 - (number << 16) - position


def with_answer(prompt: tuple[int, ...], tokens: int, block_tokens: int, number: int) -> tuple[int, ...]:
    """Hashes of all full blocks of `tokens`: those of the prompt, and new ones for what the answer fills.

    Nobody asks for these again, but they take their place among what is cached.
    """
    return prompt + tuple([answer_block(number, n) for n in range(tokens // block_tokens - len(prompt))])


@dataclass(slots=True)
class Arrival:
    """A request and its second. One that follows another (`after`, its position) comes not before that one is over."""

    at: float
    ask: Ask
    after: int | None = None
    gap_s: float = 0.0
    """Least seconds since the arrival of the one before."""


What = Literal["slow", "kill", "start", "list"]


@dataclass(slots=True, frozen=True)
class Happening:
    """Something that happens to a replica, by its place in the fleet.

    `slow`: its steps take `factor` as long; `kill`: it is gone with all it had; `start`: a new, empty engine in its
    place; `list`: discovery takes note of who is there.
    """

    share: float
    """When, as a fraction of the arrivals' span."""
    what: What
    replica: int = 0
    factor: float = 1.0
    after_s: float = 0.0
    """Seconds later than that."""


@dataclass(slots=True, frozen=True)
class Shape:
    """What a workload asks of the fleet, beside the requests."""

    happenings: Sequence[Happening] = ()
    adapters: Sequence[str] = ()
    absent: bool = False
    """Whether the fleet begins without any replica."""
    warm_up: float = 0.1
    """The first part of the arrivals that does not count."""
    gpus: str | None = None
    """The fleet's GPUs, where the workload is about that and the command does not say."""
    model: str | None = field(default=None, repr=False)
    """What the fleet serves on those GPUs, where that is what the workload was published for, and likewise."""
    mix: tuple[float, float, float] | None = field(default=None, repr=False)
    """Shares of critical, standard and sheddable, likewise; results and knees tell them apart by themselves."""


PLAIN = Shape()


class Workload(Protocol):
    """Requests to a fleet."""

    @property
    def name(self) -> str:
        """What results call it."""

    @property
    def identity(self) -> str:
        """A digest of everything that the requests depend on, beside rate and seed."""

    @property
    def block_tokens(self) -> int:
        """Tokens of a block."""

    @property
    def natural_rate(self) -> float:
        """Requests a second as recorded, or where a search for the knee may begin."""

    @property
    def shape(self) -> Shape:
        """What it asks of the fleet."""

    def arrivals(self, rate: float, rng: Random, limit: int | None = None) -> list[Arrival]:
        """The requests at a mean `rate` a second, at most `limit` of them, in order of time."""
