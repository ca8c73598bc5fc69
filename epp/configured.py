"""The operator's EndpointPickerConfig, if there is one, and what each part of the process takes from it.

Without one the built-in policy chooses, every parser is in use, and nothing is discovered or kept back by it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from epp.config import FILE_BYTES_MAX
from epp.domain import ConfigError
from epp.options.flow import FlowControlConfig
from epp.options.requests import PassthroughParser
from epp.options.sources import DataLayer
from epp.protocol.identity import Source
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
        except ConfigError as mistake:
            raise ConfigError(f"{where}: {mistake.path}", mistake.message) from mistake
        for note in assembly.notes:
            log.warning("%s: %s", where, note)
        return cls(content, settings.allow_experimental_plugins, assembly)

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

    def agent(self, settings: Settings) -> Source:
        """Where the tenant of a request without one is named."""
        agent = None if self.assembly is None else self.assembly.agent
        if agent is None or settings.tenant_from != "header":
            return Source("none")
        return Source("headers", agent.headers)

    @property
    def flow(self) -> FlowControlConfig | None:
        """What the file says of flow control."""
        return None if self.assembly is None else self.assembly.flow

    @property
    def data(self) -> DataLayer | None:
        """What the file says of how endpoints are read."""
        return None if self.assembly is None else self.assembly.data


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX + 1)
    except OSError as unreadable:
        raise ConfigError(str(path), unreadable.strerror or "cannot be read") from unreadable
