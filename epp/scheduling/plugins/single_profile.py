"""One profile."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.domain import Endpoint
from epp.scheduling.framework import Profile, Query
from epp.scheduling.handlers import ProfileHandler
from epp.scheduling.pick import Pick


@dataclass(slots=True)
class SingleProfileHandler(ProfileHandler):
    """Runs the only profile there is (llm-d)."""

    type: ClassVar[str] = "single-profile-handler"

    def runs(self, profiles: Collection[str]) -> Collection[str]:
        """All, which must be one."""
        if len(profiles) != 1:
            raise ValueError(f"single-profile-handler runs exactly one profile, and there are {len(profiles)}")
        return profiles

    def choose(self, query: Query, endpoints: Sequence[Endpoint], profiles: Mapping[str, Profile]) -> Pick | None:
        """The profile's choice."""
        (profile,) = profiles.values()
        return profile.run(query, endpoints)
