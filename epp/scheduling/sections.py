"""The sections of a file that other parts of the process act on: flow control, the data layer, the parsers."""

from __future__ import annotations

from epp.config import BandSpec, File
from epp.options.flow import (
    BAND_BYTES_MAX,
    BAND_REQUESTS_MAX,
    REQUEST_TTL_S,
    Band,
    Concurrency,
    Detector,
    FairnessPolicy,
    FcfsOrderingPolicy,
    FlowControlConfig,
    GlobalStrictFairnessPolicy,
    OrderingPolicy,
    StaticUsageLimitPolicy,
    UsageLimitPolicy,
    Utilization,
)
from epp.options.requests import Parser
from epp.options.sources import CoreMetricsExtractor, DataLayer, Extractor, FileDiscovery, MetricsDataSource, Source
from epp.plugin import Plugin
from epp.scheduling.framework import Memory
from epp.scheduling.named import Named


def flow_of(file: File, named: Named) -> FlowControlConfig:
    """`flowControl`, with the Go picker's defaults for what is left out."""
    spec = file.flow
    ttl = REQUEST_TTL_S if spec.request_ttl_s is None else spec.request_ttl_s or None
    hold = ttl if spec.no_endpoint_request_ttl_s is None else spec.no_endpoint_request_ttl_s or None
    default = _band(named, spec.default_band)
    negative = None if spec.default_negative_band is None else _band(named, spec.default_negative_band)
    detector = named.find(spec.detector, (Detector,), "a saturation detector", implied=True)
    assert detector is None or isinstance(detector, Utilization | Concurrency)
    limit = named.find(spec.usage_limit, (UsageLimitPolicy,), "a usage limit policy", implied=True)
    return FlowControlConfig(
        enabled=file.gates.get("flowControl", False),
        bytes_max=spec.bytes_max or None,
        requests_max=spec.requests_max or None,
        request_ttl_s=ttl,
        no_endpoint_request_ttl_s=hold,
        default_band=default,
        default_negative_band=negative,
        bands=tuple(_band(named, band) for band in spec.bands),
        usage_limit=limit or StaticUsageLimitPolicy(),
        detector=detector or Utilization(),
        evict=spec.evict,
    )


def data_of(file: File, named: Named) -> DataLayer:
    """`dataLayer`; a file that names no sources there means those among its plugins."""
    spec = file.data
    discovery = None
    if spec.discovery is not None:
        discovery = named.find(spec.discovery, (FileDiscovery,), "file-discovery")
    if spec.sources is None:
        sources = [p for p in named.named.values() if isinstance(p, Source)]
        extractors = tuple(p for p in named.named.values() if isinstance(p, Extractor))
        named.used |= {n for n, p in named.named.items() if isinstance(p, Source | Extractor)}
        pairs: list[tuple[Source, tuple[Plugin, ...]]] = [(source, extractors) for source in sources]
        if not sources:
            unfed = [n for n, p in named.named.items() if isinstance(p, CoreMetricsExtractor)]
            named.notes += [f"{named.specs[n].path}: no source feeds it" for n in unfed]
    else:
        pairs = []
        for source_spec in spec.sources:
            source = named.find(source_spec.source, (Source,), "a data source")
            fed = [named.find(ref, (Extractor, Memory), "an extractor") for ref in source_spec.extractors]
            if source is not None:
                pairs.append((source, tuple(plugin for plugin in fed if plugin is not None)))
    if not spec.inject_defaults and not any(isinstance(source, MetricsDataSource) for source, _ in pairs):
        named.notes.append(
            "dataLayer.injectDefaults: metrics are read all the same; scorers that go by none cost nothing"
        )
    return DataLayer(tuple(pairs), spec.inject_defaults, discovery)


def parsers_of(file: File, named: Named) -> frozenset[str] | None:
    """The types of `requestHandler.parsers`; None where the default ones are meant."""
    if file.parsers is None:
        return None
    found = [named.find(ref, (Parser,), "a parser", implied=True) for ref in file.parsers]
    return frozenset(parser.type for parser in found if parser is not None)


def _band(named: Named, spec: BandSpec | None) -> Band:
    if spec is None:
        return Band()
    fairness = named.find(spec.fairness, (FairnessPolicy,), "a fairness policy", implied=True)
    ordering = named.find(spec.ordering, (OrderingPolicy,), "an ordering policy", implied=True)
    return Band(
        priority=spec.priority or 0,
        bytes_max=BAND_BYTES_MAX if spec.bytes_max is None else spec.bytes_max,
        requests_max=BAND_REQUESTS_MAX if spec.requests_max is None else spec.requests_max,
        fairness=fairness or GlobalStrictFairnessPolicy(),
        ordering=ordering or FcfsOrderingPolicy(),
    )
