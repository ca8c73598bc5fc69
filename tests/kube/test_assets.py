"""What `make kube-assets` gathered. Where nobody gathered it, all but one of the tests here skip, and say why."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.kube import assets as gathering
from tests.kube.conftest import ASSETS

ROOT = Path(__file__).parents[2]
REASON = "no API server here, so the tests against a real one wait; `make test-kube` builds one and runs them"


@pytest.mark.skipif(not ASSETS, reason=REASON)
def test_everything_that_the_tests_need_is_there(assets: Path) -> None:
    commands = {name: ["--version"] for name in (*gathering.SERVER_NAMES, gathering.CONTROLLERS, "promtool")} | {
        "prometheus": ["--version"],
        "helm": ["version"],
    }
    for name, words in commands.items():
        told = subprocess.run([assets / "bin" / name, *words], capture_output=True, timeout=60, check=False)

        assert told.returncode == 0, name
    for name in ("prometheus-adapter", *gathering.KEDA_COMMANDS):
        assert os.access(assets / "bin" / name, os.X_OK), "they have no way to tell their version"
    wanted = {
        f"{plural}.{manifests.renamed_group or manifests.group}.json"
        for manifests in gathering.MANIFESTS
        for plural in manifests.plurals
    }
    assert {file.name for file in (assets / "crds").iterdir()} == wanted


def test_objects_are_tried_against_the_versions_that_the_guide_installs() -> None:
    guide = dict(re.findall(r"(?m)^(\w+)=(\S+)$", (ROOT / "helm/guide/versions.env").read_text()))

    assert gathering.GIE.version == guide["INFERENCE_EXTENSION_VERSION"]
    assert gathering.GATEWAY_API.version == guide["GATEWAY_API_VERSION"]
    assert gathering.ISTIO.version == f"v{guide['ISTIO_VERSION']}"
