"""One request followed by an operator: from the client's trace to its receipt, on the page and in the terminal.

Real: Envoy, OneHop, Chromium, the exporter and its sockets. Simulated: the model servers, and the collector.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.browser import browser, needs_chromium
from tests.e2e.client import Site, chat
from tests.e2e.conftest import Start
from tests.e2e.test_traces import CALLER, SAMPLED, SECRET, TRACE, traced

OTHERS = 6


@needs_chromium
async def test_from_the_clients_trace_to_the_endpoint_on_the_page_and_in_the_terminal(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flags = ["--tracing-endpoint={grpc}", "--tracing-sample=1"]
    async with traced(start, monkeypatch, wiring="duplex", flags=flags) as (site, collector):
        for _ in range(OTHERS):  # among which it is to be found
            await site.post(chat("llama3-8b"))
        answer = await site.post(chat("auto", SECRET), traceparent=SAMPLED)
        await collector.whole(OTHERS + 1)

        # The trace: it is the caller's, and names the receipt and the endpoint.
        (request,) = [s for s in collector.spans if s["name"] == "gateway.request" and s["trace"] == TRACE]
        (call,) = [
            s for s in collector.spans if s["trace"] == TRACE and s["parent"] == request["id"] and s["kind"] == 3
        ]
        receipt_id = request["attributes"]["onehop.receipt.id"]
        endpoint = f"{call['attributes']['server.address']}:{call['attributes']['server.port']}"

        # The page: its row, and behind it why.
        async with browser(tmp_path / "profile") as tab:
            await tab.look()
            await tab.open(f"{site.stack.admin_url}/")
            row = f'#rows tr[data-key="{receipt_id}"]'
            await tab.until(f"document.querySelector({json.dumps(row)}) !== null")
            listed = await tab.text(row)
            await tab.click(row)
            await tab.until("document.getElementById('receipt').open")
            title, told = await tab.text("#receipt-title"), await tab.text("#receipt-body")
            won = await tab.js(
                "[...document.querySelectorAll('#receipt-body .chart li[data-kind=won]')].map(e => e.innerText)"
            )
            errors = tab.errors

        terminal = await explained(site, receipt_id)
        stored = await site.receipt(answer)

    assert request["parent"] == CALLER
    assert answer.headers["x-onehop-receipt"] == receipt_id == stored["id"]
    assert stored["picked"] == stored["served"] == endpoint
    assert endpoint in listed
    assert "phi4-mini" in listed
    assert receipt_id in title
    for text in (TRACE, endpoint, "phi4-mini", "math_decision", f"onehop explain --receipt {receipt_id}"):
        assert text in told, text
    assert [endpoint in text or "phi4-mini" in text for text in won] == [True, True]  # the candidate, the endpoint
    for text in (receipt_id, TRACE, endpoint, "phi4-mini", "math_decision"):
        assert text in terminal, text
    assert "xyzzy" not in terminal + told
    assert errors == []


async def explained(site: Site, receipt_id: str) -> str:
    command = [sys.executable, "-m", "epp", "explain", "--receipt", receipt_id, "--admin", site.stack.admin_url]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()
