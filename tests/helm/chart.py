"""The chart as files, and as `helm` renders it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from epp.settings import Settings, parse

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "onehop"
MODES = {
    "onePool": "one-pool",
    "oneHop": "one-hop",
    "manyPools": "many-pools",
    "guideDropIn": "guide-drop-in",
    "standalone": "standalone",
}
RELEASE = "shop"
NAMESPACE = "inference"
FULLNAME = f"{RELEASE}-onehop"
HELM = shutil.which("helm")

needs_helm = pytest.mark.skipif(HELM is None, reason="helm is not on PATH: the chart is not rendered")

Object = dict[str, Any]
Rendered = dict[str, Object]


class Refusal(Exception):
    """What helm said instead of rendering."""


def values(name: str = "values.yaml") -> Object:
    """A values file of the chart."""
    loaded: Object = yaml.safe_load((CHART / name).read_text())
    return loaded


def example(mode: str) -> Object:
    """The example of a mode."""
    return values(f"ci/{MODES[mode]}-values.yaml")


def schema() -> Object:
    """values.schema.json."""
    loaded: Object = json.loads((CHART / "values.schema.json").read_text())
    return loaded


def minimal(**more: Any) -> Object:
    """The least that must be given, and `more` top-level keys."""
    return {"pools": [{"name": "llms", "selector": {"matchLabels": {"app": "vllm"}}}]} | more


def listed(**more: Any) -> Object:
    """The same with a list of endpoints instead of Kubernetes."""
    return minimal(discovery={"endpoints": [{"name": "llama-0", "address": "192.0.2.10", "port": 8000}]}) | more


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


def render(given: Object, *words: str, chart: Path = CHART) -> Rendered:
    """The rendered objects by `Kind` (the last of them), `Kind/name` and `Kind/namespace/name`."""
    text = helm("template", RELEASE, chart, "--namespace", NAMESPACE, *words, given=given)
    objects = [found for found in yaml.safe_load_all(text) if found]
    found: Rendered = {}
    for item in objects:
        kind, name, namespace = item["kind"], item["metadata"]["name"], item["metadata"].get("namespace", "")
        key = f"{kind}/{namespace}/{name}"
        assert key not in found, "two objects of one name"
        found |= {kind: item, f"{kind}/{name}": item, key: item}
    return found


def objects(rendered: Rendered, kind: str = "") -> list[Object]:
    """Each object once, of one kind or of all."""
    return [item for key, item in rendered.items() if key.count("/") == 2 and key.startswith(kind and f"{kind}/")]


def pod(rendered: Rendered, deployment: str = "") -> Object:
    """The spec of the Deployment's pods; of the only one, or by name."""
    found = rendered[f"Deployment/{deployment}" if deployment else "Deployment"]
    spec: Object = found["spec"]["template"]["spec"]
    return spec


def container(rendered: Rendered, deployment: str = "") -> Object:
    """OneHop's container."""
    (only,) = pod(rendered, deployment)["containers"]
    found: Object = only
    return found


def settings(rendered: Rendered, deployment: str = "") -> Settings:
    """What `onehop serve` makes of its arguments."""
    command, *flags = container(rendered, deployment)["args"]
    assert command == "serve"
    return parse(flags)


def notes(given: Object, folder: Path) -> str:
    """NOTES.txt, which `helm template` does not print: rendered by a template of a copy of the chart."""
    chart = folder / "onehop"
    shutil.copytree(CHART, chart, dirs_exist_ok=True)
    (chart / "templates" / "said.yaml").write_text(
        'kind: Notes\nmetadata: {name: said}\ntext: {{ include (print .Template.BasePath "/NOTES.txt") . | toJson }}\n'
    )
    text: str = render(given, chart=chart)["Notes"]["text"]
    return text
