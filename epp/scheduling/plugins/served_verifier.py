"""Tell the client which endpoint the gateway says served it. For conformance tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.domain import Endpoint
from epp.plugin import Stage
from epp.scheduling.framework import Memory, Query

HEADER = "x-conformance-test-served-endpoint"


@dataclass(slots=True)
class DestinationEndpointServedVerifier(Memory):
    """Sets `x-conformance-test-served-endpoint` on answers: the endpoint, or that the gateway did not say (llm-d)."""

    type: ClassVar[str] = "destination-endpoint-served-verifier"
    stage: ClassVar[Stage] = "test"
    differs: ClassVar[str] = "One text for metadata that is missing, whether as a whole or the endpoint in it."

    def heads(self, query: Query, endpoint: Endpoint, served: str | None) -> Sequence[tuple[str, str]]:
        """One header."""
        return [(HEADER, served or "fail: missing destination endpoint served metadata")]
