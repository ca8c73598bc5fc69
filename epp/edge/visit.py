"""One look at one endpoint: ask for its numbers and its models, and write down on it what is learned.

Must stay true: nothing but cancellation leaves `visit`; what is not learned is left as it was, so a sample grows
stale by its own time and a model list, once known, is never forgotten; one request at a time.
"""

from __future__ import annotations

import logging
import math
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol
from urllib.parse import quote

from epp.datastore import exposition, model_list
from epp.datastore.cadence import Cadence, busy
from epp.datastore.engines import METRICS, REQUIRED, Engine, Engines
from epp.datastore.exposition import Reading
from epp.domain import Endpoint, Probe
from epp.edge.fetch import BadAnswer, Client, NoAnswer, Patience
from epp.scheduling import standing

log = logging.getLogger(__name__)

MODELS = "/v1/models"


class Asks(Protocol):
    """What a visitor needs of a client of one server; see `fetch.Client`."""

    @property
    def lost(self) -> bool: ...

    async def get(self, path: str, bytes_max: int) -> bytes: ...

    def close(self) -> None: ...


Dial = Callable[[str, Patience, ssl.SSLContext | None], Asks]
OnFailure = Callable[[str, bool], None]  # the path, and whether there was an answer, which was of no use
OnProbe = Callable[[Endpoint], None]


@dataclass(slots=True, frozen=True)
class ScrapeLimits:
    """How long and how much.

    A visit costs about 0.1 ms of our one core, so `visits_per_s_max` is a quarter of it. Past 1,250 endpoints samples
    come less often than each half second, past 5,000 they are stale to the scorers before the next.
    """

    models_interval_s: float = 5.0
    probe_interval_s: float = 60.0
    follow_s: float = 0.25
    connect_timeout_s: float = 0.5
    timeout_s: float = 1.0
    metrics_bytes_max: int = 4 << 20
    models_bytes_max: int = 1 << 20
    concurrency_max: int = 64
    visits_per_s_max: int = 2500

    @property
    def patience(self) -> Patience:
        """As a client takes it."""
        return Patience(self.connect_timeout_s, self.timeout_s)


@dataclass(slots=True, frozen=True)
class Source:
    """Where and how the numbers are told (llm-d's `metrics-data-source`): the engine's own path, the endpoint's port.

    `tls` is for servers that tell them over https.
    """

    engines: Engines = exposition.ENGINES
    path: str | None = None
    port: int | None = None
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        if self.path is not None and not self.path.startswith("/"):
            raise ValueError("path must begin with /")
        if self.port is not None and not 0 < self.port < 65536:
            raise ValueError("port must be from 1 to 65535")

    def address(self, endpoint: Endpoint) -> str:
        """`host:port` of an endpoint's numbers."""
        return endpoint.address if self.port is None else f"{endpoint.address.rpartition(':')[0]}:{self.port}"


OWN_PORT = Source()


class Visitor:
    """Visits one endpoint; `errors` holds, by path, why the last answer was of no use."""

    def __init__(
        self,
        endpoint: Endpoint,
        now: Callable[[], float],
        limits: ScrapeLimits,
        on_failure: OnFailure = lambda path, answered: None,
        *,
        source: Source = OWN_PORT,
        on_probe: OnProbe = lambda endpoint: None,
        dial: Dial = Client,
    ) -> None:
        self.endpoint = endpoint
        self.on_failure = on_failure
        self.on_probe = on_probe
        self.now = now
        self.limits = limits
        self.source = source
        self.cadence = Cadence()
        self.errors: dict[str, str] = {}
        self._client = dial(endpoint.address, limits.patience, None)
        own = source.address(endpoint) == endpoint.address and source.tls is None
        self._numbers = self._client if own else dial(source.address(endpoint), limits.patience, source.tls)
        self._strikes = 0
        self._models_due = self._probe_due = -math.inf
        self._engine: Engine | None = None
        self._path = METRICS
        self._narrows = True  # whether it may be asked for some series only: it has not failed at that

    async def visit(self) -> None:
        """Ask for the numbers, and for the models when it is time or they are not known yet."""
        before, began = self.endpoint.load, self.now()
        learned = await self._ask(METRICS, self._load)
        self.cadence.visited(before, self.endpoint.load, self.now() - began, busy=busy(self.endpoint), learned=learned)
        if self._strikes == 0 and self.now() >= self._models_due:
            await self._ask(MODELS, self._models)
            if self._strikes == 0:
                self._models_due = self.now() + self.limits.models_interval_s

    @property
    def wanted(self) -> bool:
        """Whether there is a reason to look again early: work, or a connection that the server has closed."""
        return self.endpoint.inflight_requests > 0 or self._numbers.lost

    def close(self) -> None:
        """No more visits."""
        self._client.close()
        self._numbers.close()

    async def _ask(self, path: str, learn: Callable[[], Awaitable[None]]) -> bool:
        """Whether something was learned."""
        why: str | None = None
        answered = False
        try:
            await learn()
            self._answered()
        except NoAnswer as error:
            why = str(error)
            self._not_answered(error.strikes)
        except (BadAnswer, exposition.BadMetrics, model_list.BadModelList) as error:
            why = str(error)
            self._answered()
            answered = not isinstance(error, BadAnswer)
        except Exception as error:  # A mistake of ours about one endpoint must not cost us the others.
            why = f"unexpected {type(error).__name__}"
            answered = True
            if self.errors.get(path) != why:
                log.exception("endpoint %s (%s) %s", self.endpoint.name, self.endpoint.address, path)
        if why is not None:
            self.on_failure(path, answered)
        self._note(path, why)
        return why is None

    async def _load(self) -> None:
        """The numbers: the few that are needed where the server can be asked for these, else all it tells."""
        engine = self.source.engines.named(self.endpoint.labels) or self._engine
        reading = None
        if engine is not None and engine is self._engine and self._may_narrow(engine):
            reading = await self._narrowly(engine)
        if reading is None:
            reading = await self._fully(engine)
            self._probed(reading.probe())
            self._probe_due = self.now() + self.limits.probe_interval_s
        self._engine = reading.engine
        self.endpoint.load = reading.load

    def _may_narrow(self, engine: Engine) -> bool:
        return engine.limit and self._narrows and self.now() < self._probe_due

    async def _narrowly(self, engine: Engine) -> Reading | None:
        """None where the server did not understand, or left out what it has: then it is not asked this way again."""
        known = self.endpoint.probe.found if self.endpoint.probe is not None else {}
        try:
            body = await self._numbers.get(self._path + narrowing(engine), self.limits.metrics_bytes_max)
            reading = exposition.read(body, self.now(), engine, self.source.engines)
        except (BadAnswer, exposition.BadMetrics):
            reading = None
        if reading is None or reading.engine is not engine or not known.keys() <= dict(reading.series).keys():
            self._narrows = False
            return None
        return reading

    async def _fully(self, engine: Engine | None) -> Reading:
        """All of the text; one that was never understood is also looked for where other engines tell theirs."""
        first: Exception | None = None
        for path in self._paths(engine):
            try:
                body = await self._numbers.get(path, self.limits.metrics_bytes_max)
                reading = exposition.read(body, self.now(), engine, self.source.engines)
            except (BadAnswer, exposition.BadMetrics) as error:
                first = first or error
                if isinstance(error, BadAnswer) and (error.status is None or error.status >= 500):
                    break  # it is in trouble, not of another kind
            else:
                self._path = path
                return reading
        assert first is not None
        if self.endpoint.probe is None:
            self._probed(Probe(None))
        raise first

    def _paths(self, engine: Engine | None) -> list[str]:
        if self.source.path is not None:
            return [self.source.path]
        if self._engine is not None:
            return [self._path]
        own = engine.path if engine is not None else METRICS
        return list(dict.fromkeys([own, *(each.path for each in self.source.engines.known)]))

    def _probed(self, probe: Probe) -> None:
        """What there is to read; told when it is not what it was."""
        before, self.endpoint.probe = self.endpoint.probe, probe
        if probe == before:
            return
        lacking = {signal: names for signal, names in probe.missing.items() if signal in REQUIRED}
        if lacking:
            said = "; ".join(f"{signal} ({names})" for signal, names in lacking.items())
            log.warning(
                "endpoint %s (%s): %s without %s", self.endpoint.name, self.endpoint.address, probe.engine, said
            )
        self.on_probe(self.endpoint)

    async def _models(self) -> None:
        models = model_list.parse(await self._client.get(MODELS, self.limits.models_bytes_max))
        if models != self.endpoint.models:
            self.endpoint.models = models

    def _answered(self) -> None:
        self._strikes = 0
        if not self.endpoint.reachable:
            self.endpoint.reachable = True
            standing.returned(self.endpoint)
            # It may have come back with other models.
            self._models_due = -math.inf

    def _not_answered(self, strikes_max: float) -> None:
        self._strikes += 1
        if self._strikes >= strikes_max:
            self.endpoint.reachable = False
            # What comes back may be another version.
            self._probe_due, self._narrows = -math.inf, True

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


@cache
def narrowing(engine: Engine) -> str:
    """The query that asks for an engine's series only, as the Python client library of Prometheus reads it."""
    return "?" + "&".join(f"name%5B%5D={quote(family, safe=':')}" for family in engine.families)
