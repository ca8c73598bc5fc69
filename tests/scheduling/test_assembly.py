"""What a file comes to: what is implied, what refers to what, and every mistake by its path."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from epp.domain import ConfigError
from epp.options.flow import (
    Band,
    Concurrency,
    EdfOrderingPolicy,
    FlowControlConfig,
    PriorityHoldbackPolicy,
    RoundRobinFairnessPolicy,
    StaticUsageLimitPolicy,
    Utilization,
)
from epp.scheduling.assembly import Assembly, examine, load
from epp.scheduling.framework import Profile
from epp.scheduling.handlers import Handled

from . import make


def text(*plugins: Any, **more: Any) -> bytes:
    """A file; a plugin is its type, or (type, parameters), or a mapping."""
    listed = [{"type": p} if isinstance(p, str) else p for p in plugins]
    listed = [p if isinstance(p, dict) else {"type": p[0], "parameters": p[1]} for p in listed]
    head = {"apiVersion": "llm-d.ai/v1alpha1", "kind": "EndpointPickerConfig"}
    return yaml.safe_dump({**head, "plugins": listed, **more}).encode()


def profile(name: str, *refs: Any) -> dict[str, Any]:
    """A profile of names, or of (name, weight)."""
    entries = [{"pluginRef": r} if isinstance(r, str) else {"pluginRef": r[0], "weight": r[1]} for r in refs]
    return {"name": name, "plugins": entries}


def assembled(*plugins: Any, experimental: bool = False, **more: Any) -> Assembly:
    return load(text(*plugins, **more), experimental=experimental)


def mistakes(*plugins: Any, **more: Any) -> dict[str, str]:
    return {m.path: m.message for m in examine(text(*plugins, **more))[1]}


def sentence(of: Profile) -> tuple[list[str], list[tuple[str, float]], str]:
    return [f.type for f in of.filters], [(s.type, w) for s, w in of.scorers], of.picker.type


def test_without_profiles_there_is_one_of_all_filters_scorers_and_pickers() -> None:
    scheduler = assembled("queue-scorer", "decode-filter", "random-picker", "lora-affinity-scorer").scheduler

    assert isinstance(scheduler, Profile)
    assert scheduler.name == "default"
    assert sentence(scheduler) == (
        ["decode-filter"],
        [("queue-scorer", 1.0), ("lora-affinity-scorer", 1.0)],
        "random-picker",
    )


def test_weights_are_one_and_the_picker_takes_the_best_unless_the_file_says_otherwise() -> None:
    profiles = [profile("p", "queue-scorer", ("kv-cache-utilization-scorer", 2.5))]
    assembly = assembled("queue-scorer", "kv-cache-utilization-scorer", schedulingProfiles=profiles)

    assert isinstance(assembly.scheduler, Profile)
    assert sentence(assembly.scheduler) == (
        [],
        [("queue-scorer", 1.0), ("kv-cache-utilization-scorer", 2.5)],
        "max-score-picker",
    )
    assert "the picker of profile 'p' is max-score-picker" in assembly.implied


def test_the_only_picker_of_the_file_is_the_profiles() -> None:
    one = assembled("queue-scorer", "random-picker", schedulingProfiles=[profile("p", "queue-scorer")])
    two = assembled(
        "queue-scorer", "random-picker", "weighted-random-picker", schedulingProfiles=[profile("p", "queue-scorer")]
    )

    assert isinstance(one.scheduler, Profile)
    assert isinstance(two.scheduler, Profile)
    assert (one.scheduler.picker.type, two.scheduler.picker.type) == ("random-picker", "max-score-picker")


def test_facts_that_plugins_go_by_get_a_producer_once() -> None:
    assembly = assembled("prefix-cache-scorer", "no-hit-lru-scorer")
    named = assembled(("approx-prefix-cache-producer", {"lruCapacityPerServer": 7}), "prefix-cache-scorer")

    assert [p.type for p in assembly.scheduler.producers] == ["approx-prefix-cache-producer"]
    (producer,) = named.scheduler.producers
    assert producer.lru_capacity_per_server == 7  # type: ignore[attr-defined]  # the one of the file
    assert assembled("queue-scorer").scheduler.producers == []


def test_every_port_gets_plugins_of_its_own() -> None:
    content = text("prefix-cache-scorer")
    one, other = load(content).scheduler, load(content).scheduler

    assert not {id(p) for p in one.plugins} & {id(p) for p in other.plugins}


def test_one_plugin_in_two_profiles_is_one_plugin() -> None:
    scheduler = assembled(
        "queue-scorer",
        "no-hit-lru-scorer",
        "disagg-profile-handler",
        schedulingProfiles=[profile("decode", "no-hit-lru-scorer"), profile("prefill", "no-hit-lru-scorer")],
    ).scheduler

    assert isinstance(scheduler, Handled)
    assert [p.type for p in scheduler.plugins].count("no-hit-lru-scorer") == 1


def test_plugins_without_a_turn_are_told_how_it_went() -> None:
    scheduler = assembled("queue-scorer", "destination-endpoint-served-verifier").scheduler
    query, (endpoint,) = make.query(), make.endpoints(1)
    pick = scheduler.run(query, [endpoint])

    assert pick is not None
    assert scheduler.heads(query, endpoint, "a:1") == [("x-conformance-test-served-endpoint", "a:1")]


def test_experimental_plugins_are_allowed_by_a_flag() -> None:
    assert mistakes("session-affinity-scorer") == {
        "plugins[0].type": "session-affinity-scorer is experimental (alpha): allow such plugins by"
        " --allow-experimental-plugins"
    }
    assert assembled("session-affinity-scorer", experimental=True).scheduler.run(make.query(), make.endpoints(1))


def test_a_detector_may_also_be_a_filter_of_a_profile() -> None:
    scheduler = assembled("utilization-detector", schedulingProfiles=[profile("p", "utilization-detector")]).scheduler

    pool = [make.endpoint("full", waiting=9, kv_usage=0), make.endpoint("free", waiting=0, kv_usage=0)]
    pick = scheduler.run(make.query(), pool)
    assert pick is not None
    assert pick.endpoint is pool[1]


def test_flow_control_has_the_go_pickers_defaults() -> None:
    assert assembled("queue-scorer").flow == FlowControlConfig()
    assert FlowControlConfig() == FlowControlConfig(
        enabled=False,
        bytes_max=None,
        requests_max=None,
        request_ttl_s=60.0,
        no_endpoint_request_ttl_s=60.0,
        default_band=Band(0, 10**9, 5000),
        default_negative_band=None,
        bands=(),
        usage_limit=StaticUsageLimitPolicy(1.0),
        detector=Utilization(5, 0.8, 0.2, 0.0),
        evict=False,
    )


def test_flow_control_is_what_the_file_says() -> None:
    flow = assembled(
        ("concurrency-detector", {"maxConcurrency": 9, "concurrencyMode": "hybrid"}),
        {"name": "held", "type": "priority-holdback-policy", "parameters": {"minCeiling": 0.25}},
        "round-robin-fairness-policy",
        experimental=True,
        featureGates=["flowControl"],
        flowControl={
            "maxBytes": "1Gi",
            "maxRequests": 0,
            "defaultRequestTTL": "0s",
            "saturationDetector": {"pluginRef": "concurrency-detector"},
            "usageLimitPolicyPluginRef": "held",
            "priorityBands": [{"priority": 3, "maxRequests": 1, "fairnessPolicyRef": "round-robin-fairness-policy"}],
            "defaultNegativePriorityBand": {"orderingPolicyRef": "edf-ordering-policy", "maxBytes": 0},
        },
    ).flow

    assert isinstance(flow.detector, Concurrency)
    assert (flow.detector.max_concurrency, flow.detector.concurrency_mode) == (9, "hybrid")
    assert flow == FlowControlConfig(
        enabled=True,
        bytes_max=2**30,
        requests_max=None,
        request_ttl_s=None,
        no_endpoint_request_ttl_s=None,
        default_negative_band=Band(0, 0, 5000, ordering=EdfOrderingPolicy()),
        bands=(Band(3, 10**9, 1, fairness=RoundRobinFairnessPolicy()),),
        usage_limit=PriorityHoldbackPolicy(0.25),
        detector=flow.detector,
    )


def test_the_old_detector_at_the_top_is_the_detector() -> None:
    flow = assembled("queue-scorer", saturationDetector={"queueDepthThreshold": 9}).flow

    assert isinstance(flow.detector, Utilization)
    assert flow.detector.queue_depth_threshold == 9


def test_sources_are_the_named_ones_and_else_those_of_the_file() -> None:
    spec = ("metrics-data-source", {"path": "/stats", "interval": "250ms"})
    engines = ("core-metrics-extractor", {"engineConfigs": [{"name": "x", "queuedRequestsSpec": "x_waiting"}]})
    named = {"sources": [{"pluginRef": spec[0], "extractors": [{"pluginRef": engines[0]}]}]}
    for more in ({}, {"dataLayer": named}):
        data = assembled("queue-scorer", spec, engines, **more).data
        assert data.metrics is not None
        assert (data.metrics.path, data.metrics.interval) == ("/stats", 0.25)
        assert [(e.name, e.queued_requests_spec) for e in data.core_metrics.engine_configs] == [("x", "x_waiting")]
    assert assembled("queue-scorer").data.metrics is not None
    assert assembled("queue-scorer", dataLayer={"injectDefaults": False}).data.metrics is None


@pytest.mark.parametrize(
    ("plugins", "more", "path", "says"),
    [
        (["queue-scorrer"], {}, "plugins[0].type", "did you mean 'queue-scorer'?"),
        (["queue-scorer", "queue-scorer"], {}, "plugins[1].name", "plugins[0] is called 'queue-scorer' already"),
        (["max-score-picker", "random-picker"], {}, "plugins", "a profile has one picker, and 'default' has"),
        (
            ["queue-scorer"],
            {"schedulingProfiles": [profile("p", "queue-scorr")]},
            "schedulingProfiles[0].plugins[0].pluginRef",
            "there is no plugin 'queue-scorr', did you mean 'queue-scorer'?",
        ),
        (
            ["token-producer"],
            {"schedulingProfiles": [profile("p", "token-producer")]},
            "schedulingProfiles[0].plugins[0].pluginRef",
            "is not a filter, a scorer or a picker",
        ),
        (
            ["queue-scorer"],
            {"schedulingProfiles": [profile("p"), profile("q")]},
            "schedulingProfiles",
            "needs a profile handler",
        ),
        (
            ["queue-scorer"],
            {"schedulingProfiles": [profile("p"), profile("p")]},
            "schedulingProfiles[1].name",
            "there is a profile 'p' already",
        ),
        (
            ["single-profile-handler"],
            {"schedulingProfiles": [profile("p"), profile("q")]},
            "plugins[0].parameters",
            "exactly one profile",
        ),
        (["single-profile-handler", "disagg-profile-handler"], {}, "plugins[1]", "there is one profile handler"),
        (["disagg-profile-handler"], {}, "plugins[0].parameters.decodeProfile", "there is no profile 'decode'"),
        (
            [("disagg-profile-handler", {"profiles": {"decode": "decode", "prefill": "prefil"}})],
            {"schedulingProfiles": [profile("decode"), profile("prefill")]},
            "plugins[0].parameters.profiles.prefill",
            "there is no profile 'prefil', did you mean 'prefill'?",
        ),
        (
            [("disagg-profile-handler", {"encodeDeciderPluginName": "disagg-profile-handler"})],
            {"schedulingProfiles": [profile("decode")]},
            "plugins[0].parameters.encodeDeciderPluginName",
            "is no decider",
        ),
        (
            [("disagg-profile-handler", {"deciders": {"prefill": "nobody"}})],
            {"schedulingProfiles": [profile("decode")]},
            "plugins[0].parameters.deciders.prefill",
            "there is no decider 'nobody' in this file",
        ),
        (
            [("disagg-profile-handler", {"profiles": {}, "decodeProfile": "d"})],
            {},
            "plugins[0].parameters.decodeProfile",
            "older form",
        ),
        (
            ["always-disagg-pd-decider", ("disagg-profile-handler", {
                "stageOrder": "prefill-first", "deciders": {"prefill": "always-disagg-pd-decider"}})],
            {},
            "plugins[1].parameters.stageOrder",
            "no use for a prefill decider",
        ),
        (
            ["approx-prefix-cache-producer", "precise-prefix-cache-producer"],
            {},
            "plugins[1]",
            "approx-prefix-cache-producer works out the same (prefix)",
        ),
        (
            [("prefix-cache-scorer", {"prefixMatchInfoProducerName": "precise"}), "precise-prefix-cache-producer"],
            {},
            "plugins[0].parameters.prefixMatchInfoProducerName",
            "did you mean 'precise-prefix-cache-producer'?",
        ),
        (
            ["queue-scorer"],
            {"flowControl": {"saturationDetector": {"pluginRef": "queue-scorer"}}},
            "flowControl.saturationDetector.pluginRef",
            "is not a saturation detector",
        ),
        (
            ["queue-scorer"],
            {"requestHandler": {"parsers": [{"pluginRef": "vllmgrpc-parser"}]}},
            "requestHandler.parsers[0].pluginRef",
            "vllmgrpc-parser is not in this version: only HTTP bodies are read",
        ),
        (
            ["metrics-data-source"],
            {"dataLayer": {"sources": [{"pluginRef": "metrics-data-source", "extractors": [{"pluginRef": "x"}]}]}},
            "dataLayer.sources[0].extractors[0].pluginRef",
            "there is no plugin 'x'",
        ),
        (
            ["queue-scorer"],
            {"dataLayer": {"discovery": {"pluginRef": "queue-scorer"}}},
            "dataLayer.discovery.pluginRef",
            "is not file-discovery",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_named_by_its_path(plugins: list[Any], more: dict[str, Any], path: str, says: str) -> None:
    found = mistakes(*plugins, **more)

    assert path in found, found
    assert says in found[path]


def test_a_plugin_with_a_mistake_causes_no_others() -> None:
    profiles = [profile("p", "queue-scorer")]

    assert list(mistakes(("queue-scorer", {"x": 1}), schedulingProfiles=profiles)) == ["plugins[0].parameters.x"]


def test_the_first_mistake_stops_the_start_and_counts_the_others() -> None:
    with pytest.raises(ConfigError, match=r"plugins\[0\]\.type: .*did you mean 'queue-scorer'\? \(and 1 more\)"):
        load(text("queue-scorrer", "lora-affinity-scorrer"))


def test_what_does_nothing_is_noted() -> None:
    assembly = assembled(
        "queue-scorer",
        "decode-filter",
        "running-requests-size-scorer",
        "static-usage-limit-policy",
        schedulingProfiles=[profile("p", "queue-scorer", ("decode-filter", 3))],
    )

    assert list(assembly.notes) == [
        "schedulingProfiles[0].plugins[1].weight: only scorers have a weight, and decode-filter is none",
        "plugins[2]: running-requests-size-scorer is used nowhere, so it does nothing",
        "plugins[3]: static-usage-limit-policy is used nowhere, so it does nothing",
    ]
