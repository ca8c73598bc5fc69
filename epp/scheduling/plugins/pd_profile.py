"""The older way to say that prefill and decode are done apart."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from epp.domain import Endpoint
from epp.plugin import Plugin, Setting, Stage
from epp.scheduling.framework import Profile, Query
from epp.scheduling.handlers import Decider, ProfileHandler
from epp.scheduling.pick import Pick
from epp.scheduling.prefix import BYTES_PER_TOKEN
from epp.scheduling.stages import Stages, through_primary_port


@dataclass(slots=True)
class PdProfileHandler(ProfileHandler):
    """Decode first, then prefill apart where the decider says so, or where `threshold` bytes or more are not cached.

    With a `primaryPort` the request goes there, and `x-data-parallel-host-port` names the rank (llm-d).
    """

    type: ClassVar[str] = "pd-profile-handler"
    stage: ClassVar[Stage] = "deprecated"
    needs: ClassVar[tuple[str, ...]] = ("prefix",)
    differs: ClassVar[str] = "It sets the headers itself. The parameters about the prefix plugin change nothing."
    threshold: int = 0
    decode_profile: str = "decode"
    prefill_profile: str = "prefill"
    decider_plugin_name: str = ""
    primary_port: int = 0
    prefix_plugin_type: str = ""
    prefix_plugin_name: str = ""
    hash_block_size: int = 0
    _decider: Decider | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        if self.threshold < 0:
            raise ValueError("threshold must not be negative")
        if not 0 <= self.primary_port <= 65535:
            raise ValueError("primary_port must be from 1 to 65535, or 0 for none")

    def join(self, named: Mapping[str, Plugin]) -> None:
        """Its decider."""
        if self.decider_plugin_name:
            found = named.get(self.decider_plugin_name)
            if not isinstance(found, Decider):
                raise ValueError(f"decider_plugin_name {self.decider_plugin_name!r} is no decider of this file")
            self._decider = found

    def runs(self, profiles: Collection[str]) -> Collection[str]:
        """Both of its profiles."""
        for name in ("decode_profile", "prefill_profile"):
            if getattr(self, name) not in profiles:
                raise ValueError(f"{name} names no profile: {getattr(self, name)!r}")
        return {self.decode_profile, self.prefill_profile}

    def choose(self, query: Query, endpoints: Sequence[Endpoint], profiles: Mapping[str, Profile]) -> Pick | None:
        """The decoding endpoint."""
        decider = self._decider or _Threshold(self.threshold)
        stages = Stages(self.decode_profile, self.prefill_profile, prefill_decider=decider)
        pick = stages.decode_first(query, endpoints, profiles)
        if pick is not None and self.primary_port:
            through_primary_port(query, pick, self.primary_port)
        return pick


class _Threshold(Decider):
    def __init__(self, least_bytes: int) -> None:
        self._least_bytes = least_bytes

    def apart(self, query: Query, decode: Endpoint | None) -> bool:
        cached = 0 if decode is None else query.cached.get(decode, 0) * BYTES_PER_TOKEN
        return len(query.request.prompt) - cached >= self._least_bytes


@dataclass(slots=True, frozen=True)
class DisaggHeadersHandler(Setting):
    """The headers that name the prefill and encode endpoints; here the profile handler sets them."""

    type: ClassVar[str] = "disagg-headers-handler"
    stage: ClassVar[Stage] = "deprecated"
    differs: ClassVar[str] = "It changes nothing: the profile handler sets the headers."
    prefill_profile: str = "prefill"
    encode_profile: str = "encode"


@dataclass(slots=True, frozen=True)
class PrefillHeaderHandler(Setting):
    """The header that names the prefill endpoint; here the profile handler sets it."""

    type: ClassVar[str] = "prefill-header-handler"
    stage: ClassVar[Stage] = "deprecated"
    differs: ClassVar[str] = "It changes nothing: the profile handler sets the header."
    prefill_profile: str = "prefill"
