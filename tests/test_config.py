"""An EndpointPickerConfig as it is written: what is read, and that every mistake is told with its path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.config import GATES, BandSpec, FlowSpec, PluginSpec, ProfileEntry, Ref, is_picker_config, read

HEAD = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"


def mistakes(text: str) -> dict[str, str]:
    return {mistake.path: mistake.message for mistake in read((HEAD + text).encode())[1]}


def test_plugins_and_profiles_are_read_with_their_places() -> None:
    text = """
plugins:
- type: queue-scorer
- {name: mine, type: max-score-picker, parameters: {maxNumOfEndpoints: 2}}
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: queue-scorer, weight: 2}
  - pluginRef: mine
"""
    file, wrong = read((HEAD + text).encode())

    assert not wrong
    assert file.plugins == (
        PluginSpec("queue-scorer", "queue-scorer", {}, "plugins[0]"),
        PluginSpec("mine", "max-score-picker", {"maxNumOfEndpoints": 2}, "plugins[1]"),
    )
    (profile,) = file.profiles
    assert profile.entries == (
        ProfileEntry(Ref("queue-scorer", "schedulingProfiles[0].plugins[0].pluginRef"), 2.0),
        ProfileEntry(Ref("mine", "schedulingProfiles[0].plugins[1].pluginRef"), None),
    )
    assert file.gates == GATES
    assert file.parsers is None
    assert file.data.inject_defaults


def test_flow_control_is_read_in_bytes_and_seconds() -> None:
    text = """
featureGates: [flowControl]
flowControl:
  maxBytes: 1Gi
  maxRequests: "10k"
  defaultRequestTTL: 1m30s
  noEndpointRequestTTL: 0s
  enableEviction: true
  usageLimitPolicyPluginRef: limit
  saturationDetector: {pluginRef: detector}
  defaultPriorityBand: {maxRequests: 7}
  defaultNegativePriorityBand: {maxBytes: 1M}
  priorityBands:
  - {priority: -5, fairnessPolicyRef: f, orderingPolicyRef: o}
"""
    file, wrong = read((HEAD + text).encode())

    assert not wrong
    assert file.gates["flowControl"]
    assert file.flow == FlowSpec(
        bytes_max=2**30,
        requests_max=10_000,
        request_ttl_s=90.0,
        no_endpoint_request_ttl_s=0.0,
        default_band=BandSpec(requests_max=7),
        default_negative_band=BandSpec(bytes_max=10**6),
        bands=(
            BandSpec(
                -5,
                fairness=Ref("f", "flowControl.priorityBands[0].fairnessPolicyRef"),
                ordering=Ref("o", "flowControl.priorityBands[0].orderingPolicyRef"),
            ),
        ),
        usage_limit=Ref("limit", "flowControl.usageLimitPolicyPluginRef"),
        detector=Ref("detector", "flowControl.saturationDetector.pluginRef"),
        evict=True,
    )


def test_sources_and_parsers_are_read() -> None:
    text = """
dataLayer:
  injectDefaults: false
  discovery: {pluginRef: files}
  sources:
  - pluginRef: metrics
    extractors: [{pluginRef: core}]
requestHandler:
  parsers: [{pluginRef: openai-parser}]
"""
    file, wrong = read((HEAD + text).encode())

    assert not wrong
    assert not file.data.inject_defaults
    assert file.data.discovery == Ref("files", "dataLayer.discovery.pluginRef")
    assert file.data.sources is not None
    (source,) = file.data.sources
    assert (source.source.name, [ref.name for ref in source.extractors]) == ("metrics", ["core"])
    assert file.parsers is not None
    assert [ref.name for ref in file.parsers] == ["openai-parser"]


def test_what_is_out_of_date_is_read_and_noted() -> None:
    text = """
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
featureGates: [dataLayer, flowControl=false, haPopulateNonLeaderDatastore=false]
saturationDetector: {queueDepthThreshold: 9, metricsStalenessThreshold: 1s}
parser: {pluginRef: openai-parser}
"""
    file, wrong = read(text.encode())

    assert not wrong
    (detector,) = file.plugins
    assert (detector.type, dict(detector.parameters)) == (
        "utilization-detector",
        {"queueDepthThreshold": 9, "metricsStalenessThreshold": "1s"},
    )
    assert file.flow.detector is not None
    assert file.flow.detector.name == detector.name
    assert [note.partition(":")[0] for note in file.notes] == [
        "apiVersion",
        "featureGates[0]",
        "featureGates[2]",
        "saturationDetector",
        "parser",
    ]


def test_all_mistakes_are_told_at_once() -> None:
    text = """
plugin: []
featureGates: [flowcontrol, flowControl=yes]
plugins:
- {typ: x}
- {type: queue-scorer, parameters: [1]}
- 7
schedulingProfiles:
- name: a
  plugins: [{pluginRef: x, weight: heavy}, {weight: 1}]
flowControl:
  maxBytes: lots
  maxRequests: -1
  defaultRequestTTL: 60
  priorityBands: [{priority: 1}, {priority: 1}, {}, {priority: 1.5}]
  saturationDetector: {pluginRef: a, threshold: 1}
dataLayer:
  peerDiscovery: {pluginRef: x}
  injectDefaults: "no"
"""

    assert mistakes(text) == {
        "plugin": "unknown key, did you mean 'plugins'?",
        "featureGates[0]": "unknown feature gate \"flowcontrol\", did you mean 'flowControl'?",
        "featureGates[1]": '"yes" is neither true nor false',
        "plugins[0].typ": "unknown key, did you mean 'type'?",
        "plugins[0].type": "is required",
        "plugins[1].parameters": "must be a mapping, not a list",
        "plugins[2]": 'must be a mapping, not "7"',
        "schedulingProfiles[0].plugins[0].weight": "must be a number",
        "schedulingProfiles[0].plugins[1].pluginRef": "is required",
        "flowControl.maxBytes": "'lots' is not a quantity such as 4194304, 10M or 10Mi",
        "flowControl.maxRequests": "must be a quantity such as 5000, 10M or 1Gi",
        "flowControl.defaultRequestTTL": "must be a duration such as 30s or 1m30s",
        "flowControl.priorityBands[1].priority": "has a band already",
        "flowControl.priorityBands[2].priority": "is required",
        "flowControl.priorityBands[3].priority": "must be a whole number of 32 bits",
        "flowControl.saturationDetector.threshold": "unknown key; known: pluginRef",
        "dataLayer.peerDiscovery": "no plugin for it exists: replicas do not share their state; run one with a standby",
        "dataLayer.injectDefaults": "must be true or false",
    }


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", "file"),
        ("[1]", "file"),
        ("kind: EndpointPickerConfig", "apiVersion"),
        ("apiVersion: llm-d.ai/v1\nkind: EndpointPickerConfig", "apiVersion"),
        ("apiVersion: llm-d.ai/v1alpha1\nkind: Deployment", "kind"),
        (HEAD + "plugins: {}", "plugins"),
        (HEAD + "plugins: [{type: ''}]", "plugins[0].type"),
        (HEAD + "plugins:\n- type: a\n  type: b", "plugins[0].type"),
        (HEAD + "plugins: [{type: a, parameters: {b: {c: 1, c: 2}}}]", "plugins[0].parameters.b.c"),
        (
            HEAD + "saturationDetector: {pluginRef: a}\nflowControl: {saturationDetector: {pluginRef: a}}",
            "saturationDetector",
        ),
        (HEAD + "parser: {pluginRef: a}\nrequestHandler: {parsers: [{pluginRef: a}]}", "parser"),
        (HEAD + "x: [", "line 4, column 1"),
    ],
)
def test_a_file_of_another_shape_is_told_where_it_is_wrong(text: str, path: str) -> None:
    assert path in {mistake.path for mistake in read(text.encode())[1]}


def test_aliases_cannot_make_a_small_file_endless() -> None:
    levels = "\n".join(f"  l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 9))
    text = f"plugins:\n- type: x\n  parameters:\n    l0: &l0 [1]\n{levels.replace('  l', '    l')}"

    assert "has more than" in mistakes(text)["file"]


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (HEAD, True),
        ('{"apiVersion": "llm-d.ai/v1alpha1", "kind": "EndpointPickerConfig"}', True),
        ("kind: 'EndpointPickerConfig' # ours", True),
        ("kind: EndpointPickerConfigs", False),
        ("endpoints: []", False),
        ("version: v0.3\n# kind: EndpointPickerConfig", False),
    ],
)
def test_a_configuration_is_known_by_its_kind(text: str, is_one: bool) -> None:
    assert is_picker_config(text.encode()) is is_one


words = st.sampled_from(
    [
        "plugins", "type", "name", "parameters", "schedulingProfiles", "pluginRef", "weight", "flowControl", "parser",
        "priorityBands", "priority", "maxBytes", "dataLayer", "sources", "featureGates", "requestHandler", "parsers",
        "saturationDetector", "apiVersion", "kind", "1Gi", "x",
    ]
)  # fmt: skip
trees = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@given(trees)
def test_any_tree_is_read_or_has_mistakes(tree: object) -> None:
    import yaml

    file, wrong = read(yaml.safe_dump(tree).encode())

    assert wrong or file.plugins is not None
    assert all(mistake.path and mistake.message for mistake in wrong)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_have_mistakes(content: bytes) -> None:
    assert read(content)[1]
