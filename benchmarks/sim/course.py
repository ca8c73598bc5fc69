"""What happens to requests after the picker's answer, told to the director as `edge/stream.py` does.

Must stay true: every flight that was decided ends once, by its last token, with its replica, or by a refusal; its
lease is closed then. A replica that is gone refuses connections at once, which the gateway makes a 503; one that is
asked for more than its cache holds answers 400, as vLLM does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from benchmarks.sim.flight import End, Flight
from benchmarks.sim.loop import VirtualLoop
from benchmarks.sim.member import Member
from benchmarks.simulator.replica import StepResult
from benchmarks.simulator.sequence import Job, Sequence
from benchmarks.workloads.questions import answered_by
from epp.domain import Usage
from epp.outcome import Answered, Routed


class Course:
    """The requests under way; `over` is called with each that has ended."""

    def __init__(
        self,
        loop: VirtualLoop,
        members: Iterable[Member],
        over: Callable[[Flight], None],
        *,
        shown: bool = True,
    ) -> None:
        self._shown = shown
        self._loop = loop
        self._members = {member.address: member for member in members}
        self._over = over
        self.flying: dict[Sequence, Flight] = {}

    def decided(self, flight: Flight, result: Routed | Answered) -> None:
        """The picker has answered."""
        if isinstance(result, Answered):
            told = dict(result.immediate.headers).get("retry-after")
            flight.retry_after_s = None if told is None else int(told)
            self._ended(flight, "shed", result.receipt.outcome)
            return
        assert result.lease is not None, "one picker of one stream takes the lease"
        member = self._members[result.lease.endpoint.address]
        receipt = result.receipt
        flight.routed, flight.member, flight.model = result, member.name, receipt.model
        flight.spilled = receipt.spill is not None and receipt.spill.to is not None
        flight.ask = answered_by(flight.ask, receipt.model)
        if not member.alive:
            self._fail(flight, 503, "connection refused")
            return
        ask = flight.ask
        if ask.prompt_tokens + ask.output_tokens > member.config.context_tokens_max:
            self._fail(flight, 400, "too long")
            return
        sequence = member.submit(Job(ask.prompt_tokens, ask.output_tokens, ask.hashes, ask.adapter))
        flight.sequence = sequence
        self.flying[sequence] = flight

    def stepped(self, member: Member, result: StepResult) -> None:
        """A replica has ended a step."""
        for sequence in result.first:
            self._first_token(self.flying[sequence], sequence)
        for sequence in result.finished:
            self._finished(self.flying.pop(sequence))

    def lost(self, member: Member) -> None:
        """A replica is gone, and what it was at is cut off."""
        for sequence, flight in list(self.flying.items()):
            if flight.member == member.name:
                del self.flying[sequence]
                began = flight.first_token is not None
                self._fail(flight, 200 if began else 503, "cut off" if began else "no answer")

    def _first_token(self, flight: Flight, sequence: Sequence) -> None:
        flight.first_token, flight.cached_tokens = self._loop.now, sequence.cached_tokens
        assert flight.routed is not None
        self._begin_answer(flight, flight.routed, 200)

    def _begin_answer(self, flight: Flight, routed: Routed, status: int) -> None:
        """Headers and the first piece of a body, whoever gives the answer."""
        now, receipt, lease = self._loop.now, routed.receipt, routed.lease
        assert lease is not None
        assert flight.director is not None
        flight.director.served(routed, lease.endpoint.address)
        receipt.status = status
        if self._shown:
            receipt.first_answer_s = now - receipt.time
            lease.prefilled(now)
            flight.director.answered(routed)

    def _finished(self, flight: Flight) -> None:
        ask, routed = flight.ask, flight.routed
        assert routed is not None
        routed.receipt.usage = Usage(ask.prompt_tokens, ask.output_tokens, flight.cached_tokens)
        self._close(flight, routed, "completed")
        self._ended(flight, "done", "")

    def _fail(self, flight: Flight, status: int, reason: str) -> None:
        """An error in place of an answer, or (200) an answer that is cut off."""
        assert flight.routed is not None
        if status != 200:
            self._begin_answer(flight, flight.routed, status)
        self._close(flight, flight.routed, "completed" if status != 200 else "disconnected")
        self._ended(flight, "error", reason)

    def _close(self, flight: Flight, routed: Routed, outcome: str) -> None:
        receipt = routed.receipt
        receipt.outcome, receipt.ended_s = outcome, self._loop.now - receipt.time
        assert flight.director is not None
        flight.director.ended(routed)

    def _ended(self, flight: Flight, end: End, reason: str) -> None:
        flight.end, flight.reason, flight.ended = end, reason, self._loop.now
        flight.routed = flight.sequence = flight.director = None  # a million of them stay until the run is over
        self._over(flight)
