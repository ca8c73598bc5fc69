"""What plugins that go by a `Reckoner` have in common: they tell the ledger what a request takes, and learn from it."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from epp.domain import Cost, Endpoint
from epp.scheduling.adapters import adapter_of, slot_wait_s
from epp.scheduling.framework import Answer, Memory, Query
from epp.scheduling.reckoner import Reckoner, shape_of
from epp.scheduling.unseen import Sent

_FAILED = int(HTTPStatus.BAD_REQUEST)


class Learner(Memory):
    """Teaches its reckoner from first tokens: those that the gateway shows us, and else those that engines count."""

    reckoner: Reckoner

    def picked(self, query: Query, endpoint: Endpoint) -> None:
        """Tell the ledger what the request takes there."""
        prompt, speed = query.request.prompt_tokens, self.reckoner.speed(endpoint)
        hit = query.cached.get(endpoint, 0)
        sent = query.notes[id(self)] = Sent(query.now, shape_of(prompt, hit))
        work_s = speed.seconds(sent.shape_s)
        adapter = adapter_of(query.candidate.model, (endpoint,))
        query.cost = Cost(
            tokens=max(0, prompt - hit),
            context=prompt,
            work_s=work_s,
            ttft_s=_begins_s(query, endpoint, adapter) + work_s,
            adapter=adapter,
        )
        if query.blind:
            speed.send(sent)

    def begins_s(self, query: Query, endpoint: Endpoint) -> float:
        """Predicted seconds until the endpoint begins with this prompt."""
        return _begins_s(query, endpoint, adapter_of(query.candidate.model, (endpoint,)))

    def moved(self, query: Query, picked: Endpoint, served: Endpoint) -> None:
        """It is computed elsewhere."""
        sent = query.notes.get(id(self))
        if sent is not None and query.blind:
            self.reckoner.speed(picked).unseen.drop(sent)
            self.reckoner.speed(served).send(sent)

    def answered(self, query: Query, endpoint: Endpoint, seconds: float) -> None:
        """Learn how fast the endpoint is."""
        sent = query.notes.get(id(self))
        if sent is not None:
            self.reckoner.speed(endpoint).seen(sent, query.now + seconds)

    def ended(self, query: Query, endpoint: Endpoint, answer: Answer) -> None:
        """What failed or was given up may never have been computed."""
        sent = query.notes.get(id(self))
        if sent is not None and query.blind and (not answer.whole or (answer.status or 0) >= _FAILED):
            self.reckoner.speed(endpoint).unseen.drop(sent)

    def relisted(self, endpoints: Sequence[Endpoint]) -> None:
        """Forget the endpoints that left."""
        self.reckoner.keep(endpoints)


def _begins_s(query: Query, endpoint: Endpoint, adapter: str | None) -> float:
    waits_s = endpoint.outstanding_s(query.now)
    return waits_s if adapter is None else waits_s + slot_wait_s(adapter, endpoint)
