"""vSR's windowed names and what is in flight by tenant: worked out at a scrape, from what is there anyway."""

from __future__ import annotations

from typing import Any

import pytest

from epp.domain import Receipt, Usage
from epp.telemetry import Telemetry
from epp.telemetry import inflight as module
from tests.make import fleet, pool
from tests.test_telemetry import measured, receipt, value


class Clocked:
    """A telemetry and its clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.telemetry = Telemetry(fleet(pool("a")), now=lambda: self.now)

    def asked(self, seconds: float, **more: Any) -> None:
        one = receipt(ended_s=seconds, usage=Usage(10, 5), **more)
        self.telemetry.decided(one)
        self.telemetry.ended(one)

    def windowed(self, name: str, window: str, **labels: str) -> float | None:
        return value(self.telemetry, f"llm_model_{name}", model=receipt().model or "", time_window=window, **labels)


def test_a_window_forgets_what_the_next_wider_one_still_has() -> None:
    over = Clocked()
    over.telemetry.text()
    for _ in range(4):
        over.asked(0.3)
    over.now = 50.0
    assert over.windowed("requests_windowed_total", "1m") == 4
    over.now = 100.0
    over.telemetry.text()
    over.now = 130.0
    over.asked(9.0)

    assert over.windowed("requests_windowed_total", "1m") == 1
    assert over.windowed("requests_windowed_total", "5m") == 5
    assert over.windowed("latency_windowed_seconds", "1m") == 9.0
    assert over.windowed("tokens_windowed_total", "1m", token_type="completion") == 5
    assert over.windowed("tokens_windowed_total", "15m", token_type="prompt") == 50


def test_quantiles_lie_in_the_bucket_of_their_request_and_errors_are_a_part() -> None:
    over = Clocked()
    over.telemetry.text()
    for number in range(100):
        over.asked(0.3 if number < 90 else 7.0, **({"status": 500} if number % 10 == 0 else {}))
    over.now = 30.0

    p50, p95 = over.windowed("latency_p50_windowed_seconds", "1m"), over.windowed("latency_p95_windowed_seconds", "1m")
    assert p50 is not None
    assert p95 is not None
    assert 0.2 < p50 <= 0.4
    assert 6 < p95 <= 8
    assert over.windowed("error_rate_windowed", "1m") == 0.1


def test_what_is_remembered_is_bounded() -> None:
    over = Clocked()
    for second in range(3000):
        over.now = float(second)
        if second % 2 == 0:
            over.telemetry._windowed._current()
            list(over.telemetry._windowed._windows())

    assert len(over.telemetry._windowed._seen) <= 900 / 5 + 2


def test_what_is_in_flight_is_told_by_endpoint_and_tenant_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    over = pool("a")
    telemetry = Telemetry(fleet(over))
    one = measured(telemetry, over, b"hello " * 200)
    telemetry.ended(one)
    one.tenant, one.labels = "team-a", None
    labels = {"endpoint_name": "a", "fairness_id": "team-a", "producer_name": "inflight-load-producer", "priority": "0"}
    labels["namespace"] = over.endpoints[0].name.rpartition("/")[0]

    assert inflight(telemetry, labels) == 0.0
    telemetry.decided(one)
    assert inflight(telemetry, labels) == 1.0
    assert value(telemetry, "llm_d_epp_inflight_tokens", **labels) == max(0, one.prompt_tokens - one.cached_tokens)
    monkeypatch.setattr(module, "ROWS_MAX", 0)
    assert inflight(telemetry, labels | {"fairness_id": "other"}) == 1.0
    telemetry.ended(one)
    assert inflight(telemetry, labels | {"fairness_id": "other"}) == 0.0


def inflight(telemetry: Telemetry, labels: dict[str, str]) -> float:
    return value(telemetry, "llm_d_epp_inflight_requests", **labels) or 0.0


def test_what_came_of_being_told_to_make_room_is_counted() -> None:
    telemetry = Telemetry(fleet(pool("a")))
    telemetry._flow._over("pool", "confirmed", 0.2)
    telemetry._flow._over("pool", "lapsed", 10.0)

    for outcome in ("confirmed", "lapsed"):
        name = "llm_d_epp_flow_control_revocations_total"
        assert value(telemetry, name, outcome=outcome, inference_pool="pool") == 1
    name = "llm_d_epp_flow_control_revocation_confirmation_seconds_count"
    assert value(telemetry, name, inference_pool="pool") == 1


def test_receipts_are_not_held_after_their_end() -> None:
    over = Clocked()
    over.asked(1.0)

    assert isinstance(receipt(), Receipt)
    assert not over.telemetry._inflight._open
