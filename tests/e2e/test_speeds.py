"""How fast replicas are is learned behind a real Envoy, whatever it shows us of answers."""

from __future__ import annotations

from random import Random
from statistics import median

import pytest

from tests.e2e.client import chat
from tests.e2e.conftest import Start

FACTOR = 4.0  # times as slow as what speeds start from, so that a crowded machine does not matter


@pytest.mark.parametrize(("wiring", "stream"), [("buffered", False), ("buffered", True), ("duplex", True)])
async def test_a_slow_replica_is_predicted_to_be_slow(start: Start, wiring: str, stream: bool) -> None:
    rng, predicted = Random(1), []
    async with start(wiring=wiring, replicas=1, time_factor=FACTOR, serve_flags=["--admission=none"]) as site:
        for _ in range(24):
            text = " ".join(rng.choices(("red", "green", "blue", "grey"), k=3_000))
            answer = await site.post(chat("llama3-8b", text, max_tokens=2, stream=stream))
            predicted.append((await site.receipt(answer))["predicted_ttft_s"])

    assert median(predicted[-3:]) > 2.5 * predicted[0]
