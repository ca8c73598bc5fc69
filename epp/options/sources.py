"""What a configuration file says of where the endpoints' state comes from. The scraper acts on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import msgspec

from epp.plugin import Plugin, Setting, duration


class Source(Setting):
    """Something that is read, or listened to."""


class Extractor(Setting):
    """Something that makes sense of what a source gives."""


@dataclass(slots=True, frozen=True)
class MetricsDataSource(Source):
    """The endpoints' metrics pages: how they are reached. `interval` is a Go duration, 0 that of the flags."""

    type: ClassVar[str] = "metrics-data-source"
    scheme: Literal["http", "https"] = "http"
    path: str = "/metrics"
    port: int = 0
    insecure_skip_verify: bool = True
    ca_cert_path: str = ""
    client_cert_path: str = ""
    client_key_path: str = ""
    interval: float = duration(0.0)

    def __post_init__(self) -> None:
        if not self.path.startswith("/"):
            raise ValueError("path must begin with a slash")
        if not 0 <= self.port <= 65535:
            raise ValueError("port must be from 1 to 65535, or 0 for the endpoint's own")
        if bool(self.client_cert_path) is not bool(self.client_key_path):
            raise ValueError("client_cert_path and clientKeyPath need each other")


@dataclass(slots=True, frozen=True)
class ModelsDataSource(Source):
    """The endpoints' lists of models."""

    type: ClassVar[str] = "models-data-source"
    differs: ClassVar[str] = "Model lists are always read; the source need not be named."
    scheme: Literal["http", "https"] = "http"
    path: str = "/v1/models"
    insecure_skip_verify: bool = True


class CustomMetric(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A further series of an engine, kept under a name of one's own."""

    attribute_key: str
    metric_spec: str


class EngineConfig(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """How one engine calls its series: `family{label=value}`; empty is the built-in name of that engine."""

    name: str
    queued_requests_spec: str = ""
    running_requests_spec: str = ""
    kv_usage_spec: str = ""
    lora_spec: str = ""
    cache_info_spec: str = ""
    cache_block_size_label_name: str = ""
    cache_num_blocks_label_name: str = ""
    cache_block_size_spec: str = ""
    cache_num_blocks_spec: str = ""
    custom_metrics: tuple[CustomMetric, ...] = ()


@dataclass(slots=True, frozen=True)
class CoreMetricsExtractor(Extractor):
    """Waiting, running, KV usage, LoRA and cache size from a metrics page, by the engine that a pod's label names."""

    type: ClassVar[str] = "core-metrics-extractor"
    engine_label_key: str = "llm-d.ai/engine-type"
    default_engine: str = "vllm"
    engine_configs: tuple[EngineConfig, ...] = ()

    def __post_init__(self) -> None:
        names = [engine.name for engine in self.engine_configs]
        if len(set(names)) != len(names):
            raise ValueError("engine_configs must name each engine once")


@dataclass(slots=True, frozen=True)
class ModelsDataExtractor(Extractor):
    """The names in a list of models."""

    type: ClassVar[str] = "models-data-extractor"
    differs: ClassVar[str] = "Model lists are always read; the extractor need not be named."


@dataclass(slots=True, frozen=True)
class EndpointNotificationSource(Source):
    """Tells its extractors that endpoints come and go."""

    type: ClassVar[str] = "endpoint-notification-source"
    differs: ClassVar[str] = "Every plugin with a memory is told of the endpoints; the source need not be named."


@dataclass(slots=True, frozen=True)
class FileDiscovery(Setting):
    """Endpoints from a file, as `--discovery-file` reads it."""

    type: ClassVar[str] = "file-discovery"
    differs: ClassVar[str] = "The file is always watched, so `watchFile: false` changes nothing. IPv6 and names work."
    path: str
    watch_file: bool = False


@dataclass(slots=True, frozen=True)
class DataLayer:
    """The sources in use, each with its extractors; `inject_defaults` adds the metrics where none is named."""

    sources: tuple[tuple[Source, tuple[Plugin, ...]], ...] = ()
    inject_defaults: bool = True
    discovery: FileDiscovery | None = None

    @property
    def metrics(self) -> MetricsDataSource | None:
        """How metrics pages are reached; None where nothing is to be scraped."""
        found = next((source for source, _ in self.sources if isinstance(source, MetricsDataSource)), None)
        return found or (MetricsDataSource() if self.inject_defaults else None)

    @property
    def core_metrics(self) -> CoreMetricsExtractor:
        """How they are read."""
        extractors = (extractor for _, extractors in self.sources for extractor in extractors)
        return next((e for e in extractors if isinstance(e, CoreMetricsExtractor)), CoreMetricsExtractor())
