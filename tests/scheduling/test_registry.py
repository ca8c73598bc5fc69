"""Plugins by name, and what a mistake in a configuration file says."""

from __future__ import annotations

from typing import Any

import pytest

from epp.domain import ConfigError
from epp.scheduling.plugins.active_request import ActiveRequestScorer
from epp.scheduling.registry import build, registered


def test_a_plugin_is_built_from_its_name_and_camel_case_parameters() -> None:
    built = build("active-request-scorer", {"idleThreshold": 2, "maxBusyScore": 1})

    assert built == ActiveRequestScorer(idle_threshold=2, max_busy_score=1.0)


def test_every_type_is_built_without_parameters() -> None:
    assert [type(build(name)) for name in registered()] == list(registered().values())


@pytest.mark.parametrize(
    ("type_name", "parameters", "path", "says"),
    [
        ("queue-scorrer", {}, "plugins[2].type", "did you mean 'queue-scorer'?"),
        ("zzz", {}, "plugins[2].type", "known: active-request-scorer, "),
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
        ("active-request-scorer", {"idleThreshold": "1"}, "plugins[2].parameters.idleThreshold", "Expected `int`"),
        ("active-request-scorer", {"idleThreshold": True}, "plugins[2].parameters.idleThreshold", "Expected `int`"),
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
        ("approx-prefix-cache-producer", {"capacityTokens": 0}, "plugins[2].parameters.capacityTokens", "above 0"),
    ],
)
def test_a_mistake_is_named_by_its_path(type_name: str, parameters: dict[str, Any], path: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(type_name, parameters, "plugins[2]")

    assert caught.value.path == path
    assert says in caught.value.message
