"""One look at one endpoint: ask for its numbers and its models, and write down on it what is learned.

Must stay true: nothing but cancellation leaves `visit`; what is not learned is left as it was, so a sample grows
stale by its own time and a model list, once known, is never forgotten.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from epp.datastore import exposition, model_list
from epp.domain import Endpoint
from epp.edge import fetch

log = logging.getLogger(__name__)

METRICS = "/metrics"
MODELS = "/v1/models"


OnFailure = Callable[[str, bool], None]  # the path, and whether there was an answer, which was of no use


@dataclass(slots=True, frozen=True)
class ScrapeLimits:
    """How long and how much; every pause varies by the fraction `jitter`, so that endpoints drift apart.

    A visit costs about 0.2 ms of our one core, so `visits_per_s_max` is half of it. Past 1,250 endpoints samples come
    less often than each half second, past 5,000 they are stale to the scorers before the next.
    """

    models_interval_s: float = 5.0
    backoff_s_max: float = 2.0
    follow_s: float = 0.25
    jitter: float = 0.1
    connect_timeout_s: float = 0.5
    timeout_s: float = 1.0
    metrics_bytes_max: int = 4 << 20
    models_bytes_max: int = 1 << 20
    concurrency_max: int = 64
    visits_per_s_max: int = 2500


class Visitor:
    """Visits one endpoint; `errors` holds, by path, why the last answer was of no use."""

    def __init__(
        self,
        endpoint: Endpoint,
        client: aiohttp.ClientSession,
        now: Callable[[], float],
        limits: ScrapeLimits,
        on_failure: OnFailure = lambda path, answered: None,
    ) -> None:
        self.endpoint = endpoint
        self.on_failure = on_failure
        self.client = client
        self.now = now
        self.limits = limits
        self.visits = 0
        self.failures = 0
        self.errors: dict[str, str] = {}
        self._strikes = 0
        self._models_due = -math.inf

    async def visit(self) -> None:
        """Ask for the numbers, and for the models when it is time or they are not known yet."""
        if await self._ask(METRICS, self.limits.metrics_bytes_max, self._learn_load):
            self.failures = 0
        else:
            self.failures += 1
        if self._strikes == 0 and self.now() >= self._models_due:
            await self._ask(MODELS, self.limits.models_bytes_max, self._learn_models)
            if self._strikes == 0:
                self._models_due = self.now() + self.limits.models_interval_s
        self.visits += 1

    async def _ask(self, path: str, bytes_max: int, learn: Callable[[bytes], None]) -> bool:
        """Whether something was learned."""
        why: str | None = None
        answered = False
        try:
            body = await fetch.get(self.client, f"http://{self.endpoint.address}{path}", bytes_max)
            self._answered()
            answered = True
            learn(body)
        except fetch.NoAnswer as error:
            why = str(error)
            self._not_answered(error.strikes)
        except fetch.BadAnswer as error:
            why = str(error)
            self._answered()
        except (exposition.BadMetrics, model_list.BadModelList) as error:
            why = str(error)
        except Exception as error:  # A mistake of ours about one endpoint must not cost us the others.
            why = f"unexpected {type(error).__name__}"
            if self.errors.get(path) != why:
                log.exception("endpoint %s (%s) %s", self.endpoint.name, self.endpoint.address, path)
        if why is not None:
            self.on_failure(path, answered)
        self._note(path, why)
        return why is None

    def _learn_load(self, body: bytes) -> None:
        self.endpoint.load = exposition.parse(body, self.now())

    def _learn_models(self, body: bytes) -> None:
        models = model_list.parse(body)
        if models != self.endpoint.models:
            self.endpoint.models = models

    def _answered(self) -> None:
        self._strikes = 0
        if not self.endpoint.reachable:
            self.endpoint.reachable = True
            # It may have come back with other models.
            self._models_due = -math.inf

    def _not_answered(self, strikes_max: float) -> None:
        self._strikes += 1
        if self._strikes >= strikes_max:
            self.endpoint.reachable = False

    def _note(self, path: str, why: str | None) -> None:
        """Remember the reason; log it when it changes, not whenever it is met."""
        if why == self.errors.get(path):
            return
        if why is None:
            del self.errors[path]
            log.info("endpoint %s (%s) %s: well again", self.endpoint.name, self.endpoint.address, path)
        else:
            self.errors[path] = why
            log.warning("endpoint %s (%s) %s: %s", self.endpoint.name, self.endpoint.address, path, why)
