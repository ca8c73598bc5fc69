"""What only objects of a cluster bring about, leaders, rewrites, requests cut off for others: their metrics move."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.observability.cluster import clustered, drive
from tests.observability.prometheus import Prometheus, needs_prometheus, watching

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240), needs_prometheus]

OF_A_CLUSTER = (
    "onehop_leader",
    "llm_d_epp_model_rewrite_decisions_total",
    "llm_d_epp_flow_control_revocations_issued_total",
    "llm_d_epp_flow_control_revocations_total",
    "llm_d_epp_flow_control_revocation_confirmation_seconds_count",
    "onehop_shed_total",
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    folder = tmp_path_factory.mktemp("cluster")
    with pytest.MonkeyPatch.context() as patch:
        async with (
            clustered(folder, patch) as site,
            watching(f"127.0.0.1:{site.stack.metrics_port}", [], folder) as prometheus,
        ):
            await prometheus.until("up == 1")
            await drive(site, prometheus)
            yield prometheus


@pytest.mark.parametrize("name", OF_A_CLUSTER)
async def test_it_moves(watched: Prometheus, name: str) -> None:
    assert max(await watched.values(name)) > 0


async def test_who_was_cut_off_was_of_the_lowest_priority(watched: Prometheus) -> None:
    found = await watched.now("llm_d_epp_flow_control_revocations_issued_total > 0")

    assert {series["metric"]["priority"] for series in found} == {"-5"}
    assert {s["metric"]["reason"] for s in await watched.now("onehop_shed_total > 0")} >= {"evicted"}
