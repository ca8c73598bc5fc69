"""Receipts as `/debug/decisions` tells them -> what a decision can be made of again. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from epp.domain import Candidate, Choice, ConfigError, Needs, Request

WAITED_S = 0.02  # what is less is no wait for room, but our own time at the gate
PASSED_ON, ANSWERED = "passed_on", "answered"
GATE = frozenset({"shed", "wait_too_long", "queue_full", "queue_timeout", "displaced", "evicted", "saturated"})
CHOICE = frozenset({"guard_jailbreak", "guard_pii", "guard_unknown", "context_length_exceeded", "capability_missing"})
LACKS_MODEL = frozenset({"context_length", "tools", "images", "audio", "json_mode", "never_degrade"})


@dataclass(frozen=True, slots=True)
class Row:
    """One endpoint of a receipt; without `inputs` it was left out, or the receipt is of an older OneHop.

    `prefill_s` is what the prompt was thought to take there, None where nobody reckoned.
    """

    address: str
    name: str
    inputs: Mapping[str, Any] | None
    prefill_s: float | None


@dataclass(frozen=True, slots=True)
class Recorded:
    """One receipt; `at` is the second (of the wall clock) at which its request was whole."""

    told: Mapping[str, Any]
    id: str
    at: float
    pool: str
    model: str | None
    picked: str | None
    rows: Sequence[Row]

    @property
    def fate(self) -> str:
        """`goes` on at once, `waits` for room and goes, is `answered` by us, or `refused: CODE`."""
        if self.told.get("outcome") == ANSWERED:
            return ANSWERED
        if self.picked is None and (self.told.get("status") or 0) >= 400:
            return f"refused: {self.told.get('outcome')}"
        return "waits" if self.waited_s > WAITED_S or self.told.get("gate") else "goes"

    @property
    def priority(self) -> int:
        """Of its objective."""
        return int(self.told.get("priority") or 0)

    @property
    def slo_s(self) -> float | None:
        """What it asked for as the time to its first token, if anything."""
        asked: float | None = self.told.get("slo_asked_s")
        return asked

    @property
    def waited_s(self) -> float:
        """How long it stood at the gate."""
        return float(self.told.get("waited_s") or 0.0)

    @property
    def gate_at(self) -> float:
        """The second at which it came to the gate, its model being chosen."""
        decided_s = self.told.get("decided_s")
        return self.at if decided_s is None else max(self.at, self.at + float(decided_s) - self.waited_s)

    @property
    def spill(self) -> str:
        """Why it left its model for another; empty where it did not."""
        spill = self.told.get("spill") or {}
        return str(spill.get("reason") or "") if spill.get("to") is not None else ""

    @property
    def tells(self) -> bool:
        """Whether it says by what its endpoints were known."""
        return any(row.inputs for row in self.rows)

    @property
    def decided_at(self) -> float:
        """The second at which its endpoint was chosen, and seen as the receipt tells."""
        return self.at + float(self.told.get("decided_s") or 0.0)

    @property
    def first_token_s(self) -> float | None:
        """From the decision to the first token of a stream; None where it was not seen, but headers at most."""
        told = self.told
        seen = told.get("stream") and told.get("answer_bytes") is not None and (told.get("status") or 200) < 400
        took_s: float | None = told.get("ttft_from_decision_s") if seen else None
        return took_s

    @property
    def at_the_gate(self) -> bool:
        """Whether it was refused for want of room."""
        return self.picked is None and self.told.get("outcome") in GATE

    @property
    def at_the_choice(self) -> bool:
        """Whether the semantic stage, or what models can do, stood against it."""
        return self.picked is None and self.told.get("outcome") in CHOICE

    def request(self) -> Request:
        """What is known of it, which is not its text."""
        told = self.told
        needs = told.get("needs") or {}
        return Request(
            id=self.id,
            path=str(told.get("path") or "/v1/chat/completions"),
            model=told.get("asked_model"),
            prompt_tokens=int(told.get("prompt_tokens") or 0),
            tenant=str(told.get("tenant") or ""),
            priority=self.priority,
            needs=Needs(needs.get("output_tokens"), bool(needs.get("tools")), bool(needs.get("json_mode"))),
        )

    def choice(self) -> Choice | None:
        """The candidates as they were, less those that could not do what was asked; None where none were chosen."""
        told = self.told
        left = [row for row in told.get("candidates") or () if row.get("reason") not in LACKS_MODEL]
        if not left:
            return None
        candidates = tuple(Candidate(row.get("model"), float(row.get("margin") or 0.0)) for row in left)
        return Choice(candidates, told.get("decision"))


def read(told: Iterable[Any]) -> list[Recorded]:
    """In the order of their times. Raises ConfigError for what are no receipts."""
    found = []
    for number, each in enumerate(told):
        try:
            found.append(_recorded(each))
        except KeyError as lacks:
            raise ConfigError(f"receipt {number + 1}", f"is none: it has no {lacks}") from lacks
        except (TypeError, ValueError, AttributeError) as wrong:
            raise ConfigError(f"receipt {number + 1}", f"is none: {type(wrong).__name__}: {wrong}") from wrong
    return sorted(found, key=lambda each: each.at)


def _recorded(told: Mapping[str, Any]) -> Recorded:
    rows = [
        Row(
            str(e["address"]),
            str(e["name"]),
            e.get("inputs"),
            (e.get("details") or {}).get("prefill_s"),
        )
        for e in told["endpoints"]
    ]
    return Recorded(
        told=told,
        id=str(told["id"]),
        at=datetime.fromisoformat(told["time"]).timestamp(),
        pool=str(told["pool"]),
        model=told["selected_model"],
        picked=told["picked"],
        rows=rows,
    )
