"""The operator's EndpointPickerConfig, if there is one, and what each part of the process takes from it.

Without one the built-in policy chooses, every parser is in use, and nothing is discovered or kept back by it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from epp.config import FILE_BYTES_MAX
from epp.domain import ConfigError
from epp.edge.visit import OWN_PORT, Source
from epp.numbers import source_of
from epp.options.flow import FlowControlConfig
from epp.options.requests import PassthroughParser
from epp.protocol import identity
from epp.protocol.openai import Unparsed
from epp.protocol.paths import PARSERS
from epp.scheduling.assembly import Assembly, load
from epp.scheduling.default import default_profile
from epp.scheduling.framework import Scheduler
from epp.settings import Settings

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Configured:
    """What the file came to; `content` is kept because every port has plugins, and memories, of its own."""

    content: bytes | None = None
    experimental: bool = False
    assembly: Assembly | None = None
    source: Source = OWN_PORT

    @classmethod
    def of(cls, settings: Settings) -> Configured:
        """Reads the file that the flags name. Raises ConfigError with its path and the mistake's."""
        if settings.config_file is not None:
            where, content = str(settings.config_file), _bytes(settings.config_file)
        elif settings.config_text is not None:
            where, content = "--config-text", settings.config_text.encode()
        else:
            return cls()
        if settings.admission not in ("onehop", "none"):
            raise ConfigError("--admission", f"{settings.admission}: flowControl of {where} says who is admitted")
        try:
            assembly = load(content, experimental=settings.allow_experimental_plugins)
            source = source_of(assembly.data)
        except ConfigError as mistake:
            raise ConfigError(f"{where}: {mistake.path}", mistake.message) from mistake
        for note in assembly.notes:
            log.warning("%s: %s", where, note)
        return cls(content, settings.allow_experimental_plugins, assembly, source)

    def scheduler(self) -> Scheduler:
        """One with a memory of its own: for one port."""
        if self.content is None:
            return default_profile()
        return load(self.content, experimental=self.experimental).scheduler

    def discovery_file(self, settings: Settings) -> Path | None:
        """Where the endpoints are listed, by flag or by the file."""
        named = None if self.assembly is None else self.assembly.data.discovery
        if named is None:
            return settings.discovery_file
        if settings.discovery_file is not None:
            raise ConfigError("--discovery-file", "cannot go with dataLayer.discovery of the configuration")
        for name in ("endpoint_selector", "pool", "pool_selector", "picker_service"):
            if getattr(settings, name):
                flag = "--" + name.replace("_", "-")
                raise ConfigError(flag, "has no effect with dataLayer.discovery of the configuration")
        return Path(named.path)

    def unparsed(self, settings: Settings) -> Unparsed:
        """What becomes of bodies that nobody reads: a list of parsers without pass-through lets none pass."""
        parsers = None if self.assembly is None else self.assembly.parsers
        if parsers is not None and PassthroughParser.type not in parsers:
            return "refuse"
        return settings.unparsed

    @property
    def parsers(self) -> frozenset[str]:
        """Whose bodies are read."""
        parsers = None if self.assembly is None else self.assembly.parsers
        return PARSERS if parsers is None else PARSERS & parsers

    def agent(self, settings: Settings) -> identity.Source:
        """Where the tenant of a request without one is named."""
        agent = None if self.assembly is None else self.assembly.agent
        if agent is None or settings.tenant_from != "header":
            return identity.Source("none")
        return identity.Source("headers", agent.headers)

    @property
    def flow(self) -> FlowControlConfig | None:
        """What the file says of flow control."""
        return None if self.assembly is None else self.assembly.flow

    def scrape_s(self, settings: Settings) -> float:
        """How often endpoints are read, by flag or by the file."""
        metrics = None if self.assembly is None else self.assembly.data.metrics
        return (metrics.interval if metrics is not None else 0.0) or settings.refresh_metrics_interval


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX + 1)
    except OSError as unreadable:
        raise ConfigError(str(path), unreadable.strerror or "cannot be read") from unreadable
