"""Encode, prefill and decode on endpoints of their own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import msgspec

from epp.domain import Endpoint
from epp.plugin import Plugin
from epp.scheduling.framework import Profile, Query
from epp.scheduling.handlers import Decider, ProfileHandler
from epp.scheduling.pick import Pick
from epp.scheduling.stages import Stages
from epp.yaml_reader import near


class StageProfiles(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Which profile chooses for which stage."""

    decode: str = "decode"
    prefill: str = "prefill"
    encode: str = "encode"


class Deciders(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The plugins that say whether a stage is done apart, by name; empty: always where it has a profile."""

    prefill: str = ""
    encode: str = ""


@dataclass(slots=True)
class DisaggProfileHandler(ProfileHandler):
    """Chooses where to decode, then whether and where to encode and to prefill; or, prefill first, that before decode.

    The headers `x-prefiller-host-port` and `x-encoder-hosts-ports` tell the decoding endpoint's sidecar. No endpoint
    to decode: 429. Stages without a profile are done where the request goes (llm-d). The flat parameters
    (`decodeProfile` and so on) are of older files, and exclude the others.
    """

    type: ClassVar[str] = "disagg-profile-handler"
    differs: ClassVar[str] = (
        "A prefill endpoint holds the request in the ledger until the first piece of the answer, the decoding one is"
        " then charged no prompt."
    )
    stage_order: Literal["decode-first", "prefill-first"] = "decode-first"
    profiles: StageProfiles | None = None
    deciders: Deciders | None = None
    decode_profile: str = ""
    prefill_profile: str = ""
    encode_profile: str = ""
    decider_plugin_name: str = ""
    prefill_decider_plugin_name: str = ""
    encode_decider_plugin_name: str = ""
    stages: Stages = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        flat = [name for name in _FLAT if getattr(self, name)]
        if flat and (self.profiles is not None or self.deciders is not None):
            raise ValueError(f"{flat[0]} is of the older form, which cannot go with profiles or deciders")
        if self.stage_order == "prefill-first" and self._decides.prefill:
            raise ValueError(
                "stage_order prefill-first has no use for a prefill decider: prefill is not up for decision"
            )
        names = self._profiles
        self.stages = Stages(names.decode, names.prefill, names.encode)

    @property
    def _profiles(self) -> StageProfiles:
        if self.profiles is not None:
            return self.profiles
        return StageProfiles(
            self.decode_profile or "decode", self.prefill_profile or "prefill", self.encode_profile or "encode"
        )

    @property
    def _decides(self) -> Deciders:
        if self.deciders is not None:
            return self.deciders
        prefill = self.prefill_decider_plugin_name or self.decider_plugin_name
        return Deciders(prefill, self.encode_decider_plugin_name)

    def join(self, named: Mapping[str, Plugin]) -> None:
        """Its deciders."""
        names, decides = self._profiles, self._decides
        self.stages = Stages(
            names.decode,
            names.prefill,
            names.encode,
            self._decider("prefill", decides.prefill, named),
            self._decider("encode", decides.encode, named),
        )

    def _decider(self, stage: str, name: str, named: Mapping[str, Plugin]) -> Decider | None:
        found = named.get(name)
        if not name or isinstance(found, Decider):
            return found if isinstance(found, Decider) else None
        own = getattr(self, f"{stage}_decider_plugin_name")
        place = f"deciders.{stage}" if self.deciders is not None else f"{stage}_decider_plugin_name"
        place = place if self.deciders is not None or own else "decider_plugin_name"
        if found is not None:
            raise ValueError(f"{place} {name} ({found.type}) is no decider")
        there = [known for known, plugin in named.items() if isinstance(plugin, Decider)]
        raise ValueError(f"{place} there is no decider {name!r} in this file{near(name, there)}")

    def runs(self, profiles: Collection[str]) -> Collection[str]:
        """Those of its stages."""
        names = self._profiles
        for stage in ("decode", "prefill", "encode"):
            name = getattr(names, stage)
            flat = getattr(self, f"{stage}_profile")
            told = (name if self.profiles is not None else flat) or stage == "decode"
            if told and name not in profiles:
                place = f"profiles.{stage}" if self.profiles is not None else f"{stage}_profile"
                raise ValueError(f"{place} there is no profile {name!r}{near(name, profiles)}")
        return {names.decode, names.prefill, names.encode} & set(profiles)

    def choose(self, query: Query, endpoints: Sequence[Endpoint], profiles: Mapping[str, Profile]) -> Pick | None:
        """The decoding endpoint."""
        if self.stage_order == "prefill-first":
            return self.stages.prefill_first(query, endpoints, profiles)
        return self.stages.decode_first(query, endpoints, profiles)


_FLAT = (
    "decode_profile",
    "prefill_profile",
    "encode_profile",
    "decider_plugin_name",
    "prefill_decider_plugin_name",
    "encode_decider_plugin_name",
)
