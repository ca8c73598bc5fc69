"""The examples of autoscaling: what they refer to is there, and Prometheus answers each query with one number."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "helm" / "autoscaling"
SIGNALS = {"onehop_replicas_wanted", "onehop_queued_tokens", "onehop_model_saturation"}


def document(name: str) -> Any:
    (found,) = yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text())
    return found


def adapter_rules() -> dict[str, str]:
    """The adapter's queries by the names they are asked for."""
    config = yaml.safe_load(document("prometheus-adapter")["data"]["config.yaml"])
    return {rule["name"]["as"]: rule["metricsQuery"] for rule in config["externalRules"]}


def hpa_queries() -> list[str]:
    """What the adapter asks Prometheus for the HPA, matchers filled in as it does."""
    queries = []
    for metric in document("hpa")["spec"]["metrics"]:
        asked = metric["external"]["metric"]
        matchers = ",".join(f'{name}="{value}"' for name, value in asked["selector"]["matchLabels"].items())
        queries.append(adapter_rules()[asked["name"]].replace("<<.LabelMatchers>>", matchers))
    return queries


def keda_queries() -> list[str]:
    return [trigger["metadata"]["query"] for trigger in document("keda")["spec"]["triggers"]]


def queries() -> list[str]:
    return hpa_queries() + keda_queries()


def test_every_signal_has_an_example_of_each() -> None:
    for asked in (hpa_queries(), keda_queries()):
        assert {name for query in asked for name in re.findall(r"onehop_\w+", query)} >= SIGNALS


def test_targets_are_deployments_of_the_guide() -> None:
    models = (ROOT / "helm" / "guide" / "models" / "vllm.yaml").read_text()
    deployments = [one["metadata"]["name"] for one in yaml.safe_load_all(models) if one and one["kind"] == "Deployment"]

    assert {document(name)["spec"]["scaleTargetRef"]["name"] for name in ("hpa", "keda")} <= set(deployments)


def test_no_matcher_is_left_open() -> None:
    assert not [query for query in queries() if "<<" in query]
