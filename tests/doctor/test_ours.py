"""Our own guide and chart come out clean; the guide that we replace shows its traps."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from epp.doctor import manifests
from epp.doctor.checks import CHECKS
from epp.doctor.cluster import Cluster
from epp.doctor.findings import Level, Result, examine
from epp.doctor.tree import Object
from tests.helm.chart import needs_helm

HELM = Path(__file__).parents[2] / "helm"
GUIDE = HELM / "guide"
CHART = HELM / "onehop"
ROUTERS = "vllm-semantic-router-system"
NOT_OURS = ("llm-d-inference-scheduler", "-epp", "pod-read", "plugins-config")


def rendered(values: Path, namespace: str) -> list[Object]:
    command = ["helm", "template", "onehop", CHART, "--namespace", namespace, "--values", values]
    if values.parent == GUIDE:
        command += ["--set-file", f"semantic.config={GUIDE / 'semantic.yaml'}"]
    ran = subprocess.run(command, capture_output=True, timeout=60, check=True)
    return manifests.read(ran.stdout, str(values))


def read(*paths: Path) -> list[Object]:
    return [item for path in paths for item in manifests.read(path.read_bytes(), str(path))]


def told(items: Iterable[Object], namespace: str = "default") -> dict[str, Result]:
    results = examine(Cluster(items, namespace), CHECKS)
    return {result.check.name: result for result in results if result.level in (Level.WARNING, Level.PROBLEM)}


@needs_helm
@pytest.mark.parametrize("values", sorted((CHART / "ci").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_chart_alone_is_clean(values: Path) -> None:
    assert told(rendered(values, "inference"), "inference") == {}


@needs_helm
@pytest.mark.parametrize("models", ["simulated", "vllm"])
@pytest.mark.parametrize("wiring", ["w1", "w2", "w3"])
def test_our_guide_is_clean(wiring: str, models: str) -> None:
    files = read(GUIDE / "gateway.yaml", GUIDE / "istio.yaml", GUIDE / "models" / f"{models}.yaml")
    items = [*rendered(GUIDE / f"{wiring}-values.yaml", "llm"), *files]
    results = {result.check.name: result.level for result in examine(Cluster(items, "llm"), CHECKS)}

    assert told(items, "llm") == {}
    assert [results[name] for name in ("inference-flag", "picker-service", "picker-tls", "rights", "pool-pods")] == [
        Level.OK
    ] * 5


@needs_helm
def test_the_drop_in_has_only_the_limit_that_its_filters_name_brings() -> None:
    files = read(GUIDE / "drop-in" / "objects.yaml", GUIDE / "istio.yaml", GUIDE / "models" / "simulated.yaml")
    found = told([*rendered(GUIDE / "drop-in-values.yaml", ROUTERS), *files])

    assert {name: result.level for name, result in found.items()} == {"filter-name": Level.WARNING}


@pytest.fixture
def old_guide() -> Path:
    folder = os.environ.get("ONEHOP_COMPAT_DIR")
    if not folder:
        pytest.skip("ONEHOP_COMPAT_DIR is unset: the guide's own manifests are not looked at")
    return Path(folder) / "guide"


def applied(folder: Path) -> list[Path]:
    """What the guide has one apply; the DestinationRules of the pickers are not among it."""
    names = ("gateway", "inferencepool-*", "httproute-*", "destinationrule", "envoyfilter", "vLlama3", "vPhi4")
    return [path for name in names for path in sorted(folder.glob(f"{name}.yaml"))]


def test_the_original_guide_shows_its_traps(old_guide: Path) -> None:
    found = told(read(*applied(old_guide)))

    assert {name for name, result in found.items() if result.level is Level.PROBLEM} == {"filter-name", "picker-tls"}
    assert {finding.subject for finding in found["picker-tls"].findings} == {
        "InferencePool default/vllm-llama3-8b-instruct",
        "InferencePool default/vllm-phi4-mini",
    }
    assert found["chained-filters"].level is Level.WARNING


def test_its_forgotten_rules_would_cure_tls_and_not_the_name(old_guide: Path) -> None:
    found = told(read(*applied(old_guide), *sorted(old_guide.glob("dest-rule-*.yaml"))))

    assert {name for name, result in found.items() if result.level is Level.PROBLEM} == {"filter-name"}


@needs_helm
def test_our_drop_in_works_among_the_original_objects(old_guide: Path) -> None:
    kept = [item for item in read(*applied(old_guide)) if not _is_replaced(item)]
    found = told([*rendered(CHART / "ci" / "guide-drop-in-values.yaml", ROUTERS), *kept])

    assert {name: result.level for name, result in found.items()} == {"filter-name": Level.WARNING}


def _is_replaced(item: Object) -> bool:
    """The old pickers, their Services and their rights."""
    name = item["metadata"]["name"]
    return item["kind"] != "InferencePool" and any(part in name for part in NOT_OURS)
