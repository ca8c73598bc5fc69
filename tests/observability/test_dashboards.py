"""Every panel, rule and documented metric against a real Prometheus that watched a real run."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from epp.cli.stack import running
from tests.e2e.client import Site
from tests.e2e.conftest import plan
from tests.edge.collector import FLUSH_MS, collecting
from tests.observability.prometheus import Prometheus, needs_prometheus, watching
from tests.observability.run import Run, own_config
from tests.observability.test_autoscaling import queries

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300), needs_prometheus]

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "onehop"
RULES = CHART / "rules" / "onehop.yaml"
VARIABLES = {"$__rate_interval": "30s", "$__range": "5m", "$namespace": ".*", "$pool": ".*"}
OR_ZERO = re.compile(r"^\((.*)\) or vector\(0\)$", re.DOTALL)
# What this run cannot bring about, by the beginning of its name: a defect of ours. And what objects of a cluster bring
# about, which `test_in_a_cluster.py` does.
NEVER = {
    "onehop_surprise": "a defect",
    "onehop_worker_restarts": "of workers: tests/e2e/test_workers.py",
} | dict.fromkeys(
    (
        "onehop_leader",
        "llm_d_epp_flow_control_revocation",
        "llm_d_epp_model_rewrite_decisions",
    ),
    "objects of a cluster",
)
# What is the same all the time, or over before anybody looks.
STEADY = {
    "llm_d_epp_info": "it says what was built",
    "onehop_endpoint_series": "engines tell the same as long as they run",
    "onehop_scorer_used": "and so no scorer loses what it goes by",
    "llm_d_epp_flow_control_pending_reclaim": "a gateway ends in milliseconds what it is told to",
}


@dataclass
class Watched:
    prometheus: Prometheus
    run: Run


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    folder = tmp_path_factory.mktemp("run")
    config = own_config(folder)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in FLUSH_MS.items():
            patch.setenv(name, value)
        async with collecting() as collector:
            flags = ["--classify-deadline=5s", "--tracing", "--tracing-sample=0.1"]
            flags.append(f"--tracing-endpoint={collector.grpc_url}")
            made = plan(
                folder, semantic_config=config, wiring="duplex", time_factor=0.5, keepalive_s=15.0, serve_flags=flags
            )
            async with (
                running(made) as stack,
                aiohttp.ClientSession() as http,
                watching(f"127.0.0.1:{stack.metrics_port}", [RULES], folder) as prometheus,
            ):
                await prometheus.until("up == 1")
                run = Run(Site(stack, http), config)
                await run.all(prometheus)
                yield Watched(prometheus, run)


def panels() -> list[Any]:
    found = []
    for path in sorted((CHART / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", ()):
                name = f"{path.stem}: {panel['title']}: {target['legendFormat']}"
                found.append(pytest.param(target["expr"], id=name))
    return found


def concrete(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


async def test_the_run_had_everything_in_it(watched: Watched) -> None:
    told = watched.run.statuses

    assert set(told["talk"]) == {200}
    assert set(told["unknown"]) == {404}
    assert told["broken"][503] > 0
    assert told["rush"][429] > 0 < told["rush"][200]
    assert told["death"][200] > 0


@pytest.mark.parametrize("expression", panels())
async def test_every_query_of_every_panel_shows_something(watched: Watched, expression: str) -> None:
    """What is 0 until there is trouble has to show the trouble itself, as far as this run can make it."""
    asked = concrete(expression)
    inner = OR_ZERO.match(asked)
    if inner is not None and not any(name in asked for name in NEVER):
        asked = inner[1]

    assert await watched.prometheus.values(asked), asked


async def test_panels_move(watched: Watched) -> None:
    """A panel of zeros would pass the test above. A quantile or a ratio may well be the same all the time."""
    rare = ("Defects", "cut off", "not understood", "Receipts and spans", "Queue in use", "left out")
    still = []
    for param in panels():
        expression = param.values[0]
        steady = expression.startswith(("histogram_quantile", "onehop:")) or " / " in expression
        if steady or any(part in param.id for part in rare):
            continue
        if len(set(await watched.prometheus.values(concrete(expression)))) < 2:
            still.append(param.id)

    assert not still, "\n".join(still)


async def test_rules_are_evaluated_without_an_error(watched: Watched) -> None:
    groups = (await watched.prometheus.ask("rules"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]

    assert len(rules) > 30
    assert [(rule["name"], rule["lastError"]) for rule in rules if rule.get("lastError")] == []
    recorded = [rule["name"] for rule in rules if rule["type"] == "recording"]
    for name in recorded:
        assert await watched.prometheus.values(name), name


@pytest.mark.parametrize("query", queries())
async def test_autoscalers_get_one_number_that_follows_the_load(watched: Watched, query: str) -> None:
    (series,) = await watched.prometheus.now(query)
    values = await watched.prometheus.values(query)

    assert series["metric"] == {}
    assert max(values) > min(values) >= 0


async def test_every_documented_metric_is_there_and_moves(watched: Watched) -> None:
    """Also under its deprecated name. What moves is what its series come to together, or how many there are."""
    text = (ROOT / "docs" / "operating.md").read_text()
    documented = set(re.findall(r"^\| `((?:onehop|llm|inference)_\w+)` \|", text, re.MULTILINE))
    absent, still = [], []
    for name in sorted(documented):
        if any(_is(name, never) for never in NEVER):
            continue
        series = f'{{__name__=~"{name}(_count)?"}}'
        if not await watched.prometheus.values(f"count({series})"):
            absent.append(name)
        figures = [f"({figure}({series}) or vector(0)) and on() up" for figure in ("sum", "count")]
        seen = [set(await watched.prometheus.values(figure)) for figure in figures]
        if max(map(len, seen)) < 2 and not any(_is(name, steady) for steady in STEADY):
            still.append(name)

    assert (absent, still) == ([], [])
    assert len(documented) > 150


def _is(name: str, start: str) -> bool:
    """Whether it is a metric whose name begins so, or its twin."""
    bare = start.removeprefix("llm_d_epp_")
    return name.startswith((start, f"inference_extension_{bare}"))
