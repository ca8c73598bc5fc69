"""Ranks of data parallel servers behind one port."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.domain import Endpoint
from epp.plugin import Stage
from epp.scheduling.framework import Profile, Query
from epp.scheduling.handlers import ProfileHandler
from epp.scheduling.pick import Pick
from epp.scheduling.stages import through_primary_port


@dataclass(slots=True)
class DataParallelProfileHandler(ProfileHandler):
    """Runs the only profile over all ranks; the request goes to the pod's `primaryPort`, and a header names the rank.

    The header is `x-data-parallel-host-port`; the pod's sidecar hands the request on (llm-d).
    """

    type: ClassVar[str] = "data-parallel-profile-handler"
    stage: ClassVar[Stage] = "deprecated"
    differs: ClassVar[str] = "Without a sidecar, leave it out: every port of a pod is an endpoint of its own here."
    primary_port: int = 8000

    def __post_init__(self) -> None:
        if not 0 < self.primary_port <= 65535:
            raise ValueError("primary_port must be from 1 to 65535")

    def runs(self, profiles: Collection[str]) -> Collection[str]:
        """All, which must be one."""
        if len(profiles) != 1:
            raise ValueError(f"data-parallel-profile-handler runs exactly one profile, and there are {len(profiles)}")
        return profiles

    def choose(self, query: Query, endpoints: Sequence[Endpoint], profiles: Mapping[str, Profile]) -> Pick | None:
        """The profile's choice, reached through the primary port."""
        (profile,) = profiles.values()
        pick = profile.run(query, endpoints)
        if pick is not None:
            through_primary_port(query, pick, self.primary_port)
        return pick
