"""A profile by a header."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.domain import Endpoint
from epp.plugin import Stage
from epp.scheduling.framework import Profile, Query
from epp.scheduling.handlers import ProfileHandler
from epp.scheduling.pick import Pick


@dataclass(slots=True)
class HeaderProfileHandler(ProfileHandler):
    """Runs the profile that the header names, `defaultProfile` where it names none of them (llm-d)."""

    type: ClassVar[str] = "header-profile-handler"
    stage: ClassVar[Stage] = "alpha"
    header_name: str = "EPP-Profile"
    default_profile: str = "decode"

    def __post_init__(self) -> None:
        for name in ("header_name", "default_profile"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")

    def runs(self, profiles: Collection[str]) -> Collection[str]:
        """All."""
        if self.default_profile not in profiles:
            raise ValueError(f"default_profile names no profile: {self.default_profile!r}")
        return profiles

    def choose(self, query: Query, endpoints: Sequence[Endpoint], profiles: Mapping[str, Profile]) -> Pick | None:
        """That profile's choice."""
        asked = query.request.headers.get(self.header_name.lower(), "")
        return (profiles.get(asked) or profiles[self.default_profile]).run(query, endpoints)
