"""A stack for every Envoy version and wiring; run by `make test-matrix`, and skipped where it did not say which Envoys.

One test looks at one row in one column. What it saw is compared with what is expected there and written down.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from epp.cli.quickstart import MODELS
from epp.cli.stack import StackPlan, running
from tests.matrix.columns import ENVOYS, Column, columns
from tests.matrix.rows import Row, expected
from tests.matrix.table import Table
from tests.matrix.traffic import MatrixSite

collect_ignore_glob = [] if ENVOYS else ["test_*.py"]
TIME_FACTOR = 0.002  # prefill of a long prompt is quadratic, and here only bytes matter


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--matrix-table", type=Path, help="where to write the page, if every cell was tried")


@pytest.fixture(scope="session")
def table(pytestconfig: pytest.Config) -> Iterator[Table]:
    made = Table(columns())
    yield made
    path = pytestconfig.getoption("--matrix-table", default=None)
    if path is not None and made.whole:
        path.write_text(made.page())


@pytest.fixture(scope="session", params=columns(), ids=lambda column: str(column).replace(",", "").replace(" ", "-"))
def column(request: pytest.FixtureRequest) -> Column:
    found: Column = request.param
    return found


class Sites:
    """The stacks of a column, started when first asked for: one that fails open, one that fails closed."""

    def __init__(self, column: Column, folder: Callable[[str], Path], closing: AsyncExitStack) -> None:
        self._column = column
        self._folder = folder
        self._closing = closing
        self._made: dict[bool, MatrixSite] = {}

    async def __call__(self, failure_mode_allow: bool) -> MatrixSite:
        if failure_mode_allow not in self._made:
            plan = StackPlan(
                models=MODELS,
                replicas=3,
                folder=self._folder("stack"),
                semantic_config=None,
                wiring=self._column.wiring,
                eager=self._column.eager,
                failure_mode_allow=failure_mode_allow,
                time_factor=TIME_FACTOR,
                envoy=self._column.binary,
                serve_flags=["--default-model=phi4-mini", f"--transport={self._column.transport}"],
            )
            stack = await self._closing.enter_async_context(running(plan))
            http = await self._closing.enter_async_context(aiohttp.ClientSession())
            self._made[failure_mode_allow] = MatrixSite(stack, http)
        return self._made[failure_mode_allow]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sites(column: Column, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sites]:
    async with AsyncExitStack() as closing:
        yield Sites(column, tmp_path_factory.mktemp, closing)


@dataclass(slots=True)
class Seen:
    """What a test saw, in a few words; `ok` if it says nothing."""

    text: str = "ok"


Observing = Callable[..., AbstractAsyncContextManager[tuple[MatrixSite, Seen]]]


@pytest.fixture
def observing(sites: Sites, column: Column, table: Table) -> Observing:
    """`async with observing(row) as (site, seen)`: afterwards all is at rest, and what was seen is what we expect."""

    @asynccontextmanager
    async def look(row: Row, failure_mode_allow: bool = False) -> AsyncIterator[tuple[MatrixSite, Seen]]:
        table.note(row, column, "**fails**")
        site, seen = await sites(failure_mode_allow), Seen()
        await site.restored()
        yield site, seen
        await site.at_rest()
        patterns = expected(row, column)
        as_expected = any(re.fullmatch(pattern, seen.text) for pattern in patterns)
        table.note(row, column, seen.text if as_expected else f"**{seen.text}**")
        assert as_expected, f"{seen.text!r} is none of {patterns}"

    return look
