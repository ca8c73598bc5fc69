"""OneHop killed, restarted and frozen, with Envoy failing open and failing closed."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter

import aiohttp
import pytest

from tests.matrix.conftest import Observing
from tests.matrix.rows import Row
from tests.matrix.traffic import Load, Told, streaming, whole

pytestmark = pytest.mark.asyncio(loop_scope="session")
HANG_S = 5.0


@pytest.mark.parametrize("row", [Row.LOAD_OPEN, Row.LOAD_CLOSED], ids=lambda row: row.name)
async def test_killed_and_back_under_load(observing: Observing, row: Row) -> None:
    clock = asyncio.get_running_loop().time
    async with observing(row, row is Row.LOAD_OPEN) as (site, seen):
        load = Load(site, per_second=25)
        running = asyncio.create_task(load.run())
        await asyncio.sleep(1.5)
        killed = clock()
        await site.kill_onehop()
        await asyncio.sleep(2.5)
        await site.restored()
        back = clock()
        await asyncio.sleep(1.5)
        load.stop()
        await running

        outside = [told for told in load.told if told.ended < killed or told.began > back]
        between = [told for told in load.told if told.ended >= killed and told.began <= back]
        assert len(outside) > 40
        assert Counter((told.status, told.by_onehop) for told in outside) == {(200, True): len(outside)}
        assert len(between) > 40
        assert max(told.ended - told.began for told in between) < HANG_S
        seen.text = _seen(row, between)


def _seen(row: Row, between: list[Told]) -> str:
    """What became of the requests that were open while OneHop was away, beyond what the mode allows."""
    allowed = {200} if row is Row.LOAD_OPEN else {200, 500, 503, 504}
    if row is Row.LOAD_CLOSED:
        assert any(told.status != 200 for told in between)
        assert all(told.by_onehop for told in between if told.status == 200)
    lost = Counter(str(told.status) for told in between if told.status not in allowed)
    return "ok" if not lost else ", ".join(f"{count} of {len(between)}: {status}" for status, count in lost.items())


async def test_killed_in_mid_answer(observing: Observing) -> None:
    async with observing(Row.KILLED_ANSWERING, True) as (site, seen):
        with site.slowed(500):
            async with site.opened(streaming(300)) as (answer, first):
                await site.kill_onehop()
                try:
                    rest = await asyncio.wait_for(answer.read(), HANG_S)
                    if not whole(first + rest, 300):
                        seen.text = "cut without an error"
                except aiohttp.ClientError:
                    seen.text = "cut, visibly"
                except TimeoutError:
                    seen.text = "hangs"
        await site.restored()


@pytest.mark.parametrize("row", [Row.FROZEN_OPEN, Row.FROZEN_CLOSED], ids=lambda row: row.name)
async def test_frozen(observing: Observing, row: Row) -> None:
    async with observing(row, row is Row.FROZEN_OPEN) as (site, seen):
        assert site.stack.onehop is not None
        site.stack.onehop.send_signal(signal.SIGSTOP)
        try:
            answer = await site.ask({"model": "auto", "prompt": "hello", "max_tokens": 4}, seconds=HANG_S)
            wanted = {200} if row is Row.FROZEN_OPEN else {500, 503, 504}
            if answer.status not in wanted:
                seen.text = str(answer.status)
        except TimeoutError:
            seen.text = f"hangs for more than {HANG_S:.0f} s"
        finally:
            site.stack.onehop.send_signal(signal.SIGCONT)
        await site.restored()
