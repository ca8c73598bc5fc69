"""The picker that transcripts talk to."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from epp.edge.health import Health
from epp.edge.processor import Processor
from tests.edge.transports import TRANSPORTS, served
from tests.transcripts.picker import Picker


@pytest.fixture
def health() -> Health:
    """What the server says of itself."""
    return Health()


@pytest.fixture(params=TRANSPORTS)
async def epp(health: Health, request: pytest.FixtureRequest) -> AsyncIterator[Picker]:
    """A picker on a port of its own. When a test is over, nothing may be left in the ledger."""
    picker = Picker()
    processor = Processor(picker.stream, picker.telemetry)
    unbounded = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with (
        served(request.param, {**processor.methods(), **health.methods()}) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=unbounded) as channel,
    ):
        picker.channel = channel
        yield picker

    assert processor.open == 0
    assert not any(picker.inflight)
    assert picker.shared.buffers.held == 0
