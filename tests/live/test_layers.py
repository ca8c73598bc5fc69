"""What `benchmarks.live.layers` compares answers every message, from whatever depth."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.live.inside import Run
from benchmarks.live.layers import CASES, LAYERS, methods
from epp.edge.http2 import frames
from epp.edge.methods import Methods


@pytest.mark.parametrize("case", CASES)
def test_every_layer_answers_with_as_many_messages(case: str) -> None:
    found = {}
    for layer in LAYERS:
        served = methods(layer, case, 2)
        found[layer] = asyncio.run(_answered(case, served))

    assert len(set(found.values())) == 1, found
    assert found["all"] >= 3


async def _answered(case: str, served: Methods) -> int:
    """DATA frames of the answer to one request: as many as its messages, and a large body's as it is cut."""
    run = Run(case, 2, served)
    await run.round(1)
    data, at, count = b"".join(run.written), 0, 0
    while at < len(data):
        high, low, kind, _, _ = frames.FRAME_HEADER.unpack_from(data, at)
        count += kind == frames.DATA
        at += frames.FRAME_HEADER.size + (high << 8 | low)
    return count
