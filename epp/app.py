"""The composition root: builds every part once, adapts the semantic stage, owns the tasks, the drain and the ports."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epp import rehearsal
from epp.admission import flow_settings
from epp.configured import Configured
from epp.datastore.fleet import Fleet
from epp.datastore.overview import ejected, lacking
from epp.datastore.receipts import Keeping, Receipts
from epp.director import Director
from epp.domain import ConfigError, Receipt
from epp.edge import admin, tls
from epp.edge.classify_api import ClassifyApi
from epp.edge.discovery_file import DiscoveryFile
from epp.edge.health import Health
from epp.edge.methods import Server
from epp.edge.scrape import Scraper
from epp.edge.watched_file import WatchedFile
from epp.ports import Ports, classify_s
from epp.protocol.decision import Signer
from epp.protocol.exchange import Buffers
from epp.readiness import Readiness
from epp.scopes import Scope, scopes
from epp.settings import Settings
from epp.telemetry import Telemetry
from epp.transport import Transport

if TYPE_CHECKING:
    from epp.edge.otel import Tracing
    from epp.kubernetes import Kubernetes
    from epp.semantic_stage import SemanticStage
    from epp.workers.crew import Crew
    from semantic.router import Observe

log = logging.getLogger(__name__)
POLL_S = 0.05
FIRST_LOOK_SECONDS_MAX = 3.0
CLOSE_GRACE_S = 1.0
NO_SOURCE = (
    "or one of --pool-name, --pool, --pool-selector, --picker-service, --endpoint-selector is required: "
    "they say where the endpoints come from"
)
COUNTS = ("streams", "crew", "classifier", "semantic_stage", "scorers")  # conditions to look at, and no trouble
FILE_POOL = "default"  # the pool's name where only a file knows of it


class App:
    """One OneHop process. `run` serves until `stop` is set, then drains."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._now = time.monotonic
        self.stop = asyncio.Event()
        self.health = Health()
        self._conditions: dict[str, Callable[[], Any]] = {}
        self._configured = Configured.of(settings)
        self._kubernetes = self._file = None
        self._stage: SemanticStage | None = None
        self.fleet = Fleet(settings.pool_name or FILE_POOL, on_change=self._relisted)
        listed = self._configured.discovery_file(settings)
        if listed is not None:
            self._file = self._discovery_file(listed)
        elif from_kubernetes(settings):
            self._kubernetes = _kubernetes(settings, self.fleet)
            self.fleet.home = self._kubernetes.namespace
        else:
            raise ConfigError("--discovery-file", NO_SOURCE)
        self.telemetry = Telemetry(self.fleet, slo_ttft_s=settings.slo_ttft)
        keeping = Keeping(settings.receipts_max, settings.receipts_bytes_max, settings.receipts_sample)
        self.receipts = Receipts(time.time() - self._now(), keeping, self.telemetry.receipt)
        self._tracing = _tracing(settings) if settings.tracing else None
        if self._tracing is not None:
            self.telemetry.spans = self._tracing.fates
            self._conditions["tracing"] = self._tracing.trouble
        self._certificates = None if settings.cert_path is None else tls.PairFolder(settings.cert_path)
        self._signer = None if settings.decision_key_file is None else _signer(settings.decision_key_file)
        self._ports = Ports(
            settings,
            self._configured,
            self.fleet,
            self.receipts,
            self.telemetry,
            now=self._now,
            signer=self._signer,
        )
        self._crew: Crew | None = None
        self.fleet.on_room = self._ports.room
        self._scraper = Scraper(
            self.fleet.all,
            now=self._now,
            interval_s=self._configured.scrape_s(settings),
            source=self._configured.source,
            on_failure=self.telemetry.read_failed,
            on_probe=lambda endpoint: self._ports.probed(),
            on_visit=self._ports.room,
        )
        self._conditions["scrape"] = lambda: dict(self._scraper.errors)
        self._conditions["series"] = lambda: lacking(self.fleet.all.endpoints) or None
        self._conditions["ejected"] = lambda: ejected(self.fleet.all.endpoints, self._now()) or None
        self._conditions["scorers"] = self._ports.unused
        self._readiness = Readiness(
            self._tell_ready,
            "serving",
            *(["workers"] if settings.workers > 1 else []),
            *(self._kubernetes.requires if self._kubernetes else ()),
        )

    async def run(self) -> None:
        """Serve until told to stop. Raises ConfigError for a bad file, OSError for a port that is taken."""
        async with AsyncExitStack() as closing:
            if self._file is not None:
                self._file.load()
                self.fleet.unite()
            servers = await self._listen(closing)
            for server in servers:
                await server.start()
                closing.push_async_callback(server.stop, CLOSE_GRACE_S)
            await self._serve_http(closing)
            tasks = await closing.enter_async_context(asyncio.TaskGroup())
            background = self._start(tasks)
            await self._first_look()
            served = not self.stop.is_set()
            if served:
                self._readiness.set("serving", True)
                await self.stop.wait()
            leaving = tasks.create_task(self._step_down(), name="step down")
            if served:
                await self._drain(servers, tasks)
            await leaving  # before the connection that it needs is closed
            self.health.close()
            for task in background:
                task.cancel()
            if self._tracing is not None:
                await asyncio.to_thread(self._tracing.close)

    def _start(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """The tasks that run for as long as we serve."""
        runs = {"scrape": self._scraper.run()}
        if self._file is not None:
            runs["discovery"] = self._file.watch()
            self.telemetry.reloads["discovery"] = partial(_reloads, self._file)
        if self._crew is not None:
            runs["workers"] = self._crew.run()
        if self._stage is not None:
            runs["semantic"] = self._stage.watch()
        if self._kubernetes is not None:
            runs["kubernetes"] = self._kubernetes.run(self._readiness.set, self.telemetry.leads)
        certificates = self._certificates
        if certificates is not None and self._settings.enable_cert_reload:
            self._conditions["certificates"] = lambda: certificates.last_error
            self.telemetry.reloads["certificates"] = partial(_reloads, certificates)
            runs["certificates"] = certificates.watch()
        return [tasks.create_task(run, name=name) for name, run in runs.items()]

    def _tell_ready(self, ready: bool) -> None:
        self._set_health(ready=ready and not self.stop.is_set())
        settings = self._settings
        if ready:
            how = "over TLS" if settings.secure_serving else "in plaintext"
            count = len(self.fleet.all.endpoints)
            log.info("serving ext_proc on port %d %s for %d endpoints", settings.grpc_port, how, count)
        else:
            log.warning("not ready any more: %s", ", ".join(self._readiness.missing))

    def _set_health(self, *, ready: bool) -> None:
        self.health.set(ready=ready)
        if self._crew is not None:
            self._crew.tell_ready(ready)

    def _relisted(self) -> None:
        self._ports.relisted()
        self._scraper.wake()
        self._ports.room()

    def _discovery_file(self, path: Path) -> DiscoveryFile:
        over = self.fleet.pool(self.fleet.all.name)
        found = DiscoveryFile(path, over, on_reload=self.fleet.unite, naming=self._settings.naming)
        self._conditions["discovery"] = lambda: found.last_error
        return found

    async def _listen(self, closing: AsyncExitStack) -> list[Server]:
        """A server for each ext_proc port, and one for health."""
        settings = self._settings
        self._stage = stage = await self._semantic(closing)
        transport = Transport(settings, self._certificates, self.telemetry)
        self._conditions["streams"] = self._ports.streams
        found = [*scopes(settings, self.fleet, self._kubernetes.namespace if self._kubernetes else "")]
        directors = [self._ports.add(scope, stage) for scope in found]
        if settings.workers > 1:
            self._ports.refuse_tellers("--workers")
        ports = self._crewed if settings.workers > 1 else self._served
        servers = ports(found, directors, transport)
        return [*servers, transport.listen(settings.grpc_health_port, self.health.methods(), plaintext=True)]

    def _served(self, found: list[Scope], directors: list[Director], transport: Transport) -> list[Server]:
        """This process carries the streams that it decides about."""
        buffers = Buffers(self._settings.body_bytes_max, self._settings.body_bytes_total_max)
        servers = []
        for scope, director in zip(found, directors, strict=True):
            processor = self._ports.processor(director, scope, buffers, self._tracing)
            methods = {**processor.methods(), **self.health.methods()}
            servers.append(transport.listen(scope.port, methods, plaintext=scope.plaintext))
        return servers

    def _crewed(self, found: list[Scope], directors: list[Director], transport: Transport) -> list[Server]:
        """Workers do."""
        from epp.workers.crew import Crew  # noqa: PLC0415  # only who wants them pays for them

        settings = self._settings
        self._crew = crew = Crew(
            settings,
            directors,
            self.telemetry,
            pair=transport.pair if settings.secure_serving else None,
            changed=partial(self._readiness.set, "workers"),
            tracer=self._tracing,
        )
        self._conditions["crew"], self._conditions["workers"] = crew.counts, crew.missing
        doors = [crew.door(scope.port, first=scope.first_of_two, plaintext=scope.plaintext) for scope in found]
        self._ports.carriers += doors
        return [*doors]

    async def _semantic(self, closing: AsyncExitStack) -> SemanticStage | None:
        """The semantic stage, loaded off the loop; without a configuration there is none."""
        path = self._settings.semantic_config_file
        if path is None:
            return None
        asked_s, bounded_s = self._settings.classify_deadline, classify_s(self._settings)
        if bounded_s < asked_s:
            log.warning(
                "--classify-deadline is %g s and not %g: the gateway gives up after --message-timeout, %g s",
                *(bounded_s, asked_s, self._settings.message_timeout),
            )
        stage = await asyncio.to_thread(_load_stage, path, self._settings.lenient, self.telemetry.looked)
        self.telemetry.texts = stage.texts
        self.telemetry.reloads["semantic"] = partial(_reloads, stage.file)
        closing.callback(stage.close)
        self._conditions["semantic"] = lambda: stage.file.last_error
        self._conditions["semantic_models"] = lambda: stage.models_error
        self._conditions["classifier"] = stage.signals.counts
        self._conditions["semantic_stage"] = stage.counts
        return stage

    async def _serve_http(self, closing: AsyncExitStack) -> None:
        settings = self._settings
        host, _, port = settings.admin_address.rpartition(":")
        metrics = await admin.serve(admin.metrics_app(self.telemetry), settings.bind_address, settings.metrics_port)
        closing.push_async_callback(metrics.cleanup)
        if self._kubernetes is not None:
            self._conditions.update(self._kubernetes.conditions)
        self._conditions["readiness"] = lambda: self._readiness.missing
        alarms = {**self._conditions, **(self._kubernetes.alarms if self._kubernetes else {})}
        self.telemetry.conditions = {name: ask for name, ask in alarms.items() if name not in COUNTS}
        debug = admin.admin_app(
            self.fleet,
            self.receipts,
            self._conditions,
            _secret(settings),
            now=self._now,
            prefix=self._ports.prefix_blocks,
            more=admin.More(
                configuration=self._configuration,
                gates=self._ports.waiting,
                level=flow_settings(settings).level,
                rehearse=self._rehearse,
                ports=lambda: list(self._ports.pickings),
                since=self._now(),
            ),
        )
        if self._stage is not None:
            ClassifyApi(self._stage.calls()).add_to(debug)
        closing.push_async_callback((await admin.serve(debug, host.strip("[]"), int(port))).cleanup)

    async def _rehearse(self, body: bytes, pool: str | None) -> dict[str, Any] | None:
        """The receipt of a decision that is not carried out; None where no port decides over that pool."""
        pickings = self._ports.pickings
        picking = next(iter(pickings.values()), None) if pool is None else pickings.get(pool)
        if picking is None:
            return None
        receipt = Receipt(rehearsal.ID, rehearsal.ID, self._now(), rehearsal.PATH, None, pool=picking.pool.name)
        chooser = self._ports.chooser(picking.pool, self._stage, remembers=False)
        await rehearsal.rehearse(receipt, body, chooser, picking)
        return self.receipts.render(receipt)

    def _configuration(self) -> list[dict[str, Any]]:
        """The files that decide, how often they were read again, and why the last one is not in use."""
        settings, stage, file = self._settings, self._stage, self._file
        policy = settings.config_file or ("--config-text" if settings.config_text else None)
        found: list[dict[str, Any]] = [_file_in_use("scheduling", policy or "built-in policy")]
        if stage is not None:
            found.append(_file_in_use("semantic", stage.file.path, stage.file))
        if file is not None:
            found.append(_file_in_use("discovery", file.path, file))
        return found

    async def _first_look(self) -> None:
        """Ready means we know what the endpoints serve; those that do not answer in time hold nobody up."""
        while self._kubernetes is not None and not (self._kubernetes.synced or self.stop.is_set()):
            await asyncio.sleep(POLL_S)
        ends = self._now() + FIRST_LOOK_SECONDS_MAX
        while not (self._scraper.settled or self.stop.is_set()) and self._now() < ends:
            await asyncio.sleep(POLL_S)

    async def _drain(self, servers: list[Server], tasks: asyncio.TaskGroup) -> None:
        """Not ready first, serving on until gateways look elsewhere; then only open streams, within the timeout."""
        self._set_health(ready=False)
        timeout = self._settings.drain_timeout
        notice = min(self._settings.drain_notice, timeout)
        ends = self._now() + timeout
        log.info("not ready any more; new streams are served for another %.1f s", notice)
        await asyncio.sleep(notice)
        log.info("draining %d open streams", self._ports.open)
        *ext_proc, _ = servers
        for server in ext_proc:
            # GOAWAY: connections take no new streams, and new ones are for those who serve on.
            tasks.create_task(server.stop(timeout + CLOSE_GRACE_S), name="drain")
        await asyncio.sleep(0)  # they have begun: from now on no stream is overlooked
        while self._ports.open and self._now() < ends:
            await asyncio.sleep(POLL_S)
        if self._ports.open:
            self._ports.close_gates()
            await asyncio.sleep(POLL_S)  # those that were refused get their answers out
        if self._ports.open:
            log.warning("the drain timeout is over, %d streams are cut off", self._ports.open)
            for server in ext_proc:
                await server.stop(None)

    async def _step_down(self) -> None:
        """Let another replica lead at once, also where we never got to serve."""
        if self._kubernetes is not None:
            await self._kubernetes.step_down()


def _reloads(file: WatchedFile[Any]) -> tuple[int, int]:
    return file.reloads, file.failures


def from_kubernetes(settings: Settings) -> bool:
    """Whether the flags name something that the API server knows."""
    return bool(
        settings.pool_name
        or settings.pool
        or settings.pool_selector
        or settings.picker_service
        or settings.endpoint_selector
    )


def _kubernetes(settings: Settings, fleet: Fleet) -> Kubernetes:
    from epp.kubernetes import Kubernetes  # noqa: PLC0415  # only who follows an API server pays for its client

    return Kubernetes(settings, fleet)


def _signer(path: Path) -> Signer:
    try:
        return Signer.of(path.read_bytes())
    except OSError as unreadable:
        raise ConfigError(str(path), unreadable.strerror or "cannot be read") from unreadable
    except ValueError as too_short:
        raise ConfigError(str(path), str(too_short)) from too_short


def _file_in_use(what: str, path: object, watched: WatchedFile[Any] | DiscoveryFile | None = None) -> dict[str, Any]:
    return {
        "what": what,
        "path": str(path),
        "reloads": None if watched is None else watched.reloads,
        "failed_reloads": None if watched is None else watched.failures,
        "error": None if watched is None else watched.last_error,
    }


def _tracing(settings: Settings) -> Tracing:
    """Raises ConfigError where the SDK is not installed."""
    try:
        from epp.edge.otel import Tracing  # noqa: PLC0415  # only who traces pays for the SDK
    except ImportError as missing:
        raise ConfigError("--tracing", f"needs `pip install onehop[otel]`: there is no {missing.name}") from missing
    return Tracing(settings.tracing_sample, settings.tracing_endpoint)


def _secret(settings: Settings) -> str | None:
    return None if settings.admin_token is None else settings.admin_token.get_secret_value()


def _load_stage(path: Path, lenient: bool, observe: Observe) -> SemanticStage:
    from epp.semantic_stage import SemanticStage  # noqa: PLC0415  # only who routes by prompt pays for onnxruntime

    return SemanticStage(path, lenient=lenient, observe=observe)


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT; a second signal ends the process at once."""
    app = App(settings)
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if app.stop.is_set():
            log.warning("a second signal: ending at once")
            os._exit(128 + number)  # past every handler, as the default action would be
        app.stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    await app.run()
