"""What `benchmarks.observe.inside` compares: one service that keeps nothing, others that keep what they should."""

from __future__ import annotations

import pytest

from benchmarks.live.inside import Run, Service
from benchmarks.observe.inside import VARIANTS, measured
from benchmarks.observe.muted import Muted
from epp.telemetry import Telemetry

REQUESTS = 3


@pytest.mark.parametrize(("kind", "kept"), [(Muted, 0), (Telemetry, REQUESTS)])
async def test_the_muted_service_counts_and_keeps_nothing(kind: type[Telemetry], kept: int) -> None:
    service = Service(2, telemetry=kind)
    run = Run("buffered", 2, service.processor().methods())
    await run.round(REQUESTS)
    read = service.telemetry.registry.get_sample_value

    assert b"10.0.0.1" in b"".join(run.written)
    assert (read("onehop_receipt_total", {"fate": "stored"}) or 0) == kept
    assert (read("onehop_request_outcome_total", {"outcome": "completed"}) or 0) == kept


async def test_every_way_to_be_seen_is_measured() -> None:
    muted_us, ratios = await measured("buffered", 1, 2)

    assert muted_us > 0
    assert [*ratios] == [*VARIANTS[1:]]
