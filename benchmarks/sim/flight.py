"""One request of a run, from its arrival to its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.simulator.sequence import Sequence
from benchmarks.workloads.workload import Ask
from epp.director import Director
from epp.outcome import Routed

End = Literal["open", "done", "shed", "error"]


@dataclass(slots=True, eq=False)
class Flight:
    """Times are virtual seconds; `reason` is why it was shed or failed, `retry_after_s` when it was told to come again.
    `number` is its place among the arrivals."""

    number: int
    ask: Ask
    klass: str
    arrived: float
    end: End = "open"
    reason: str = ""
    member: str = ""
    model: str | None = None
    spilled: bool = False
    """Whether another model answered than the first that was meant to."""
    first_token: float | None = None
    ended: float | None = None
    cached_tokens: int = 0
    retry_after_s: int | None = None
    director: Director | None = None
    """Who decides about it, among several pickers."""
    routed: Routed | None = None
    sequence: Sequence | None = None

    @property
    def right(self) -> bool | None:
        """Whether the answer was right, where that is known of its question; an answer that was not given is not."""
        question = self.ask.question
        if question is None:
            return None
        return self.end == "done" and self.model is not None and question.answers[self.model].right

    @property
    def ttft_s(self) -> float | None:
        """Seconds to the first token; None where none came."""
        return None if self.first_token is None else self.first_token - self.arrived

    @property
    def tpot_s(self) -> float | None:
        """Mean seconds from token to token; None for an answer that was not given to its end, 0 for a single token."""
        if self.end != "done" or self.ended is None or self.first_token is None:
            return None
        return (self.ended - self.first_token) / max(1, self.ask.output_tokens - 1)
