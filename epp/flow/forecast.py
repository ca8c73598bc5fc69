"""What the gate needs to know of endpoints and requests, and an honest stand-in that learns nothing.

`LedgerForecast` counts what we sent and what engines say they hold; how fast they are it does not know, and assumes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from epp.domain import Endpoint, Request

PREFILL_TOKENS_PER_S = 15_928.0  # of one endpoint: llm-d's peak for a 32B model on two H100s, a middling engine
OVERHEAD_S = 0.02  # of a request with an empty prompt
KV_FULL = 0.9  # the part of the KV cache in use at which the pressure is 1: preemption is near
QUEUE_FULL = 5.0  # requests that an engine says wait, at which it is: llm-d's threshold
FRESH_S = 2.0  # for how long a sample of an engine counts


class Forecast(Protocol):
    """How busy an endpoint is, and what a request would meet there. Nothing here changes any state."""

    def pressure(self, endpoint: Endpoint, now: float) -> float:
        """0 when idle, 1 where more would hurt what is there; the class ceilings are in this unit."""

    def backlog_s(self, endpoint: Endpoint, now: float) -> float:
        """Predicted seconds until a prompt sent now would begin to be computed."""

    def ttft_s(self, request: Request, endpoint: Endpoint, now: float) -> float:
        """Predicted seconds until the request's first token, were it sent there now."""

    def own_s(self, request: Request) -> float:
        """Predicted seconds of its own prefill on an endpoint with nothing else to do."""

    def service_rate(self) -> float:
        """Predicted seconds of prefill that one endpoint does in a second: 1 where forecasts hold."""


@dataclass(slots=True)
class LedgerForecast:
    """From tokens in flight at a rate that is assumed, the KV cache and the engine's queue as it was last seen.

    Stale samples count for nothing: then the ledger alone speaks. `pressure_s` as in `FlowSettings`.
    """

    pressure_s: float = 1.5
    tokens_per_s: float = PREFILL_TOKENS_PER_S
    fresh_s: float = FRESH_S

    def pressure(self, endpoint: Endpoint, now: float) -> float:
        """The worst of: prefill to be done, KV cache in use, requests that the engine says wait."""
        # Asked of every endpoint for every request: comparisons, since max() takes as long as all the rest.
        worst = self.backlog_s(endpoint, now) / self.pressure_s
        load = endpoint.load
        if load is None or now - load.at > self.fresh_s:
            return worst
        kv_usage, waiting = load.kv_usage, load.waiting
        if kv_usage is not None and kv_usage > worst * KV_FULL:
            worst = kv_usage / KV_FULL
        if waiting is not None and waiting > worst * QUEUE_FULL:
            worst = waiting / QUEUE_FULL
        return worst

    def backlog_s(self, endpoint: Endpoint, now: float) -> float:
        """As the ledger reckons; by its tokens where nobody reckons seconds."""
        by_tokens = endpoint.inflight_tokens / self.tokens_per_s
        return max(endpoint.outstanding_s(now), by_tokens) if endpoint.work_s else by_tokens

    def ttft_s(self, request: Request, endpoint: Endpoint, now: float) -> float:
        """What is there, then its own."""
        return self.backlog_s(endpoint, now) + self.own_s(request)

    def own_s(self, request: Request) -> float:
        """All of its prompt: what is cached, this forecast does not know."""
        return OVERHEAD_S + request.prompt_tokens / self.tokens_per_s

    def service_rate(self) -> float:
        """As assumed."""
        return 1.0


def least_busy(forecast: Forecast, now: float) -> Callable[[Endpoint], tuple[float, int]]:
    """A rank of endpoints for a place to be kept at one of them."""
    return lambda endpoint: (forecast.backlog_s(endpoint, now), endpoint.inflight_requests)
