"""`onehop quickstart`: two models, simulated replicas, a real Envoy and OneHop on this machine, and a story."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from epp.cli.envoy import find_envoy
from epp.cli.stack import Stack, StackPlan, StartError, running
from epp.cli.story import SCENES, Told, burst, burst_scene, scene, tell, tell_burst
from epp.domain import ConfigError

CONFIG = Path(__file__).with_name("data") / "quickstart.yaml"
MODELS = {"llama3-8b": ("llama3-8b", "auto"), "phi4-mini": ("phi4-mini",)}
REPLICAS_MAX = 50
REQUEST_SECONDS_MAX = 60.0


def run(arguments: list[str]) -> int:
    """0 when every request of the story was answered by the model it should be, 1 otherwise."""
    given = _parse(arguments)
    find_envoy()
    loop = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    with tempfile.TemporaryDirectory(prefix="onehop-") as folder, loop as runner:
        try:
            return runner.run(_quickstart(given, Path(folder)))
        except (StartError, aiohttp.ClientError) as failed:
            print(f"onehop quickstart: {failed}", file=sys.stderr)
            return 1


async def _quickstart(given: argparse.Namespace, folder: Path) -> int:
    plan = StackPlan(models=MODELS, replicas=given.replicas, folder=folder, semantic_config=CONFIG, port=given.port)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(f"starting {len(MODELS)} models x {given.replicas} simulated replicas, OneHop and a real Envoy ...")
    async with running(plan) as stack:
        told = await _until(stop, _story(stack))
        if told is None:
            return 130
        if given.json is not None:
            given.json.write_text(json.dumps({"requests": [t.row() for t in told]}, indent=2) + "\n")
        wrong = [t for t in told if not t.right]
        for t in wrong:
            print(f"NOT AS PROMISED: {t.ask.name} got {t.status} from {t.selected_model}", file=sys.stderr)
        if not given.once:
            _invite(stack)
            await stop.wait()
        return 1 if wrong else 0


async def _until(stop: asyncio.Event, story: Coroutine[Any, Any, list[Told]]) -> list[Told] | None:
    """The story, or None when a signal came first."""
    telling, stopping = asyncio.ensure_future(story), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((telling, stopping), return_when=asyncio.FIRST_COMPLETED)
        return telling.result() if telling.done() else None
    finally:
        for task in (telling, stopping):
            task.cancel()


async def _story(stack: Stack) -> list[Told]:
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS_MAX)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as http:
        for model, servers in stack.pools().items():
            print(f"  {model:<10} {', '.join(servers)}")
        print()
        told = []
        for ask in SCENES:
            told.append(await tell(http, stack.url, stack.admin_url, ask))
            print(scene(told[-1]), end="\n\n")
        crowd = await tell_burst(http, stack.url, stack.admin_url, burst())
        print(burst_scene(crowd), end="\n\n", flush=True)
        return told + crowd


def _invite(stack: Stack) -> None:
    question = '{"model": "auto", "messages": [{"role": "user", "content": "What is 2+2 * (5-1)?"}]}'
    print(f"What happens now, for a browser: {stack.admin_url}/\n")
    print(f"Envoy listens on {stack.url}. Try:\n")
    print(f"  curl -i {stack.url}/v1/chat/completions -H 'content-type: application/json' -d '{question}'")
    print(f"  curl {stack.url}/v1/models")
    print(f"  curl {stack.admin_url}/debug/decisions/ID   (ID: the answer's x-onehop-receipt header)")
    print(f"  curl http://127.0.0.1:{stack.metrics_port}/metrics\n")
    print("Ctrl-C ends everything.", flush=True)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="onehop quickstart", description=__doc__)
    parser.add_argument("--once", action="store_true", help="exit after the story, 0 if all came out right")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the story as data")
    parser.add_argument("--port", type=int, default=8080, help="Envoy's port on 127.0.0.1 (default 8080, 0: any)")
    parser.add_argument("--replicas", type=int, default=3, help="simulated replicas a model (default 3)")
    given = parser.parse_args(arguments)
    if not 1 <= given.replicas <= REPLICAS_MAX:
        raise ConfigError("--replicas", f"must be 1 to {REPLICAS_MAX}")
    if not 0 <= given.port <= 65535:
        raise ConfigError("--port", "must be 0 to 65535")
    if given.json is not None and not given.json.parent.is_dir():
        raise ConfigError("--json", f"there is no folder {given.json.parent}")
    return given
