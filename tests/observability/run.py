"""A run with everything in it that a dashboard should show: many prompts, streams, a rush, mistakes, a dead model."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shutil
from collections import Counter
from pathlib import Path

from aiohttp import web

from epp.cli.quickstart import CONFIG
from epp.edge.http2 import frames
from tests.e2e.client import Site, chat
from tests.observability.prometheus import Prometheus

PROMPTS = (
    "What is 2+2 * (5-1)?",
    "Solve x^2 = 16 for x and prove that there are two solutions.",
    "Who was the first emperor of Rome, and how did he come to power?",
    "Which enzyme unwinds the DNA double helix during replication?",
    "What are the symptoms of iron deficiency?",
    "How does a price ceiling affect supply?",
    "hello there",
)
STREAMS = {"stream": True, "stream_options": {"include_usage": True}}
RUSH = 60
PINGS = 2000  # `pings_burst` is half of that
RUSHES_MAX = 5
STRANGERS = 12
LONG = "the quick brown fox jumps over the lazy dog and thinks about it " * 1600  # about 100 KB, 25,000 tokens
TENANTS = ("team-a", "team-b")


class Run:
    """Drives a stack; `statuses` are those that clients got, by act."""

    def __init__(self, site: Site, config: Path) -> None:
        self.site = site
        self.config = config
        self.statuses: dict[str, Counter[int]] = {}

    async def all(self, prometheus: Prometheus) -> None:
        await self._talk(rounds=3)
        self.config.write_text(CONFIG.read_text() + "\n# changed\n")
        await self._mistakes()
        await self._talk(rounds=2)
        await self._rush()
        await prometheus.until("onehop_shed_total > 0")  # a rate is of what was there before
        await self._some_wait(prometheus)
        self.config.write_text("version: v0.3\nrouting: {decisions: [{name: bad, rules: 5}]}\n")
        await self._a_gateway_comes(prometheus)
        await self._a_gateway_misbehaves()
        await self._an_engine_is_not_understood(prometheus)
        await self._one_model_dies()
        await prometheus.until('onehop_reload_total{file="semantic", result="failure"} > 0')
        await prometheus.until("onehop_endpoint_reachable == 0")

    async def _talk(self, rounds: int) -> None:
        """Conversations that go on, so that prompts are found in caches; streamed and not."""
        for _ in range(rounds):
            asks = [
                self._ask("talk", model, f"{prompt} {LONG[:4000]}", stream)
                for prompt, stream in itertools.product(PROMPTS, (False, True))
                for model in (("auto",) if stream else ("auto", "phi4-mini"))
            ]
            await asyncio.gather(*asks)

    async def _mistakes(self) -> None:
        await self._ask("unknown", "gpt-9", "hello")
        for _ in range(12):
            await self._ask("broken", "llama3-8b", "hello", simulate="503")
        for _ in range(4):
            await self._ask("mistaken", "llama3-8b", "hello", simulate="400")

    async def _rush(self) -> None:
        """More at once than there is room for: some wait, some are refused."""
        before = self.statuses.setdefault("rush", Counter())[429]
        for turn in range(RUSHES_MAX):
            asks = [self._ask("rush", "auto", f"{turn} {n} {LONG}", tenant=TENANTS[n % 2]) for n in range(RUSH)]
            await asyncio.gather(*asks, *(self._past_us(turn, n) for n in range(STRANGERS)))
            if self.statuses["rush"][429] > before:
                return

    async def _some_wait(self, prometheus: Prometheus) -> None:
        """Rushes until a look has met somebody who waits: a wait may be over between two looks."""
        for _ in range(RUSHES_MAX):
            await self._rush()
            if await prometheus.now('max_over_time(onehop_queued_requests{model="llama3-8b", where="gate"}[5m]) > 0'):
                return

    async def _past_us(self, turn: int, number: int) -> None:
        """Somebody else's request to one of the model servers, which so has a queue that is not our doing."""
        address = self.site.stack.pools()["llama3-8b"][0]
        ask = chat("llama3-8b", f"stranger {turn} {number} {LONG}")
        async with self.site.http.post(f"http://{address}/v1/chat/completions", json=ask) as answer:
            await answer.read()

    async def _one_model_dies(self) -> None:
        for replica in self.site.stack.fleet.replicas:
            if replica.name.startswith("phi4-mini"):
                await self.site.stack.fleet.kill(replica.name)
        for _ in range(40):  # until the dead ones are left out, and the other model answers
            await self._ask("death", "auto", PROMPTS[0])
            await asyncio.sleep(0.1)

    async def _a_gateway_comes(self, prometheus: Prometheus) -> None:
        """Some connections more, until they have been seen for longer than the second between two looks."""
        (there,) = await prometheus.until("sum(onehop_connections)")
        before = float(there["value"][1])
        writers = [(await asyncio.open_connection("127.0.0.1", self.site.stack.grpc_port))[1] for _ in range(3)]
        for writer in writers:
            writer.write(frames.PREFACE + frames.frame(frames.SETTINGS, 0, 0, b""))
        await prometheus.until(f"min_over_time(onehop_connections[2s]) > {before}")
        for writer in writers:
            writer.close()

    async def _a_gateway_misbehaves(self) -> None:
        """A connection of its own that sends more PINGs than any gateway has reason to."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.site.stack.grpc_port)
        with contextlib.suppress(ConnectionError):
            writer.write(frames.PREFACE + frames.frame(frames.SETTINGS, 0, 0, b""))
            writer.write(frames.frame(frames.PING, 0, 0, b"whatever") * PINGS)
            await writer.drain()
            await reader.read()  # until it is closed
        writer.close()

    async def _an_engine_is_not_understood(self, prometheus: Prometheus) -> None:
        """A server that calls something else metrics, listed beside the others for a while."""

        async def nonsense(_: web.Request) -> web.Response:
            return web.Response(text="{ neither an exposition nor JSON")

        app = web.Application()
        for path in ("/metrics", "/v1/models"):
            app.router.add_get(path, nonsense)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            file = self.site.stack.write_discovery()
            listed = json.loads(file.read_text())
            listed["endpoints"].append({"name": "odd-0", "address": "127.0.0.1", "port": runner.addresses[0][1]})
            file.write_text(json.dumps(listed))
            for source in ("metrics-data-source", "models-data-source"):
                await prometheus.until(f'llm_d_epp_datalayer_extract_errors_total{{source_type="{source}"}} > 0')
        finally:
            self.site.stack.write_discovery()
            await runner.cleanup()

    async def _ask(
        self, act: str, model: str, text: str, stream: bool = False, *, tenant: str = "", simulate: str = ""
    ) -> None:
        headers = {"x-simulate-status": simulate} if simulate else {}
        if tenant:
            headers["x-gateway-inference-fairness-id"] = tenant
        answer = await self.site.post(chat(model, text, **(STREAMS if stream else {})), **headers)
        self.statuses.setdefault(act, Counter())[answer.status] += 1


def own_config(folder: Path) -> Path:
    """A copy of the quickstart's file that may be changed."""
    return Path(shutil.copy(CONFIG, folder / "semantic.yaml"))
