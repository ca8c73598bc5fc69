"""The live page in a real browser: it loads, follows what happens, says why, and runs nothing that others wrote."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from epp.datastore.receipts import Receipts
from epp.director import Director
from epp.domain import GateView, Receipt
from epp.edge import admin
from epp.edge.admin import More, admin_app
from epp.picking import Picking
from epp.protocol.messages import Decide
from epp.rehearsal import rehearse
from epp.scheduling.default import default_profile
from tests import make
from tests.browser import CHROMIUM, Tab, browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on PATH: the live page is not opened")
HOSTILE = "<img src=x onerror='document.title=1'><script>document.title=2</script>\"'&"


class Served:
    """A director, and an admin address that shows what it does."""

    def __init__(self) -> None:
        self.receipts = Receipts()
        self.pool = make.pool("small-0", "big-0", "big-1", models={"small-0": ["small"], "big-0": [HOSTILE, "big"]})
        self.pool.endpoints[2].models = {"big": "big"}
        self.chooser = make.FixedChooser("small", decision="maths", category="math", confidence=0.9)
        self.picking = Picking(self.pool, default_profile(), make.Random(1))
        self.director = self._director()
        self.errors: dict[str, Any] = {"semantic": None}
        self.tried: list[bytes] = []
        self.token: str | None = None
        self.url = ""

    def _director(self) -> Director:
        now = asyncio.get_running_loop().time
        return make.director(self.pool, self.chooser, picking=self.picking, receipts=self.receipts, now=now)

    async def asks(self, model: str = "auto", text: str = "hello", **headers: str) -> Receipt:
        ask = Decide({**make.POST, **headers, "x-request-id": ""}, make.chat(model, text), None)
        return (await self.director.decide(ask)).receipt

    async def rehearse(self, body: bytes, pool: str | None) -> dict[str, Any]:
        self.tried.append(body)
        receipt = Receipt("dry-run", "dry-run", asyncio.get_running_loop().time(), "/v1/chat/completions", None)
        await rehearse(receipt, body, self.chooser, self.picking)
        return self.receipts.render(receipt)

    def app(self) -> web.Application:
        state = {name: (lambda name=name: self.errors[name]) for name in self.errors}  # type: ignore[misc]
        files = [{"what": "semantic", "path": "s.yaml", "reloads": 1, "failed_reloads": 2, "error": "line 3: no"}]
        more = More(lambda: files, dict, lambda _: "standard", self.rehearse, lambda: ["default"])
        now = asyncio.get_running_loop().time
        return admin_app(make.fleet(self.pool), self.receipts, state, self.token, now=now, more=more)


@asynccontextmanager
async def opened(tmp_path: Path, served: Served, *, path: str = "/") -> AsyncIterator[Tab]:
    """The page of that address in a browser."""
    runner = await admin.serve(served.app(), "127.0.0.1", 0)
    try:
        served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with browser(tmp_path / "profile") as tab:
            await tab.look()
            await tab.open(served.url + path)
            yield tab
    finally:
        await runner.cleanup()


async def test_it_loads_and_follows_what_happens(tmp_path: Path) -> None:
    served = Served()
    async with opened(tmp_path, served) as tab:
        await tab.until("document.getElementById('link').dataset.state === 'live'")
        empty = await tab.text("#no-rows")
        pools = await tab.text("#pools")
        receipt = await served.asks()
        await tab.until("document.querySelectorAll('#rows tr').length === 1")
        under_way = await tab.text("#rows tr")
        receipt.outcome, receipt.status = "completed", 200
        await tab.until("document.querySelector('#rows .outcome').innerText === 'completed'")
        served.pool.endpoints[0].reachable = False
        served.errors["semantic"] = "the file is wrong"
        await tab.until("document.getElementById('trouble').innerText.includes('the file is wrong')")
        troubled = await tab.js("document.querySelector('#pools .dot').dataset.state")
        files = await tab.text("#files")
        errors, elsewhere = tab.errors, [url for url in tab.requested if not url.startswith(served.url)]

    assert "No decision yet" in empty
    for name in ("small-0", "big-0", "big-1", "3 endpoints"):
        assert name in pools
    for text in ("auto", "maths", "small", "10.0.0.0:8000", "under way"):
        assert text in under_way
    assert troubled == "out"
    assert "2 failed" in files
    assert "line 3: no" in files
    assert errors == []
    assert elsewhere == []


async def test_a_click_says_why(tmp_path: Path) -> None:
    served = Served()
    receipt = await served.asks()
    async with opened(tmp_path, served) as tab:
        await tab.until("document.querySelectorAll('#rows tr').length === 1")
        await tab.click("#rows tr")
        await tab.until("document.getElementById('receipt').open")
        title, shown = await tab.text("#receipt-title"), await tab.text("#receipt-body")
        bars = await tab.js("document.querySelectorAll('#receipt-body .chart li').length")
        address = await tab.js("location.hash")
        errors = tab.errors

    assert receipt.id in title
    assert f"onehop explain --receipt {receipt.id}" in shown
    for text in ("fixed", "maths", "small-0", "no wait, own prefill", "math (0.90)"):
        assert text in shown
    assert bars == 2  # one candidate, one endpoint
    assert address == f"#receipt={receipt.id}"
    assert errors == []


async def test_a_refusal_for_want_of_room_says_what_the_gate_saw(tmp_path: Path) -> None:
    served = Served()
    receipt = await served.asks("nobody")
    receipt.slo_ttft_s = 2.0
    receipt.gate = GateView(0.5, 0.5, 3.0, True, ["10.0.0.1:8000"], [(4.0, 0.5, 0.0)], [3], [0])
    async with opened(tmp_path, served, path=f"/#receipt={receipt.id}") as tab:
        await tab.until("document.getElementById('receipt').open")
        shown = await tab.text("#receipt-body")
        errors = tab.errors

    assert "Due in 2.00 s, its own prompt takes 0.50 s, after 3.00 s of prompts that waited before it." in shown
    for text in ("10.0.0.1:8000", "4.00 s", "3 in flight, KV cache 50 % of the way to full"):
        assert text in shown
    assert errors == []


async def test_on_a_phone_a_row_ends_with_its_outcome(tmp_path: Path) -> None:
    served = Served()
    receipt = await served.asks()
    receipt.outcome, receipt.status = "completed", 200
    async with opened(tmp_path, served) as tab:
        await tab.look(width=390, height=844)
        await tab.until("document.querySelectorAll('#rows tr').length === 1")
        right = await tab.js("document.querySelector('#rows .outcome').getBoundingClientRect().right")

    assert right <= 390


async def test_the_keyboard_does_all_of_it(tmp_path: Path) -> None:
    served = Served()
    first, second = await served.asks(), await served.asks()
    focused = "document.activeElement.closest('tr')?.dataset.key"
    async with opened(tmp_path, served) as tab:
        await tab.until("document.querySelectorAll('#rows tr').length === 2")
        for _ in range(20):
            await tab.press("Tab")
            if await tab.js(focused):
                break
        on_newest = await tab.js(focused)
        await tab.press("ArrowDown")
        on_older = await tab.js(focused)
        await served.asks()
        await asyncio.sleep(1.5)
        held = await tab.js("document.querySelectorAll('#rows tr').length")
        await tab.press("Enter")
        await tab.until("document.getElementById('receipt').open")
        title = await tab.text("#receipt-title")
        await tab.press("Escape")
        await tab.until("!document.getElementById('receipt').open")
        back = await tab.js(focused)
        errors = tab.errors

    assert (on_newest, on_older, back) == (second.id, first.id, first.id)
    assert held == 2
    assert first.id in title
    assert errors == []


async def test_names_that_clients_and_servers_choose_are_text(tmp_path: Path) -> None:
    served = Served()
    refused = await served.asks(HOSTILE + "nobody", **{"x-llm-d-inference-fairness-id": HOSTILE})
    served.pool.endpoints[1].name = HOSTILE
    served.errors["semantic"] = HOSTILE
    async with opened(tmp_path, served) as tab:
        await tab.until("document.querySelectorAll('#rows tr').length === 1")
        await tab.click("#rows tr")
        await tab.until("document.getElementById('receipt').open")
        body = await tab.text("#receipt-body")
        page = await tab.js("document.body.innerText")
        title, images = (
            await tab.js("document.title"),
            await tab.js("document.querySelectorAll('main img, script').length"),
        )
        errors = tab.errors

    assert refused.status == 404
    assert HOSTILE in body
    assert page.count("<img src=x") >= 3
    assert (title, images) == ("OneHop", 1)  # our own module
    assert errors == []


async def test_a_prompt_can_be_tried_and_leaves_nothing(tmp_path: Path) -> None:
    served = Served()
    async with opened(tmp_path, served) as tab:
        await tab.until("document.getElementById('link').dataset.state === 'live'")
        await tab.click("#prompt")
        await tab.type("What is 2+2?")
        await tab.click("#try button")
        await tab.until("document.getElementById('receipt').open")
        shown = await tab.text("#receipt-body")
        await tab.press("Escape")
        await tab.js("document.getElementById('model').value = 'nobody'")
        await tab.click("#try button")
        await tab.until("document.getElementById('receipt').open")
        refused = await tab.text("#receipt-body")
        errors = tab.errors

    assert "small-0" in shown
    assert "nothing was sent, stored or logged" in shown
    assert "Refused (model not found)" in refused
    assert json.loads(served.tried[0])["messages"][0]["content"] == "What is 2+2?"
    assert list(served.receipts.newest()) == []
    assert errors == []


async def test_a_receipt_has_an_address(tmp_path: Path) -> None:
    served = Served()
    receipt = await served.asks()
    async with opened(tmp_path, served, path=f"/#receipt={receipt.id}") as tab:
        await tab.until("document.getElementById('receipt').open")
        title = await tab.text("#receipt-title")

    assert receipt.id in title


async def test_it_asks_for_the_token_and_goes_on_with_it(tmp_path: Path) -> None:
    served = Served()
    served.token = "s3cret"
    await served.asks()
    async with opened(tmp_path, served) as tab:
        await tab.until("document.getElementById('token').open")
        nothing = await tab.text("#rows")
        await tab.type("s3cret")
        await tab.press("Enter")
        await tab.until("document.querySelectorAll('#rows tr').length === 1")
        in_addresses = [url for url in tab.requested if "s3cret" in url]

    assert nothing == ""
    assert in_addresses == []


async def test_rows_stand_still_when_they_are_told_to(tmp_path: Path) -> None:
    served = Served()
    await served.asks()
    async with opened(tmp_path, served) as tab:
        await tab.until("document.querySelectorAll('#rows tr').length === 1")
        await tab.click("#pause")
        await served.asks()
        await asyncio.sleep(1.5)
        held = await tab.js("document.querySelectorAll('#rows tr').length")
        await tab.click("#pause")
        await tab.until("document.querySelectorAll('#rows tr').length === 2")
        await served.asks("nobody")
        await tab.click("#refused-only")
        await tab.until("document.querySelectorAll('#rows tr').length === 1")
        left = await tab.text("#rows tr")

    assert held == 1
    assert "model not found 404" in left


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("dark", [False, True])
async def test_it_fits_the_screen_and_can_be_read_in_both_schemes(tmp_path: Path, width: int, dark: bool) -> None:
    served = Served()
    await served.asks()
    async with opened(tmp_path, served) as tab:
        await tab.look(width=width, dark=dark)
        await tab.until("document.querySelectorAll('#rows tr').length === 1")
        wide = await tab.js("document.documentElement.scrollWidth")
        colours = await tab.js("[document.body, document.querySelector('.card')].map(e => getComputedStyle(e)).map("
                               "s => [s.color, s.backgroundColor])")  # fmt: skip

    assert wide <= width
    for ink, ground in colours:
        assert contrast(ink, ground) >= 4.5  # WCAG 2.1, 1.4.3


def contrast(one: str, other: str) -> float:
    """The ratio of two colours (WCAG 2.1, relative luminance)."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


async def test_it_finds_us_again_after_a_restart(tmp_path: Path) -> None:
    served = Served()
    runner = await admin.serve(served.app(), "127.0.0.1", 0)
    port = runner.addresses[0][1]
    async with browser(tmp_path / "profile") as tab:
        await tab.open(f"http://127.0.0.1:{port}/")
        await tab.until("document.getElementById('link').dataset.state === 'live'")
        await runner.cleanup()
        await tab.until("document.getElementById('link').dataset.state === 'lost'")
        runner = await admin.serve(served.app(), "127.0.0.1", port)
        try:
            await tab.until("document.getElementById('link').dataset.state === 'live'")
        finally:
            await runner.cleanup()
