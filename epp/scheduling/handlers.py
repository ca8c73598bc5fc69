"""Several profiles under one handler, which says in what order they run and what becomes of their choices.

Must stay true: producers and admitters run once a decision, before all profiles; the choice that counts for the ledger
and the gateway is the handler's, the others stand in the query's `extra`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from epp.domain import Endpoint
from epp.scheduling.framework import (
    Admitter,
    Memory,
    Meter,
    Producer,
    Profile,
    Query,
    Scheduler,
    Screener,
    Unmetered,
    told,
    unique,
)
from epp.scheduling.pick import Pick


class ProfileHandler(Memory, ABC):
    """Runs profiles."""

    @abstractmethod
    def choose(self, query: Query, endpoints: Sequence[Endpoint], profiles: Mapping[str, Profile]) -> Pick | None:
        """The choice, or None when a profile that must find an endpoint finds none."""

    @abstractmethod
    def runs(self, profiles: Collection[str]) -> Collection[str]:
        """Which of the profiles it may run. Raises ValueError that begins with a field for one that is not there."""


class Decider(Memory, ABC):
    """Says whether a stage of a request is worth an endpoint of its own."""

    @abstractmethod
    def apart(self, query: Query, decode: Endpoint | None) -> bool:
        """`decode` is where the answer will be generated; None where that is not chosen yet."""


@dataclass(slots=True)
class Handled(Scheduler):
    """A handler over profiles; `memories` are plugins that are only told."""

    name: str
    handler: ProfileHandler
    profiles: Mapping[str, Profile]
    screeners: Sequence[Screener] = field(default=(), kw_only=True)
    producers: Sequence[Producer] = ()
    admitters: Sequence[Admitter] = ()
    memories: Sequence[Memory] = ()
    _meter: Meter = field(default_factory=Unmetered, compare=False)
    _told: Mapping[str, Sequence[Memory]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._told = told(self.plugins)

    @property
    def plugins(self) -> list[Memory]:
        """Every part once, in the order of its turn."""
        inner = [plugin for profile in self.profiles.values() for plugin in profile.plugins]
        return unique([*self.screeners, *self.producers, *self.admitters, self.handler, *inner, *self.memories])

    @property
    def meter(self) -> Meter:
        """What times the plugins of all profiles."""
        return self._meter

    @meter.setter
    def meter(self, meter: Meter) -> None:
        self._meter = meter
        for profile in self.profiles.values():
            profile.meter = meter

    @property
    def unused(self) -> Mapping[str, str]:  # type: ignore[override]  # made of the profiles'
        """The scorers of all profiles that have nothing to go by."""
        return {name: why for profile in self.profiles.values() for name, why in profile.unused.items()}

    def probed(self, endpoints: Sequence[Endpoint]) -> None:
        """Each profile asks whom it can."""
        for profile in self.profiles.values():
            profile.probed(endpoints)

    def run(self, query: Query, endpoints: Sequence[Endpoint]) -> Pick | None:
        """The handler's choice."""
        query.able = query.able or endpoints
        self.prepare(query, query.able)
        return self.handler.choose(query, endpoints, self.profiles)
