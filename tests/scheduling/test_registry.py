"""Plugins by name, and what a mistake in a configuration file says."""

from __future__ import annotations

from typing import Any

import pytest

from epp.domain import ConfigError
from epp.scheduling.plugins.active_request import ActiveRequestScorer
from epp.scheduling.refused import REFUSED
from epp.scheduling.registry import build, examine, registered


def test_a_plugin_is_built_from_its_name_and_camel_case_parameters() -> None:
    built = build("active-request-scorer", {"idleThreshold": 2, "maxBusyScore": 1})

    assert built == ActiveRequestScorer(idle_threshold=2, max_busy_score=1.0)


def test_every_type_is_built_without_parameters_or_says_which_it_needs() -> None:
    for name, cls in registered().items():
        plugin, mistakes = examine(name, None, "plugins[0]")

        assert type(plugin) is cls or all("needs this parameter" in m.message for m in mistakes), name


def test_every_mistake_of_a_plugin_is_told() -> None:
    _, mistakes = examine("utilization-filter", {"condition": [], "fallbackOnEmpty": 1}, "plugins[0]")

    assert [(m.path.removeprefix("plugins[0].parameters."), m.message) for m in mistakes] == [
        ("condition", "utilization-filter has no such parameter, did you mean 'conditions'?"),
        ("fallbackOnEmpty", "must be true or false, not a whole number"),
        ("conditions", "utilization-filter needs this parameter"),
    ]


@pytest.mark.parametrize("type_name", [*REFUSED, "multicluster-queue-scorer"])
def test_what_is_not_here_is_refused_by_name_with_what_to_use_instead(type_name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(type_name, {}, "plugins[2]")

    assert caught.value.path == "plugins[2].type"
    assert caught.value.message.startswith(f"{type_name} is not in this version: ")
    assert len(caught.value.message) > len(type_name) + 60


def test_nothing_is_refused_by_name_that_is_here() -> None:
    assert not REFUSED.keys() & registered().keys()


@pytest.mark.parametrize(
    ("type_name", "parameters", "path", "says"),
    [
        ("queue-scorrer", {}, "plugins[2].type", "did you mean 'queue-scorer'?"),
        ("zzz", {}, "plugins[2].type", "docs/plugins.md lists those there are"),
        ("affinity", {}, "plugins[2].type", "did you mean 'header-label-affinity-scorer'?"),
        (
            "request-attribute-reporter",
            {"attributes": [{"key": {"name": "a"}, "expression": "usage.cost"}]},
            "plugins[2].parameters.attributes[0].expression",
            "`usage.cost` is not understood",
        ),
        (
            "utilization-filter",
            {"conditions": [{"type": "waiting-queue", "maxValue": "1"}]},
            "plugins[2].parameters.conditions[0].maxValue",
            "must be a number, not text",
        ),
        (
            "utilization-filter",
            {"conditions": [{"type": "queue", "maxValue": 1}]},
            "plugins[2].parameters.conditions[0].type",
            "'queue' is none of active-requests, running-requests, waiting-queue, kv-cache-utilization",
        ),
        (
            "utilization-filter",
            {"conditions": [{"type": "waiting-queue"}]},
            "plugins[2].parameters.conditions[0].maxValue",
            "is required",
        ),
        (
            "core-metrics-extractor",
            {"engineConfigs": [{"name": "mine", "queuedRequestSpec": "mine:queue"}]},
            "plugins[2].parameters.engineConfigs[0].queuedRequestSpec",
            "unknown key, did you mean 'queuedRequestsSpec'?",
        ),
        (
            "disagg-profile-handler",
            {"profiles": {"decode": 1}},
            "plugins[2].parameters.profiles.decode",
            "must be text, not a whole number",
        ),
        (
            "metrics-data-source",
            {"scheme": "ftp"},
            "plugins[2].parameters.scheme",
            "'ftp' is none of http, https",
        ),
        (
            "utilization-detector",
            {"metricsStalenessThreshold": "soon"},
            "plugins[2].parameters.metricsStalenessThreshold",
            "'soon' is not a duration",
        ),
        (
            "utilization-detector",
            {"metricsStalenessThreshold": 200},
            "plugins[2].parameters.metricsStalenessThreshold",
            "must be a duration such as 200ms or 1m30s",
        ),
        (
            "prefix-cache-affinity-filter",
            {"maxTTFTPenaltyMs": -1},
            "plugins[2].parameters.maxTTFTPenaltyMs",
            "must not be negative",
        ),
        ("prefix-cache-scorer", {"hashBlockSize": 5}, "plugins[2].parameters.hashBlockSize", "as blockSizeTokens"),
        ("token-producer", {"vllm": {}}, "plugins[2].parameters.vllm", "leave `vllm` out"),
        (
            "active-request-scorer",
            {"idleTreshold": 1},
            "plugins[2].parameters.idleTreshold",
            "did you mean 'idleThreshold'?",
        ),
        (
            "active-request-scorer",
            {"idle_threshold": 1},
            "plugins[2].parameters.idle_threshold",
            "did you mean 'idleThreshold'?",
        ),
        ("random-picker", {"seed": 1}, "plugins[2].parameters.seed", "random-picker has no such parameter"),
        ("active-request-scorer", {"idleThreshold": "1"}, "plugins[2].parameters.idleThreshold", "a whole number, not"),
        ("active-request-scorer", {"idleThreshold": True}, "plugins[2].parameters.idleThreshold", "a whole number"),
        ("active-request-scorer", {"idleThreshold": -1}, "plugins[2].parameters.idleThreshold", "not be negative"),
        ("active-request-scorer", {"maxBusyScore": 2}, "plugins[2].parameters.maxBusyScore", "from 0 to 1"),
        ("active-request-scorer", {"softness": float("inf")}, "plugins[2].parameters.softness", "finite"),
        ("queue-scorer", {"staleAfterSeconds": 0}, "plugins[2].parameters.staleAfterSeconds", "above 0"),
        ("running-requests-size-scorer", {"staleAfterSeconds": -1}, "plugins[2].parameters.staleAfterSeconds", "above"),
        (
            "kv-cache-utilization-scorer",
            {"staleAfterSeconds": float("nan")},
            "plugins[2].parameters.staleAfterSeconds",
            "above 0",
        ),
        ("token-load-scorer", {"queueThresholdTokens": 0}, "plugins[2].parameters.queueThresholdTokens", "above 0"),
        (
            "approx-prefix-cache-producer",
            {"lruCapacityPerServer": 0},
            "plugins[2].parameters.lruCapacityPerServer",
            "above 0",
        ),
    ],
)
def test_a_mistake_is_named_by_its_path(type_name: str, parameters: dict[str, Any], path: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(type_name, parameters, "plugins[2]")

    assert caught.value.path == path
    assert says in caught.value.message
