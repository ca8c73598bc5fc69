"""A steady load on a site, and what became of each request."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.e2e.client import Answer
from tests.guide.site import Site, chat

QUESTIONS = ("What is 2+2 * (5-1)?", "Who was the first emperor of Rome?")


class Load:
    """So many clients at once, each asking again as soon as it is answered."""

    at_once = 8

    def __init__(self, site: Site) -> None:
        self.answers: list[tuple[int, Answer]] = []
        self.begun: list[int] = []
        self._site = site
        self._stopped = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self.at_once):
                tasks.create_task(self._client())
            try:
                yield
            finally:
                self._stopped = True

    async def until(self, count: int) -> None:
        """Until so many answers are there."""

        async def answered() -> int:
            return len(self.answers)

        await self._site.until(answered, lambda found: found >= count, "answers")

    async def _client(self) -> None:
        while not self._stopped:
            number = len(self.begun)
            self.begun.append(number)
            text = QUESTIONS[number % len(QUESTIONS)]
            self.answers.append((number, await self._site.ask(chat("auto", text))))


async def one_is_killed(site: Site) -> list[Answer]:
    """Of two OneHops one dies under load: no request fails; those that begin later are all decided, and returned."""
    load = Load(site)
    async with load.running():
        await load.until(40)
        await site.onehops[0].kill()
        killed = len(load.begun)
        await load.until(killed + 80)
    later = [answer for number, answer in load.answers if number >= killed + load.at_once]

    assert later
    assert Counter(answer.status for _, answer in load.answers) == {200: len(load.answers)}
    assert Counter("x-onehop-receipt" in answer.headers for answer in later) == {True: len(later)}
    return later
