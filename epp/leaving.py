"""Whether a request leaves the model it was meant for, and for which: what `Spill` judges, put to candidates and picks.

Must stay true: whatever makes a request leave (a wait that is predicted, or no room where it waits), the quality given
up and the share that leaves are bounded alike; only where no endpoint of the model is there, it leaves in any case.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from epp.domain import Candidate, Receipt, Request, Spilled, SpillReason
from epp.protocol.session import session
from epp.scheduling.framework import Profile
from epp.scheduling.spill import Option, Outlook, Spill

if TYPE_CHECKING:
    from epp.picking import Chosen


@dataclass(slots=True)
class Leaving:
    """Without an `outlook` nobody leaves for a wait that is predicted."""

    spill: Spill
    outlook: Outlook | None = None

    @contextmanager
    def waiting(self, candidates: Sequence[Candidate], now: float) -> Iterator[Sequence[Candidate]]:
        """The candidates for whose room a request may wait; held for as long as it does, so that all count."""
        first = candidates[0]
        near = [c for c in candidates if self.near(c, first)]
        if len(near) == 1 or not self.spill.may_leave(first.model, now):
            yield near[:1]
            return
        with self.spill.held(first.model):
            yield near

    def near(self, candidate: Candidate, first: Candidate) -> bool:
        """Whether it is good enough to stand in for the first."""
        return candidate.margin <= first.margin + self.spill.rules.margin_max

    def instead(self, found: Chosen, others: Iterable[Chosen], receipt: Receipt) -> Chosen:
        """The preferred model's choice, or one of the others, that has to wait so much less."""
        outlook, query = self.outlook, found.query
        if outlook is None:
            return found
        chosen = {found.candidate.model: found}
        preferred = _option(found, outlook)

        def options() -> Iterator[Option]:
            for other in others:
                chosen[other.candidate.model] = other
                yield _option(other, outlook)

        verdict = self.spill.judge(preferred, options(), lambda: session(query.request), query.now)
        if verdict.reason is not None:
            moved = verdict.option.model != preferred.model
            best = verdict.option if moved else verdict.best
            receipt.spill = Spilled(
                origin=preferred.model,
                to=verdict.option.model if moved else None,
                reason=verdict.reason,
                wait_s=preferred.wait_s,
                ttft_s=preferred.ttft_s,
                ttft_to_s=best.ttft_s if best else None,
            )
        return chosen[verdict.option.model]

    def sent(self, request: Request, wanted: Candidate, taken: Candidate, now: float) -> None:
        """It went elsewhere since there was no room for it."""
        self.spill.sent(wanted.model, taken.model, session(request), now)


def outlook_of(profile: Profile) -> Outlook | None:
    """The part of the profile that predicts waits, if one does."""
    return next((part for part in profile.plugins if isinstance(part, Outlook)), None)


def note_forced(receipt: Receipt, wanted: Candidate, taken: Candidate, reason: SpillReason) -> None:
    """A later candidate answers, since nobody, or nobody with room, was there for the first."""
    receipt.spill = Spilled(wanted.model, taken.model, reason)


def _option(chosen: Chosen, outlook: Outlook) -> Option:
    query, endpoint = chosen.query, chosen.pick.endpoint
    wait_s, ttft_s = outlook.wait_s(query, endpoint), outlook.first_token_s(query, endpoint)
    return Option(chosen.candidate.model, wait_s, ttft_s, query.cached.get(endpoint, 0))
