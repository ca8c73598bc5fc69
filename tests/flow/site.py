"""Some endpoints, the default profile over them, and OneHop's own rule: what the tests of the rule ask."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from epp.datastore.pool import Listed, Pool
from epp.domain import Candidate, Cost, Endpoint, Load, Request
from epp.flow.own import OwnRule
from epp.flow.settings import FlowSettings
from epp.flow.ticket import Key, Ticket
from epp.scheduling.default import default_profile, reckoner_of
from epp.scheduling.framework import Query

NOW = 100.0
LONG = Random(3).randbytes(80_000)


def asked(prompt: bytes) -> Query:
    request = Request("r", model="m", prompt=prompt, prompt_tokens=len(prompt) // 4)
    return Query(request, Candidate("m"), NOW, Random(1))


class Site:
    """Some endpoints of a pool, the default profile over them, and the rule."""

    def __init__(self, count: int = 3, **settings: Any) -> None:
        self.pool = Pool()
        self.pool.relist(Listed(f"e{n}", f"10.0.0.{n}:80") for n in range(count))
        self.profile = default_profile()
        reckoner = reckoner_of(self.profile)
        assert reckoner is not None
        self.rule = OwnRule(FlowSettings(**settings), reckoner)

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        return self.pool.endpoints

    def busy(self, place: int, work_s: float, *, critical: bool = False, **load: Any) -> None:
        """So many seconds of prefill wait there, from now on."""
        endpoint = self.endpoints[place]
        self.pool.lease(endpoint, Cost(work_s=work_s, critical=critical), now=NOW)
        if load:
            endpoint.load = Load(at=NOW, **load)

    def ticket(
        self, priority: int = 0, prompt: bytes = b"x" * 400, arrived: float = NOW, slo_s: float | None = None
    ) -> Ticket:
        request = Request("r", model="m", prompt=prompt, prompt_tokens=len(prompt) // 4, priority=priority)
        made = Ticket(request, Key(frozenset({"m"})), arrived, slo_s=slo_s)
        self.rule.screen(made, self.endpoints, NOW)
        return made

    def room(self, ticket: Ticket) -> list[str]:
        found = self.rule.room(ticket, self.endpoints, NOW)
        return [e.name for e in (self.endpoints if found is None else found)]

    def sent(self, prompt: bytes, place: int) -> None:
        """The endpoint was sent this prompt before."""
        query = Query(
            Request("r", model="m", prompt=prompt, prompt_tokens=len(prompt) // 4), Candidate("m"), NOW, Random(1)
        )
        self.profile.run(query, self.endpoints)
        self.profile.picked(query, self.endpoints[place])
