"""The live page of a started `onehop serve`: what it is told, a prompt to try, and the end of the process."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import aiohttp

import epp.cli
from tests.cli.test_serve import PLAIN, UNHURRIED, running
from tests.make import chat

QUICKSTART = Path(epp.cli.__file__).parent / "data" / "quickstart.yaml"
CANARY = "canary-8822"
COUNTED = (
    "onehop_receipt_total",
    "llm_d_epp_request_total",
    "onehop_request_outcome_total",
    "llm_decision_match_total",
)


async def state(http: aiohttp.ClientSession, url: str) -> Any:
    async with http.get(f"{url}/live") as answer:
        async for line in answer.content:
            if line.startswith(b"data: "):
                return json.loads(line[6:])


async def counts(http: aiohttp.ClientSession, port: int) -> list[str]:
    async with http.get(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return [line for line in lines if line.startswith(COUNTED) and "_created" not in line]


async def test_a_prompt_that_is_tried_is_decided_by_the_files_in_use_and_leaves_no_trace(tmp_path: Path) -> None:
    async with (
        running(tmp_path, PLAIN, f"--semantic-config-file={QUICKSTART}", "-v=5", *UNHURRIED) as onehop,
        aiohttp.ClientSession() as http,
    ):
        url = f"http://127.0.0.1:{onehop.admin_port}"
        before = await counts(http, onehop.metrics_port)
        headers = {"content-type": "application/json"}
        body = chat("auto", f"What is 2+2 * (5-1)? {CANARY}")
        async with http.post(f"{url}/debug/try", data=body, headers=headers) as answer:
            told = await answer.json()
        seen = await state(http, url)
        after = await counts(http, onehop.metrics_port)
        async with http.get(f"{url}/debug/decisions") as answer:
            kept = (await answer.json())["decisions"]
        onehop.process.send_signal(signal.SIGTERM)
        await onehop.ended()
        log = onehop.log.read_text()

    assert (told["signals"]["domain"]["label"], told["selected_model"]) == ("math", "phi4-mini")
    assert told["picked"] == "127.0.0.1:9"
    assert kept == []
    assert before == after
    assert CANARY not in log + json.dumps(seen) + json.dumps(told)
    assert [row["what"] for row in seen["configuration"]] == ["scheduling", "semantic", "discovery"]
    assert seen["gates"]["default"]["waiting"] == 0


async def test_a_page_that_is_open_does_not_keep_the_process_from_ending(tmp_path: Path) -> None:
    flags = (PLAIN, "--drain-notice=0s", "--drain-timeout=20s")
    async with (
        running(tmp_path, *flags) as onehop,
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{onehop.admin_port}/live") as answer,
    ):
        await answer.content.readline()
        onehop.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            code = await onehop.ended()

    assert code == 0
