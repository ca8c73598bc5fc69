"""A whole stack for the end-to-end tests: real Envoy, OneHop as its own process, simulated replicas."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from epp.cli.quickstart import CONFIG, MODELS
from epp.cli.stack import StackPlan, running
from tests.e2e.client import Site


def plan(folder: Path, **more: Any) -> StackPlan:
    parts: dict[str, Any] = {
        "models": MODELS,
        "replicas": 3,
        "folder": folder,
        "semantic_config": CONFIG,
        "failure_mode_allow": False,  # what fails must show
        "time_factor": 0.05,
        "serve_flags": ["--classify-deadline=5s"],  # a crowded test machine is not what is tested
    }
    return StackPlan(**{**parts, **more})


WIRINGS = ["buffered", "duplex", "duplex, grpc", "buffered, native, 2", "duplex, native, 2"]


def flags_of(named: str) -> tuple[str, list[str]]:
    """One of these as Envoy's wiring and OneHop's flags."""
    wiring, transport, workers = (*named.split(", "), *("native", "1")[named.count(", ") :])
    return wiring, ["--classify-deadline=5s", f"--transport={transport}", f"--workers={workers}"]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=WIRINGS)
async def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """One stack a wiring, shared by the tests of a module; over the other transport once, and with workers."""
    wiring, flags = flags_of(request.param)
    made = plan(tmp_path_factory.mktemp("stack"), wiring=wiring, serve_flags=flags)
    async with running(made) as stack, aiohttp.ClientSession() as http:
        yield Site(stack, http)


Start = Callable[..., AbstractAsyncContextManager[Site]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts a stack of one's own, for tests that break something or want other flags."""

    @asynccontextmanager
    async def starting(**more: Any) -> AsyncIterator[Site]:
        async with running(plan(tmp_path, **more)) as stack, aiohttp.ClientSession() as http:
            yield Site(stack, http)

    return starting
