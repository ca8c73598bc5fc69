"""A real API server for the session, with our CRDs; `make test-kube` builds it and says where it is.

Where nobody said, `test_assets.py` skips and tells why, and the rest of this folder is not looked at.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from epp.edge.kube.client import Kube, connect
from tests.kube import api
from tests.kube.api import Api
from tests.kube.cluster import Cluster

ASSETS = os.environ.get("ONEHOP_KUBE_ASSETS", "")
HERE = Path(__file__).parent
TEST_SECONDS_MAX = 300

collect_ignore = [] if ASSETS else [str(file) for file in HERE.glob("test_*.py") if file.name != "test_assets.py"]
numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A server's start and storms of thousands of objects take longer than other tests may."""
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_SECONDS_MAX))


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder that `make kube-assets` fills."""
    return Path(ASSETS).absolute()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def servers(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """Running, with every CustomResourceDefinition in use."""
    made = Cluster(assets / "bin", tmp_path_factory.mktemp("cluster"))
    try:
        await made.start()
        async with api.admin(made) as admin:
            await admin.define([json.loads(file.read_text()) for file in (assets / "crds").iterdir()])
        yield made
    finally:
        made.kill()


@pytest_asyncio.fixture
async def cluster(servers: Cluster) -> Cluster:
    """Serving, even if the test before ended while it was down."""
    if not servers.is_serving:
        await servers.start_api()
    return servers


@pytest_asyncio.fixture
async def admin(cluster: Cluster) -> AsyncIterator[Api]:
    """One who may do everything."""
    async with api.admin(cluster) as made:
        yield made


@pytest_asyncio.fixture
async def namespace(admin: Api) -> str:
    """A namespace that nobody used before."""
    name = f"test-{next(numbers)}"
    await admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


@pytest.fixture
def kubeconfig(cluster: Cluster, namespace: str, tmp_path: Path) -> Callable[..., Path]:
    """Writes a kubeconfig for this test's namespace; of the admin, or of whom `token` names; by way of a relay."""
    numbered = itertools.count(1)

    def write(token: str | None = None, port: int | None = None) -> Path:
        file = tmp_path / f"kubeconfig-{next(numbered)}"
        return cluster.kubeconfig(file, namespace=namespace, token=token, port=port)

    return write


@pytest_asyncio.fixture
async def kube(kubeconfig: Callable[..., Path]) -> AsyncIterator[Kube]:
    """Our client, as the admin."""
    made = connect(kubeconfig())
    yield made
    await made.close()
