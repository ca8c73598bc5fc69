"""How endpoints' metrics are reached and read, as a configuration file says it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from epp.datastore.engines import Engine, Engines, custom
from epp.domain import ConfigError
from epp.edge.visit import OWN_PORT, Source
from epp.options.sources import CoreMetricsExtractor, DataLayer, EngineConfig, MetricsDataSource

_ARGUMENTS = {  # of `engines.custom` -> the field of the file
    "queued": "queuedRequestsSpec",
    "running": "runningRequestsSpec",
    "kv_usage": "kvUsageSpec",
    "lora": "loraSpec",
    "cache_info": "cacheInfoSpec",
    "block_size": "cacheBlockSizeSpec",
    "num_blocks": "cacheNumBlocksSpec",
    "name": "name",
}


def source_of(data: DataLayer | None) -> Source:
    """Where numbers are told. Raises ConfigError with the plugin and its parameter."""
    if data is None:
        return OWN_PORT
    metrics = data.metrics or MetricsDataSource()
    path = None if metrics.path == MetricsDataSource().path else metrics.path  # each engine has a path of its own
    return Source(engines_of(data.core_metrics), path, metrics.port or None, _tls(metrics))


def engines_of(core: CoreMetricsExtractor) -> Engines:
    """The engines that may be met. Raises ConfigError with the plugin and its parameter."""
    if core == CoreMetricsExtractor():
        return Engines()
    engines = [_engine(config, number) for number, config in enumerate(core.engine_configs)]
    named = core.default_engine if core.default_engine != CoreMetricsExtractor().default_engine else None
    try:
        return Engines.of(engines, core.engine_label_key, named)
    except ValueError as wrong:
        raise ConfigError(f"{core.type}.parameters.defaultEngine", str(wrong)) from wrong


def _engine(config: EngineConfig, number: int) -> Engine:
    path = f"{CoreMetricsExtractor.type}.parameters.engineConfigs[{number}]"
    metrics: Mapping[str, str] = {metric.attribute_key: metric.metric_spec for metric in config.custom_metrics}
    try:
        return custom(
            config.name,
            queued=config.queued_requests_spec or None,
            running=config.running_requests_spec or None,
            kv_usage=config.kv_usage_spec or None,
            lora=config.lora_spec or None,
            cache_info=config.cache_info_spec or None,
            block_size_label=config.cache_block_size_label_name or "block_size",
            num_blocks_label=config.cache_num_blocks_label_name or "num_gpu_blocks",
            block_size=config.cache_block_size_spec or None,
            num_blocks=config.cache_num_blocks_spec or None,
            metrics=metrics,
        )
    except ValueError as wrong:
        argument, _, rest = str(wrong).partition(" ")
        field = _ARGUMENTS.get(argument)
        raise ConfigError(f"{path}.{field or 'customMetrics'}", rest if field else str(wrong)) from wrong


def _tls(metrics: MetricsDataSource) -> ssl.SSLContext | None:
    if metrics.scheme == "http":
        return None
    try:
        context = ssl.create_default_context(cafile=metrics.ca_cert_path or None)
        if metrics.insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if metrics.client_cert_path:
            context.load_cert_chain(metrics.client_cert_path, metrics.client_key_path)
    except (OSError, ValueError) as unusable:
        raise ConfigError(f"{metrics.type}.parameters", f"a certificate cannot be used: {unusable}") from unusable
    return context
