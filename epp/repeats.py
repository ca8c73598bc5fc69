"""The same request once more: by another stream, or by a retry.

Must stay true: what was decided a moment ago about this very request (id, path and body) is decided again in the same
way and counted once; a retry goes elsewhere.
"""

from __future__ import annotations

from dataclasses import replace

from epp.datastore import recent
from epp.datastore.pool import Lease
from epp.datastore.recent import Decided, Recent
from epp.protocol.exchange import Route
from epp.protocol.headers import REQUEST_ID, RETRY_ATTEMPT
from epp.protocol.messages import Decide

STREAMS_MAX = 16  # of one request: ai-gateway#2595 counted so many


class Repeats:
    """Decisions of the last moments, by request."""

    def __init__(self) -> None:
        self._recent = Recent()

    def before(self, ask: Decide, about: recent.Key, now: float) -> Decided | None:
        """What we said to this very request while its other stream is open, or, for a retry, when it last failed."""
        found = self._recent.find(about, now)
        if found is None:
            return None
        if ask.headers.get(RETRY_ATTEMPT, "0") != "0":
            found.tried.add(found.endpoint)
            return found
        return found if joins(found.lease) else None

    def remember(self, about: recent.Key, ask: Decide, way: Route, decided: Decided) -> None:
        """Under the body as it came and as it went on: a second filter sees what the first one made of it."""
        self._recent.note(about, decided)
        if way.body is not None:
            # What was edited once is not edited again.
            plain = replace(decided, choice=decided.choice.unedited(), candidate=decided.candidate.unedited())
            self._recent.note(key(ask, way.body), plain)


def key(ask: Decide, body: bytes) -> recent.Key:
    """What a request is known again by."""
    return recent.key(ask.headers[REQUEST_ID], ask.headers.get(":path", ""), body)


def joins(lease: Lease) -> bool:
    """Whether one more may hold it: as many as one request can have streams, since clients may choose their ids."""
    return lease.charged and lease.holders < STREAMS_MAX
