"""Which endpoint a session belongs to: told by the client's token, or remembered by the session's name.

Must stay true: a token is only the endpoint's name in base64, a hint that is worth nothing for an endpoint that is not
there; sessions are remembered up to `SESSIONS_MAX`, the least recently seen go first.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from epp.domain import Endpoint
from epp.scheduling.cookies import cookie
from epp.scheduling.framework import Memory, Query

SESSIONS_MAX = 100_000
SESSION_LENGTH_MAX = 256
TOKEN_LENGTH_MAX = 1024


class EncodedEndpoint(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The header whose value is the endpoint, both ways."""

    header: str = "x-session-token"


class SessionSource(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Where a session's name is looked for."""

    header: str = ""
    cookie: str = ""

    def __post_init__(self) -> None:
        if bool(self.header) is bool(self.cookie):
            raise ValueError("one of `header` and `cookie` is needed")


class SessionId(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Where the name is looked for, the first found counts, and how long an idle session is remembered."""

    sources: tuple[SessionSource, ...] = (SessionSource(header="x-session-id"),)
    eviction_ttl_seconds: float = 300.0
    sweep_interval_seconds: float = 10.0


@dataclass(slots=True)
class SessionAffinity(Memory):
    """What the scorer and the filter share. `profile_name` says whose endpoint counts where several profiles run."""

    strategy: Literal["encoded_endpoint_header", "session_id"] = "encoded_endpoint_header"
    encoded_endpoint_header: EncodedEndpoint = field(default_factory=EncodedEndpoint)
    session_id: SessionId = field(default_factory=SessionId)
    profile_name: str = ""
    _pins: OrderedDict[str, tuple[Endpoint, float]] = field(init=False, repr=False, default_factory=OrderedDict)

    def pinned(self, query: Query, endpoints: Sequence[Endpoint]) -> Endpoint | None:
        """The session's endpoint, where it is among these."""
        if self.strategy == "encoded_endpoint_header":
            name = _decoded(query.request.headers.get(self.encoded_endpoint_header.header.lower(), ""))
            return next((e for e in endpoints if e.name == name), None) if name else None
        session = self._session(query)
        pin = self._pins.get(session) if session else None
        if pin is None or query.now - pin[1] > self.session_id.eviction_ttl_seconds:
            return None
        return pin[0] if pin[0] in endpoints else None

    def picked(self, query: Query, endpoint: Endpoint) -> None:
        """The session is here from now on."""
        if self.strategy == "session_id" and self._target(query, endpoint) is endpoint:
            self._pin(query, endpoint)

    def moved(self, query: Query, picked: Endpoint, served: Endpoint) -> None:
        """The session went elsewhere."""
        if self.strategy == "session_id" and self._target(query, served) is served:
            self._pin(query, served)

    def heads(self, query: Query, endpoint: Endpoint, served: str | None) -> Sequence[tuple[str, str]]:
        """The token, for the client to send again."""
        target = self._target(query, endpoint)
        if self.strategy != "encoded_endpoint_header" or target is None:
            return ()
        return [(self.encoded_endpoint_header.header.lower(), b64encode(target.name.encode()).decode())]

    def relisted(self, endpoints: Sequence[Endpoint]) -> None:
        """Forget the sessions of endpoints that left."""
        there = set(endpoints)
        for session in [session for session, (endpoint, _) in self._pins.items() if endpoint not in there]:
            del self._pins[session]

    def _target(self, query: Query, chosen: Endpoint) -> Endpoint | None:
        """The endpoint that counts: the chosen one, or that of another profile; None where that did not run."""
        extra = query.extra
        if not self.profile_name or extra is None or not extra.picks:
            return chosen
        target = extra.picks.get(self.profile_name)
        return target if target is None or target in extra.beside else chosen

    def _pin(self, query: Query, endpoint: Endpoint) -> None:
        session, pins = self._session(query), self._pins
        if not session:
            return
        pins[session] = endpoint, query.now
        pins.move_to_end(session)
        oldest = query.now - self.session_id.eviction_ttl_seconds
        while pins and (len(pins) > SESSIONS_MAX or next(iter(pins.values()))[1] < oldest):
            pins.popitem(last=False)

    def _session(self, query: Query) -> str | None:
        headers = query.request.headers
        for source in self.session_id.sources:
            found = headers.get(source.header.lower()) if source.header else cookie(headers, source.cookie)
            if found:
                return found[:SESSION_LENGTH_MAX]
        return query.session


def _decoded(token: str) -> str | None:
    if not token or len(token) > TOKEN_LENGTH_MAX:
        return None
    try:
        return b64decode(token, validate=True).decode()
    except ValueError:
        return None
