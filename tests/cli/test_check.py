"""`onehop check` and the command line itself: good files, bad files, wrong words."""

from __future__ import annotations

from pathlib import Path

import pytest

from epp.__main__ import main
from epp.cli.quickstart import CONFIG

GOOD = "endpoints:\n- {name: a, address: 10.0.0.1, port: 8000}\n"


def test_good_files_are_told_by_their_content(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "any-name"
    file.write_text(GOOD)
    code = main(["check", str(file), str(CONFIG)])
    said = capsys.readouterr().out

    assert code == 0
    assert "a discovery file of 1 endpoints, good" in said
    assert "a semantic configuration of 5 decisions over the models llama3-8b, phi4-mini, good" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"endpoints:\n- {name: a, adress: 10.0.0.1, port: 8000}\n", "endpoints[0].adress: unknown key"),
        (b'{"endpoints": [{"name": "a", "address": "10.0.0.1", "port": 0}]}', "endpoints[0].port: must be"),
        (b"version: v0.9\n", "version: 'v0.9' is not supported"),
        (b"apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfigs\n", 'kind: "EndpointPickerConfigs" is not'),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
        (b"[" * 100_000, "nested"),
        (b"", "is empty"),
    ],
)
def test_every_mistake_is_a_line_with_its_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, said: str
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    code = main(["check", str(file)])
    told = capsys.readouterr().err

    assert code == 1
    assert all(line.startswith(f"{file}: ") for line in told.splitlines())
    assert said in told


PICKER = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
featureGates: [flowControl]
plugins:
- type: prefill-filter
- type: decode-filter
- type: prefix-cache-scorer
- {type: session-affinity-scorer, name: sticky}
- type: max-score-picker
- type: disagg-profile-handler
- {type: probabilistic-admitter}
- {type: queue-scorer, name: forgotten}
schedulingProfiles:
- name: prefill
  plugins: [{pluginRef: prefill-filter}]
- name: decode
  plugins:
  - pluginRef: decode-filter
  - {pluginRef: prefix-cache-scorer, weight: 2}
  - {pluginRef: sticky, weight: 0.5}
flowControl:
  priorityBands: [{priority: 1, maxRequests: 9}]
requestHandler: {parsers: [{pluginRef: openai-parser}]}
"""


def test_a_picker_configuration_is_told_in_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "picker.yaml"
    file.write_text(PICKER)
    code = main(["check", "--allow-experimental-plugins", str(file)])
    said = capsys.readouterr().out.splitlines()

    assert code == 0
    assert said == [
        f"{file}: an EndpointPickerConfig of 2 profiles, good",
        "  facts that others look at come from approx-prefix-cache-producer",
        "  probabilistic-admitter may refuse the request",
        "  disagg-profile-handler runs the profiles prefill and decode",
        "  profile 'prefill' keeps the endpoints of prefill-filter, scores nothing, and takes one by max-score-picker",
        "  profile 'decode' keeps the endpoints of decode-filter, adds up prefix-cache-scorer x 2 and sticky x 0.5,"
        " and takes one by max-score-picker",
        "  bodies are read by openai-parser alone",
        "  requests wait 60 s at most while utilization-detector says that the pool is full,"
        " up to what static-usage-limit-policy says",
        "  priority 1: 9 requests and 1000000000 bytes may wait; global-strict-fairness-policy among tenants,"
        " fcfs-ordering-policy within one",
        "  every other priority: 5000 requests and 1000000000 bytes may wait; global-strict-fairness-policy among"
        " tenants, fcfs-ordering-policy within one",
        "  implied: approx-prefix-cache-producer, which other plugins go by",
        "  implied: the picker of profile 'prefill' is max-score-picker, the only one there is",
        "  implied: the picker of profile 'decode' is max-score-picker, the only one there is",
        "  implied: openai-parser, which requestHandler.parsers[0].pluginRef names",
        "  note: plugins[7]: forgotten is used nowhere, so it does nothing",
    ]


def test_all_mistakes_of_a_picker_configuration_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "picker.yaml"
    file.write_text(PICKER.replace("decode-filter\n", "decode-filtre\n", 1).replace("weight: 2", "wait: 2"))

    assert main(["check", str(file)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"{file}: schedulingProfiles[1].plugins[1].wait: unknown key, did you mean 'weight'?",
        f"{file}: plugins[1].type: unknown plugin type 'decode-filtre', did you mean 'decode-filter'?",
        f"{file}: plugins[3].type: session-affinity-scorer is experimental (alpha): allow such plugins by"
        " --allow-experimental-plugins",
        f"{file}: schedulingProfiles[1].plugins[0].pluginRef: there is no plugin 'decode-filter',"
        " did you mean 'decode-filtre'?",
    ]


def test_one_bad_file_fails_the_check_of_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = tmp_path / "good.yaml"
    good.write_text(GOOD)

    assert main(["check", str(tmp_path / "missing"), str(good)]) == 1
    assert "No such file" in capsys.readouterr().err


def test_an_unknown_command_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["srve"]) == 2
    assert "there is no command 'srve'" in capsys.readouterr().err


def test_flags_without_a_command_serve(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--grpc-port=1"]) == 1
    assert "onehop serve: --discovery-file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("version: v0.3\n", "default_model"),
        (CONFIG.read_text().replace("priority: 10", "priorty: 10", 1), "priorty"),
    ],
)
def test_a_bad_semantic_file_stops_the_start_with_its_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, said: str
) -> None:
    endpoints, semantic = tmp_path / "endpoints.yaml", tmp_path / "semantic.yaml"
    endpoints.write_text(GOOD)
    semantic.write_text(content)
    ports = [f"--{name}-port=0" for name in ("grpc", "grpc-health", "metrics")]
    code = main(["serve", f"--discovery-file={endpoints}", f"--semantic-config-file={semantic}", *ports])
    told = capsys.readouterr().err

    assert code == 1
    assert f"onehop serve: {semantic}: " in told
    assert said in told


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--config-file={file}"], "{file}: plugins[0].type: unknown plugin type 'queue', did you mean"),
        (["--config-text=kind: x"], "--config-text: apiVersion: is required (and 1 more)"),
        (["--config-file=/does/not/exist"], "/does/not/exist: No such file"),
        (["--config-file={file}", "--admission=llm-d-legacy"], "--admission: llm-d-legacy: flowControl of {file} says"),
        (["--config-text=x", "--config-file={file}"], "--config-text: cannot go with --config-file"),
    ],
)
def test_a_bad_picker_configuration_stops_the_start_with_its_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    endpoints, file = tmp_path / "endpoints.yaml", tmp_path / "picker.yaml"
    endpoints.write_text(GOOD)
    file.write_text("apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins: [{type: queue}]\n")
    ports = [f"--{name}-port=0" for name in ("grpc", "grpc-health", "metrics")]
    code = main(["serve", f"--discovery-file={endpoints}", *(f.format(file=file) for f in flags), *ports])

    assert code == 1
    assert f"onehop serve: {said.format(file=file)}" in capsys.readouterr().err
