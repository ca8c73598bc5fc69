"""How a configuration file says that endpoints' metrics are reached and read."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from epp.domain import ConfigError, Endpoint
from epp.edge.visit import OWN_PORT
from epp.numbers import engines_of, source_of
from epp.options.sources import (
    CoreMetricsExtractor,
    CustomMetric,
    DataLayer,
    EngineConfig,
    Extractor,
    MetricsDataSource,
)


def layer(metrics: MetricsDataSource | None = None, *extractors: Extractor) -> DataLayer:
    return DataLayer(((metrics or MetricsDataSource(), extractors),))


def test_without_a_file_or_a_word_in_it_every_engine_is_read_as_we_know_it() -> None:
    assert source_of(None) is OWN_PORT
    assert source_of(DataLayer()) == OWN_PORT
    assert source_of(layer()) == OWN_PORT


def test_path_and_port_are_where_the_file_says() -> None:
    source = source_of(layer(MetricsDataSource(path="/stats", port=9100)))

    assert source.path == "/stats"
    assert source.address(Endpoint("a", "10.0.0.1:8000")) == "10.0.0.1:9100"


def test_https_is_verified_only_where_that_is_asked_for() -> None:
    trusting = source_of(layer(MetricsDataSource(scheme="https"))).tls
    verifying = source_of(layer(MetricsDataSource(scheme="https", insecure_skip_verify=False))).tls

    assert trusting is not None
    assert verifying is not None
    assert (trusting.verify_mode, verifying.verify_mode) == (ssl.CERT_NONE, ssl.CERT_REQUIRED)


def test_a_certificate_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    metrics = MetricsDataSource(scheme="https", ca_cert_path=str(tmp_path / "none.pem"))

    with pytest.raises(ConfigError, match=r"metrics-data-source\.parameters: a certificate cannot be used"):
        source_of(layer(metrics))


def test_an_engine_of_the_file_is_read_by_its_own_names() -> None:
    config = EngineConfig(
        name="mine",
        queued_requests_spec="mine_queue{kind=waiting}",
        cache_info_spec="mine_cache",
        cache_block_size_label_name="page",
        custom_metrics=(CustomMetric("temperature", "mine_celsius"),),
    )
    core = CoreMetricsExtractor("example.com/engine", "mine", (config,))
    engine = engines_of(core).named({})

    assert engine is not None
    assert [str(spec) for spec in engine.series["waiting"]] == ["mine_queue{kind=waiting}"]
    assert [spec.value_of for spec in engine.series["block_size"]] == ["page"]
    assert {key: str(spec) for key, spec in engine.custom.items()} == {"temperature": "mine_celsius"}
    assert engines_of(core).named({"example.com/engine": "sglang"}) is not engine


@pytest.mark.parametrize(
    ("core", "path"),
    [
        (CoreMetricsExtractor(default_engine="nobody"), "defaultEngine"),
        (
            CoreMetricsExtractor(engine_configs=(EngineConfig("x", kv_usage_spec="a b"),)),
            "engineConfigs[0].kvUsageSpec",
        ),
        (
            CoreMetricsExtractor(engine_configs=(EngineConfig("x", custom_metrics=(CustomMetric("k", "{"),)),)),
            "engineConfigs[0].customMetrics",
        ),
        (CoreMetricsExtractor(engine_configs=(EngineConfig(""),)), "engineConfigs[0].name"),
    ],
)
def test_a_mistake_is_named_by_the_plugin_and_its_parameter(core: CoreMetricsExtractor, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        engines_of(core)

    assert caught.value.path == f"core-metrics-extractor.parameters.{path}"
