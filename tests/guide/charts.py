"""The guide's manifests: as they lie in `helm/guide`, and as helm renders our chart with the guide's values."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.helm.chart import HELM

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "helm" / "guide"
CHART = ROOT / "helm" / "onehop"
SEMANTIC = GUIDE / "semantic.yaml"
RELEASE = "onehop"
NAMESPACES = {"w1": "llm", "w2": "llm", "w3": "llm", "drop-in": "vllm-semantic-router-system"}

Json = dict[str, Any]


def objects(name: str, namespace: str | None = None) -> list[Json]:
    """The objects of a manifest of the guide; `namespace` for those that say none, as `kubectl apply -n` has it."""
    found = [one for one in yaml.safe_load_all((GUIDE / name).read_text()) if one]
    for one in found:
        if namespace is not None and one["kind"] not in ("Namespace",):
            one["metadata"].setdefault("namespace", namespace)
    return found


def versions() -> dict[str, str]:
    """`versions.env`."""
    return dict(re.findall(r"^(\w+)=(\S+)$", (GUIDE / "versions.env").read_text(), re.MULTILINE))


def rendered(values: str, namespace: str, *more: str) -> list[Json]:
    """What `helm upgrade --install` with the guide's command line applies, for one values file of it."""
    assert HELM is not None
    command = [HELM, "template", RELEASE, str(CHART), "--namespace", namespace, *more]
    command += ["--kube-version", versions()["KUBERNETES_VERSION"]]  # else that of whoever built helm
    command += ["-f", str(GUIDE / f"{values}.yaml"), "--set-file", f"semantic.config={SEMANTIC}"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return [one for one in yaml.safe_load_all(ran.stdout) if one]


def wiring(name: str) -> list[Json]:
    """Everything that is in the cluster for one wiring, the model servers' Deployments aside."""
    kept = objects("drop-in/objects.yaml", "default") if name == "drop-in" else objects("gateway.yaml")
    return [*kept, *rendered(f"{name}-values", NAMESPACES[name])]


def gateway(name: str) -> str:
    """The Gateway of a wiring."""
    return "default/inference-gateway" if name == "drop-in" else "gateway/inference-gateway"


def pool_namespace(name: str) -> str:
    """Where the model servers of a wiring are."""
    return "default" if name == "drop-in" else "llm"
