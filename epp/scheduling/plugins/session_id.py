"""Read the name of a request's session, for the plugins that go by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.domain import Endpoint
from epp.scheduling.cookies import cookie
from epp.scheduling.framework import Producer, Query


@dataclass(slots=True)
class SessionIdProducer(Producer):
    """The session's name from a header, or from a cookie (llm-d `session-id-producer`)."""

    type: ClassVar[str] = "session-id-producer"
    makes: ClassVar[tuple[str, ...]] = ("session",)
    header_name: str = ""
    cookie_name: str = ""

    def __post_init__(self) -> None:
        if self.header_name and self.cookie_name:
            raise ValueError("cookie_name cannot go with headerName")

    def produce(self, query: Query, endpoints: Sequence[Endpoint]) -> None:
        """Fills `session` of the query; session affinity goes by it where its own sources say nothing."""
        headers = query.request.headers
        if self.cookie_name:
            query.session = cookie(headers, self.cookie_name)
        else:
            query.session = headers.get((self.header_name or "x-session-id").lower())
