"""The composition root: builds every part once, adapts the semantic stage, owns the tasks, the drain and the ports."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import grpc

from epp.chooser import DefaultModelChooser, SemanticChooser
from epp.datastore.pool import Pool
from epp.datastore.receipts import Receipts
from epp.director import Director
from epp.domain import Chooser, ConfigError
from epp.edge import admin
from epp.edge.discovery_file import DiscoveryFile
from epp.edge.scrape import Scraper
from epp.edge.server import Health, Processor, listen
from epp.edge.stream import Stream
from epp.scheduling.default import default_profile
from epp.settings import Settings
from epp.telemetry import Telemetry

if TYPE_CHECKING:
    from semantic.router import SemanticRouter

log = logging.getLogger(__name__)
POLL_S = 0.05
FIRST_LOOK_SECONDS_MAX = 3.0
CLOSE_GRACE_S = 1.0


class App:
    """One OneHop process. `run` serves until `stop` is set, then drains."""

    def __init__(self, settings: Settings) -> None:
        if settings.discovery_file is None:
            raise ConfigError("--discovery-file", "is required: a file that lists the endpoints")
        self._settings = settings
        self._now = time.monotonic
        self.pool = Pool(settings.pool_name)
        self.receipts = Receipts(time.time() - self._now())
        self.telemetry = Telemetry(self.pool)
        self.health = Health()
        self._profile = default_profile()
        self.stop = asyncio.Event()
        self._scraper = Scraper(self.pool, now=self._now, interval_s=settings.refresh_metrics_interval)
        self._discovery = DiscoveryFile(settings.discovery_file, self.pool, on_reload=self._relisted)
        self._conditions: dict[str, Callable[[], Any]] = {
            "discovery": lambda: self._discovery.last_error,
            "scrape": lambda: dict(self._scraper.errors),
        }

    async def run(self) -> None:
        """Serve until told to stop. Raises ConfigError for a bad file, OSError for a port that is taken."""
        async with AsyncExitStack() as closing:
            self._discovery.load()
            chooser = await self._chooser(closing)
            processor, servers = self._listen(chooser)
            await self.health.set(ready=False)
            for server in servers:
                await server.start()
                closing.push_async_callback(server.stop, CLOSE_GRACE_S)
            await self._serve_http(closing)
            tasks = await closing.enter_async_context(asyncio.TaskGroup())
            background = [
                tasks.create_task(self._discovery.watch(), name="discovery"),
                tasks.create_task(self._scraper.run(), name="scrape"),
            ]
            await self._first_look()
            await self.health.set(ready=True)
            log.info("serving ext_proc on port %d for %d endpoints", self._settings.grpc_port, len(self.pool.endpoints))
            await self.stop.wait()
            await self._drain(processor)
            for task in background:
                task.cancel()

    def _relisted(self) -> None:
        self._profile.relisted(self.pool.endpoints)
        self._scraper.wake()

    async def _chooser(self, closing: AsyncExitStack) -> Chooser:
        """The semantic stage, loaded off the loop; without a configuration `auto` is the default model."""
        settings = self._settings
        path = settings.semantic_config_file
        if path is None:
            return DefaultModelChooser(self.pool, settings.default_model)
        router = await asyncio.to_thread(_load_router, path, settings.lenient)
        closing.callback(router.close)
        return SemanticChooser(router, settings.classify_deadline)

    def _listen(self, chooser: Chooser) -> tuple[Processor, list[grpc.aio.Server]]:
        settings = self._settings
        director = Director(
            pool=self.pool,
            profile=self._profile,
            chooser=chooser,
            receipts=self.receipts,
            telemetry=self.telemetry,
            now=self._now,
            rng=Random(),
            unknown_model=settings.unknown_model,
        )

        def new_stream() -> Stream:
            return Stream(director, self.telemetry, self._now, settings.body_bytes_max)

        processor = Processor(new_stream, self.telemetry)
        host = f"[{settings.bind_address}]" if ":" in settings.bind_address else settings.bind_address

        def add_processor(server: grpc.aio.Server) -> None:
            server.add_generic_rpc_handlers((processor.handler(),))

        return processor, [
            listen(f"{host}:{settings.grpc_port}", add_processor, self.health.add_to)[0],
            listen(f"{host}:{settings.grpc_health_port}", self.health.add_to)[0],
        ]

    async def _serve_http(self, closing: AsyncExitStack) -> None:
        settings = self._settings
        host, _, port = settings.admin_address.rpartition(":")
        metrics = await admin.serve(admin.metrics_app(self.telemetry), settings.bind_address, settings.metrics_port)
        closing.push_async_callback(metrics.cleanup)
        debug = admin.admin_app(self.pool, self.receipts, self._conditions)
        closing.push_async_callback((await admin.serve(debug, host.strip("[]"), int(port))).cleanup)

    async def _first_look(self) -> None:
        """Ready means we know what the endpoints serve; those that do not answer in time hold nobody up."""
        ends = self._now() + FIRST_LOOK_SECONDS_MAX
        while not (self._scraper.settled or self.stop.is_set()) and self._now() < ends:
            await asyncio.sleep(POLL_S)

    async def _drain(self, processor: Processor) -> None:
        """Not ready first, so that gateways look elsewhere; then let open streams finish within the timeout."""
        await self.health.set(ready=False)
        log.info("draining %d open streams", processor.open)
        ends = self._now() + self._settings.drain_timeout
        while processor.open and self._now() < ends:
            await asyncio.sleep(POLL_S)
        if processor.open:
            log.warning("the drain timeout is over, %d streams are cut off", processor.open)


def _load_router(path: Path, lenient: bool) -> SemanticRouter:
    from semantic.config import ConfigError as SemanticConfigError  # noqa: PLC0415  # only who routes by prompt
    from semantic.router import SemanticRouter  # noqa: PLC0415  # pays for onnxruntime

    try:
        router = SemanticRouter.load(path, lenient=lenient)
    except SemanticConfigError as mistake:
        raise ConfigError(f"{path}: {mistake.path}", mistake.message) from mistake
    except OSError as unreadable:
        raise ConfigError(str(path), unreadable.strerror or "cannot be read") from unreadable
    for warning in router.warnings:
        log.warning("%s: %s", path, warning)
    return router


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT; a second signal ends the process at once."""
    app = App(settings)
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        app.stop.set()
        for again in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(again)

    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, on_signal)
    await app.run()
