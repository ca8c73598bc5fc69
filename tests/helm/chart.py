"""The chart as files, and as `helm` renders it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "onehop"
EXAMPLE = CHART / "ci" / "one-pool-values.yaml"
RELEASE = "shop"
NAMESPACE = "inference"
HELM = shutil.which("helm")

needs_helm = pytest.mark.skipif(HELM is None, reason="helm is not on PATH: the chart is not rendered")

Object = dict[str, Any]


class Refusal(Exception):
    """What helm said instead of rendering."""


def values(name: str = "values.yaml") -> Object:
    """A values file of the chart."""
    loaded: Object = yaml.safe_load((CHART / name).read_text())
    return loaded


def schema() -> Object:
    """values.schema.json."""
    loaded: Object = json.loads((CHART / "values.schema.json").read_text())
    return loaded


def minimal(**more: Any) -> Object:
    """The least that must be given, and `more` top-level keys."""
    given: Object = {
        "discovery": {"endpoints": [{"name": "llama-0", "address": "192.0.2.10", "port": 8000}]},
        "inferencePool": {"selector": {"matchLabels": {"app": "vllm"}}},
    }
    return given | more


def helm(*words: str | Path, given: Object | None = None) -> str:
    """Standard output of a helm command with `given` as its values; Refusal with what it said when it fails."""
    assert HELM is not None
    command = [HELM, *map(str, words)]
    if given is not None:
        command += ["--values", "-"]
    # As JSON, because what PyYAML leaves unquoted is not always a string to Go.
    ran = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, timeout=60, check=False)
    if ran.returncode != 0:
        raise Refusal(ran.stderr + ran.stdout)
    assert "warning" not in ran.stderr.lower(), ran.stderr
    return ran.stdout


def render(given: Object, *words: str, chart: Path = CHART) -> dict[str, Object]:
    """The rendered objects by `Kind` or, where there are several of a kind, also by `Kind/name`."""
    text = helm("template", RELEASE, chart, "--namespace", NAMESPACE, *words, given=given)
    objects = [found for found in yaml.safe_load_all(text) if found]
    by_kind = {found["kind"]: found for found in objects}
    by_name = {f"{found['kind']}/{found['metadata']['name']}": found for found in objects}
    assert len(by_name) == len(objects), "two objects of one name"
    return by_kind | by_name


def pod(rendered: dict[str, Object]) -> Object:
    """The pod's spec."""
    spec: Object = rendered["Deployment"]["spec"]["template"]["spec"]
    return spec


def container(rendered: dict[str, Object]) -> Object:
    """The only container."""
    (only,) = pod(rendered)["containers"]
    found: Object = only
    return found
