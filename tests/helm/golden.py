"""What the chart renders, word for word, for every mode and for odd values: `golden/NAME.yaml`.

python -m tests.helm.golden        writes all of them anew
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from .chart import CHART, MODES, NAMESPACE, RELEASE, Object, example, helm

FOLDER = Path(__file__).parent / "golden"
_MADE_KEY = re.compile(r"^(  key: )[A-Za-z0-9+/=]+$", re.MULTILINE)

WATCHED: Object = {
    "mode": "oneHop",
    "pools": [
        {"name": "a", "selector": {"matchLabels": {"app": "a"}}},
        {"name": "b", "namespace": "team-b", "create": False, "models": ["b/1", "b-lora"]},
    ],
    "gateway": {"provider": "istio", "parentRefs": [{"name": "g", "namespace": "edge", "sectionName": "https"}]},
    "httpRoute": {"create": True, "hostnames": ["llm.example"], "defaultPool": "b"},
    "secureServing": False,
    "replicas": 2,
    "flags": {"tenant-from": "attribute:xds.route_name", "admin-address": "0.0.0.0:9091", "v": 4},
    "adminTokenSecret": "admin",
    "networkPolicy": {
        "create": True,
        "gateways": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "edge"}}}],
        "admin": [{"podSelector": {"matchLabels": {"app": "ops"}}}],
    },
    "monitoring": {
        "podMonitor": {"create": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"create": True},
        "dashboard": {"create": True},
    },
    "autoscaling": {"create": True},
    "podLabels": {"team": "search"},
    "fullnameOverride": "picker",
}
LISTED: Object = {
    "pools": [{"name": "llms", "selector": {"matchLabels": {"app": "vllm"}}, "failureMode": "FailClose"}],
    "discovery": {
        "endpoints": [
            {"name": "llama-0", "address": "192.0.2.10", "port": 8000, "labels": {"version": "1.10", "on": "yes"}},
            {"name": "0123", "address": "2001:db8::1", "port": 8000},
        ]
    },
    "semantic": {"config": "  # indented\nversion: v0.3\n"},
    "certificateSecret": "picker-tls",
    "image": {"repository": "registry.example/onehop", "digest": "sha256:" + "0a" * 32},
    "monitoring": {"serviceMonitor": {"create": True, "interval": "1m"}},
}
CASES: Mapping[str, Object] = {
    **{name: example(mode) for mode, name in MODES.items()},
    "odd-watched": WATCHED,
    "odd-listed": LISTED,
    "odd-standalone-closed": {
        "mode": "standalone",
        "discovery": {"existingConfigMap": "mine"},
        "standalone": {"failOpen": False, "serviceType": "LoadBalancer", "envoy": {"runAsUser": None}},
        "highAvailability": "activeActive",
        "replicas": 3,
        "serviceAccount": {"create": False, "name": "theirs"},
    },
    "odd-guide-passive": {
        "mode": "guideDropIn",
        "pools": [{"name": "a", "pickerService": "old", "port": 9200}, {"name": "b.c"}],
        "secureServing": True,
        "highAvailability": "activePassive",
        "replicas": 2,
        "decisionKey": {"existingSecret": "mine"},
        "events": False,
    },
}


def rendered(given: Object) -> str:
    """As helm writes it; a key that is made anew at each rendering is left out."""
    text = helm("template", RELEASE, CHART, "--namespace", NAMESPACE, given=given)
    return _MADE_KEY.sub(r"\1MADE-ANEW", text)


def main() -> None:
    """Write every file, and remove those of no case."""
    texts = {f"{name}.yaml": rendered(given) for name, given in CASES.items()}
    FOLDER.mkdir(exist_ok=True)
    for stale in FOLDER.glob("*.yaml"):
        stale.unlink()
    for name, text in texts.items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
