"""The composition root: builds every part once, adapts the semantic stage, owns the tasks, the drain and the ports."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
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
from epp.edge import admin, tls
from epp.edge.discovery_file import DiscoveryFile
from epp.edge.health import Health
from epp.edge.scrape import Scraper
from epp.edge.server import Limits, Processor, listen
from epp.edge.stream import Shared, Stream
from epp.protocol.exchange import Buffers
from epp.scheduling.default import default_profile
from epp.settings import Settings
from epp.telemetry import Telemetry

if TYPE_CHECKING:
    from semantic.router import SemanticRouter

log = logging.getLogger(__name__)
POLL_S = 0.05
FIRST_LOOK_SECONDS_MAX = 3.0
CLOSE_GRACE_S = 1.0
NO_DISCOVERY = (
    "Kubernetes discovery is not in this version: --discovery-file is required, a file that lists the endpoints"
)


class App:
    """One OneHop process. `run` serves until `stop` is set, then drains."""

    def __init__(self, settings: Settings) -> None:
        if settings.discovery_file is None:
            asks_kubernetes = "pool_name" in settings.model_fields_set
            raise ConfigError("--pool-name" if asks_kubernetes else "--discovery-file", NO_DISCOVERY)
        self._settings = settings
        self._now = time.monotonic
        self.pool = Pool(settings.pool_name)
        self.receipts = Receipts(time.time() - self._now())
        self.telemetry = Telemetry(self.pool)
        self.health = Health()
        self._certificates = None if settings.cert_path is None else tls.PairFolder(settings.cert_path)
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
            for server in servers:
                await server.start()
                closing.push_async_callback(server.stop, CLOSE_GRACE_S)
            await self._serve_http(closing)
            tasks = await closing.enter_async_context(asyncio.TaskGroup())
            background = [
                tasks.create_task(self._discovery.watch(), name="discovery"),
                tasks.create_task(self._scraper.run(), name="scrape"),
            ]
            certificates = self._certificates
            if certificates is not None and self._settings.enable_cert_reload:
                self._conditions["certificates"] = lambda: certificates.last_error
                background.append(tasks.create_task(certificates.watch(), name="certificates"))
            await self._first_look()
            if not self.stop.is_set():
                await self._serve_until_stopped()
                await self._drain(processor, servers[0], tasks)
            self.health.close()
            for task in background:
                task.cancel()

    async def _serve_until_stopped(self) -> None:
        self.health.set(ready=True)
        settings = self._settings
        how = "over TLS" if settings.secure_serving else "in plaintext"
        log.info("serving ext_proc on port %d %s for %d endpoints", settings.grpc_port, how, len(self.pool.endpoints))
        await self.stop.wait()

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
        self._conditions["classifier"] = lambda: router.classifier.counts
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
            unparsed=settings.unparsed,
        )

        shared = Shared(
            Buffers(settings.body_bytes_max, settings.body_bytes_total_max),
            settings.usage_sample_every,
            settings.restore_model,
            settings.body_timeout,
        )

        def new_stream() -> Stream:
            return Stream(director, self.telemetry, self._now, shared)

        limits = Limits(settings.grpc_max_recv_msg_size, settings.grpc_max_send_msg_size, settings.streams_max)
        processor = Processor(new_stream, self.telemetry, limits.streams_max)
        self._conditions["streams"] = lambda: {"open": processor.open, "turned_away": processor.turned_away}
        host = f"[{settings.bind_address}]" if ":" in settings.bind_address else settings.bind_address

        def add_processor(server: grpc.aio.Server) -> None:
            server.add_generic_rpc_handlers((processor.handler(),))

        return processor, [
            listen(
                f"{host}:{settings.grpc_port}",
                add_processor,
                self.health.add_to,
                tls=self._credentials(),
                limits=limits,
            )[0],
            listen(f"{host}:{settings.grpc_health_port}", self.health.add_to)[0],
        ]

    def _credentials(self) -> grpc.ServerCredentials | None:
        settings = self._settings
        if not settings.secure_serving:
            return None
        if self._certificates is not None:
            certificates = self._certificates
            return tls.credentials(lambda: certificates.pair)
        pair = tls.self_signed([socket.gethostname(), *settings.tls_names.split(",")])
        log.info("the certificate of the ext_proc port is self-signed: clients cannot verify it by an authority")
        return tls.credentials(lambda: pair)

    async def _serve_http(self, closing: AsyncExitStack) -> None:
        settings = self._settings
        host, _, port = settings.admin_address.rpartition(":")
        metrics = await admin.serve(admin.metrics_app(self.telemetry), settings.bind_address, settings.metrics_port)
        closing.push_async_callback(metrics.cleanup)
        debug = admin.admin_app(self.pool, self.receipts, self._conditions, _secret(settings))
        closing.push_async_callback((await admin.serve(debug, host.strip("[]"), int(port))).cleanup)

    async def _first_look(self) -> None:
        """Ready means we know what the endpoints serve; those that do not answer in time hold nobody up."""
        ends = self._now() + FIRST_LOOK_SECONDS_MAX
        while not (self._scraper.settled or self.stop.is_set()) and self._now() < ends:
            await asyncio.sleep(POLL_S)

    async def _drain(self, processor: Processor, server: grpc.aio.Server, tasks: asyncio.TaskGroup) -> None:
        """Not ready first, serving on until gateways look elsewhere; then only open streams, within the timeout."""
        self.health.set(ready=False)
        timeout = self._settings.drain_timeout
        notice = min(self._settings.drain_notice, timeout)
        ends = self._now() + timeout
        log.info("not ready any more; new streams are served for another %.1f s", notice)
        await asyncio.sleep(notice)
        log.info("draining %d open streams", processor.open)
        # GOAWAY: connections take no new streams, and new ones are for those who serve on.
        tasks.create_task(server.stop(timeout + CLOSE_GRACE_S), name="drain")
        while processor.open and self._now() < ends:
            await asyncio.sleep(POLL_S)
        if processor.open:
            log.warning("the drain timeout is over, %d streams are cut off", processor.open)
            await server.stop(None)


def _secret(settings: Settings) -> str | None:
    return None if settings.admin_token is None else settings.admin_token.get_secret_value()


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

    def on_signal(number: int) -> None:
        if app.stop.is_set():
            log.warning("a second signal: ending at once")
            os._exit(128 + number)  # past every handler, as the default action would be
        app.stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, on_signal, number)
    await app.run()
