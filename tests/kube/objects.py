"""Objects as users write them: say what matters, default the rest."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]


def pool(name: str, /, *ports: int, labels: dict[str, str] | None = None, **spec: Any) -> Object:
    """An InferencePool."""
    return {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": labels or {"app": name}},
            "targetPorts": [{"number": port} for port in ports or (8000,)],
            "endpointPickerRef": {"name": f"{name}-epp", "port": {"number": 9002}},
        }
        | spec,
    }


def old_pool(name: str, port: int = 8000, **labels: str) -> Object:
    """An InferencePool as it was before v1."""
    return {
        "apiVersion": "inference.networking.x-k8s.io/v1alpha2",
        "kind": "InferencePool",
        "metadata": {"name": name},
        "spec": {
            "selector": labels or {"app": name},
            "targetPortNumber": port,
            "extensionRef": {"name": f"{name}-epp"},
        },
    }


def pod(name: str, *, node: str = "", **labels: str) -> Object:
    """A pod; on a node it takes two deletions to be gone, as with a kubelet that lets it finish."""
    spec: Object = {"containers": [{"name": "server", "image": "example.com/model-server:1"}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": spec | ({"nodeName": node} if node else {}),
    }


def running(address: str, *, ready: bool = True) -> Object:
    """The change a kubelet would make to a pod's status."""
    condition = {"type": "Ready", "status": str(ready)}
    return {
        "status": {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [condition],
        }
    }


def objective(name: str, priority: int, pool: str, group: str = "llm-d.ai") -> Object:
    """An InferenceObjective."""
    return {
        "apiVersion": f"{group}/v1alpha2",
        "kind": "InferenceObjective",
        "metadata": {"name": name},
        "spec": {"priority": priority, "poolRef": {"group": "inference.networking.k8s.io", "name": pool}},
    }


def rewrite(name: str, pool: str, asked: str, *targets: str, group: str = "llm-d.ai") -> Object:
    """An InferenceModelRewrite of one rule."""
    rule = {
        "matches": [{"model": {"type": "Exact", "value": asked}}],
        "targets": [{"weight": 1, "modelRewrite": target} for target in targets],
    }
    return {
        "apiVersion": f"{group}/v1alpha2",
        "kind": "InferenceModelRewrite",
        "metadata": {"name": name},
        "spec": {"poolRef": {"group": "inference.networking.k8s.io", "name": pool}, "rules": [rule]},
    }
