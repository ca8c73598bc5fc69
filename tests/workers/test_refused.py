"""What cannot go with workers is refused by name, before anything listens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from epp.app import App
from epp.domain import ConfigError
from epp.settings import parse

CONFIG = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: {plugin}
- type: max-score-picker
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: {plugin}
  - pluginRef: max-score-picker
"""


def app(tmp_path: Path, plugin: str, workers: int) -> App:
    file = tmp_path / "endpoints.json"
    file.write_text(json.dumps({"endpoints": [{"name": "a", "address": "127.0.0.1", "port": 9}]}))
    ports = ["--grpc-port=0", "--grpc-health-port=0", "--metrics-port=0", "--admin-address=127.0.0.1:0"]
    flags = [f"--discovery-file={file}", "--bind-address=127.0.0.1", "--secure-serving=false", f"--workers={workers}"]
    flags.append("--allow-experimental-plugins")
    return App(parse([*ports, *flags, f"--config-text={CONFIG.format(plugin=plugin)}"]))


async def test_a_plugin_that_adds_to_answers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--workers: more than 1 cannot go with session-affinity-scorer"):
        await app(tmp_path, "session-affinity-scorer", 2).run()


@pytest.mark.parametrize(("plugin", "workers"), [("session-affinity-scorer", 1), ("queue-scorer", 2)])
async def test_others_and_one_process_start(tmp_path: Path, plugin: str, workers: int) -> None:
    made = app(tmp_path, plugin, workers)
    made.stop.set()
    await made.run()
