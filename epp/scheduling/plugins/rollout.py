"""While a disaggregated set is rolled out, keep a request's stages on one revision of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import ClassVar

from xxhash import xxh3_64_intdigest

from epp.domain import Endpoint, Request
from epp.plugin import Stage
from epp.scheduling.framework import Query, Screener


@dataclass(slots=True)
class DisaggregatedSetRolloutScreener(Screener):
    """Keeps the endpoints of one revision, so that no prefill of an old one is handed to a decoder of a new one.

    A revision's share of the requests is the least, over the roles there are, of its part of the endpoints with that
    role; one that lacks a role gets none. Requests of a session stay with their revision as long as the shares allow
    (weighted rendezvous hashing by the session's name, else by the request's id). Endpoints without `revision_label`
    stay. A request whose header `header_name` names a revision goes there and nowhere else.
    """

    type: ClassVar[str] = "disaggregatedset-rollout-screener"
    stage: ClassVar[Stage] = "alpha"
    differs: ClassVar[str] = "The parameters and the formula of the share are ours; the Go picker's are not published."
    revision_label: str = "disaggregatedset.x-k8s.io/revision"
    role_label: str = "llm-d.ai/role"
    header_name: str = ""

    def __post_init__(self) -> None:
        for name in ("revision_label", "role_label"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")
        self.header_name = self.header_name.lower()

    def screen(self, query: Query, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """Those of the request's revision, and those of none."""
        labelled = [e for e in endpoints if self.revision_label in e.labels]
        wanted = query.request.headers.get(self.header_name) if self.header_name else None
        if wanted is None and len({e.labels[self.revision_label] for e in labelled}) < 2:
            return list(endpoints)
        revision = wanted if wanted is not None else _drawn(self.shares(labelled), query.request)
        return [e for e in endpoints if e.labels.get(self.revision_label, revision) == revision]

    def shares(self, endpoints: Sequence[Endpoint]) -> dict[str, float]:
        """Each revision's, from 0 to 1; they need not add up to 1."""
        of_role = Counter(e.labels.get(self.role_label) for e in endpoints)
        both = Counter((e.labels[self.revision_label], e.labels.get(self.role_label)) for e in endpoints)
        revisions = sorted({revision for revision, _ in both})
        return {r: min(both[r, role] / count for role, count in of_role.items()) for r in revisions}


def _drawn(shares: Mapping[str, float], request: Request) -> str | None:
    """A revision by its share, the same for the same session; None where none is complete."""
    name = request.session or request.id

    def distance(revision: str) -> float:
        part = (xxh3_64_intdigest(f"{revision}\0{name}".encode()) + 1) / (2**64 + 1)
        return -log(part) / shares[revision]

    return min((revision for revision, share in shares.items() if share > 0), key=distance, default=None)
