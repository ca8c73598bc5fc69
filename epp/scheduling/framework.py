"""The grammar of a replica decision: filters, scorers, a picker, and the profile that strings them together.

Pure and synchronous: a plugin is given everything it may look at, including the time and the dice. One call per
plugin and decision, never one per endpoint (Kubernetes scheduler framework; GIE's EndpointPickerConfig).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from random import Random
from typing import Any, ClassVar, Literal, Protocol

from epp.domain import Candidate, Cost, Endpoint, Fault, Request, Usage


@dataclass(slots=True, eq=False)
class Query:
    """One decision as plugins see it: the request, the model considered, the time and the chance given to it.

    `notes` keeps, by plugin, what a plugin worked out for this decision and needs again when the choice is final or
    turns out otherwise; the request's body is gone by then.

    Producers work out what several plugins look at: `cached` is how many prompt tokens each endpoint is believed to
    hold (those that hold none are left out) of the `hashed` tokens that were looked up. `cost` is what the request
    takes at the endpoint finally picked, for the ledger; None leaves the whole prompt to be computed.
    """

    request: Request
    candidate: Candidate
    now: float
    rng: Random
    notes: dict[int, Any] = field(default_factory=dict)
    cached: Mapping[Endpoint, int] = field(default_factory=dict)
    hashed: int = 0
    cost: Cost | None = None


# The Go picker's names: a producer's work is `DataProducer`, `picked` is `PreRequest`.
Point = Literal["DataProducer", "Filter", "Scorer", "Picker", "PreRequest"]


HOOKS = ("picked", "moved", "answered", "ended", "relisted")


@dataclass(slots=True, frozen=True)
class Answer:
    """How a request went: seconds since the choice, seconds to the first token, HTTP status, tokens; None: not seen.

    `status` None is a request that ended before any answer, `whole` false one whose answer was cut off, `fault` how the
    endpoint failed, if it did.
    """

    seconds: float
    first_s: float | None = None
    status: int | None = None
    whole: bool = True
    usage: Usage | None = None
    fault: Fault | None = None


class Meter(Protocol):
    """Times plugins. The profile has no clock of its own."""

    def clock(self) -> float:
        """Seconds since some moment."""

    def took(self, point: Point, plugin_type: str, seconds: float) -> None:
        """One call of one plugin, and how long it took."""


class Plugin(ABC):
    """A part of a profile. Fields of a plugin are its parameters; `type` is its name in configuration files."""

    type: ClassVar[str]


class Memory(Plugin):
    """What a plugin that learns is told of a request's life; each does nothing unless a plugin has use for it."""

    def picked(self, query: Query, endpoint: Endpoint) -> None:
        """The choice is made."""

    def moved(self, query: Query, picked: Endpoint, served: Endpoint) -> None:
        """Another endpoint turned out to serve the request."""

    def answered(self, query: Query, endpoint: Endpoint, seconds: float) -> None:
        """The first token came, so many seconds after the choice. Not told where the gateway does not show it."""

    def ended(self, query: Query, endpoint: Endpoint, answer: Answer) -> None:
        """The request is over."""

    def relisted(self, endpoints: Sequence[Endpoint]) -> None:
        """The pool's endpoints, whenever the list changes, so that a memory of those that left can go."""


class Producer(Memory):
    """Works out facts about a request that several plugins look at, and writes them into the query."""

    @abstractmethod
    def produce(self, query: Query, endpoints: Sequence[Endpoint]) -> None:
        """Called once a decision, before any filter."""


class Filter(Memory):
    """Narrows the endpoints."""

    @abstractmethod
    def keep(self, query: Query, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """The endpoints that may go on, in the given order; an empty list means none may."""

    def why(self, query: Query, endpoint: Endpoint) -> str:
        """Why it left that one out, for the receipt."""
        return self.type


class Scorer(Memory):
    """Rates the endpoints. `inputs` are the fields of `Load` without which it could only read zeros."""

    inputs: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> Sequence[float]:
        """One score per endpoint, 0 (worst) to 1 (best); the profile clamps what is outside."""


class Picker(Memory):
    """Makes the choice."""

    @abstractmethod
    def pick(self, query: Query, totals: Sequence[float]) -> int:
        """The position of the chosen endpoint among the scored ones; `totals` is never empty."""


@dataclass(slots=True)
class Pick:
    """A choice among endpoints, by its place among them, and how it came about (rendered only when asked).

    `unused` are scorers that were not asked, with the reason.
    """

    place: int
    endpoints: Sequence[Endpoint]
    totals: Sequence[float]
    columns: Sequence[tuple[str, float, Sequence[float]]]
    dropped: Sequence[tuple[Endpoint, str]] = ()
    unused: Mapping[str, str] = field(default_factory=dict)

    @property
    def endpoint(self) -> Endpoint:
        """The one chosen."""
        return self.endpoints[self.place]

    def score(self, scorer_type: str) -> float | None:
        """What one scorer said of the choice; None where it was not asked."""
        return next((scores[self.place] for name, _, scores in self.columns if name == scorer_type), None)

    def best(self, count: int) -> Pick:
        """The same choice, with only the best rows to explain it by; as it is where there are no more."""
        if len(self.endpoints) <= count and len(self.dropped) <= count:
            return self
        places = nlargest(count, range(len(self.endpoints)), self.totals.__getitem__)
        if self.place not in places:
            places[-1] = self.place
        return Pick(
            places.index(self.place),
            [self.endpoints[place] for place in places],
            [self.totals[place] for place in places],
            [(name, weight, [scores[place] for place in places]) for name, weight, scores in self.columns],
            self.dropped[:count],
            self.unused,
        )

    def size(self) -> tuple[int, int]:
        """Rows and scores in each, of what `explain` tells."""
        return len(self.endpoints) + len(self.dropped), len(self.columns)

    def scores(self) -> dict[str, float]:
        """The weighted total of every endpoint that was scored, by its address."""
        return {e.address: total for e, total in zip(self.endpoints, self.totals, strict=True)}

    def explain(self) -> list[dict[str, Any]]:
        """One row an endpoint: address, score per scorer, weighted total, and by which filter it was excluded."""
        kept = [
            {
                "address": e.address,
                "name": e.name,
                "scores": {name: round(scores[i], 4) for name, _, scores in self.columns},
                "total": round(self.totals[i], 4),
                "excluded": False,
                "reason": "picked" if i == self.place else "",
            }
            for i, e in enumerate(self.endpoints)
        ]
        gone: list[dict[str, Any]] = [
            {"address": e.address, "name": e.name, "scores": {}, "total": None, "excluded": True, "reason": why}
            for e, why in self.dropped
        ]
        return kept + gone


class Unmetered:
    """Measures nothing."""

    def clock(self) -> float:
        """Always the same moment."""
        return 0.0

    def took(self, point: Point, plugin_type: str, seconds: float) -> None:
        """Not written down."""


@dataclass(slots=True)
class Profile:
    """A configured sentence: producers, filters in order, scorers with weights, one picker.

    `unused` are the scorers that have nothing to go by and are not asked, by type, with the reason.
    """

    name: str
    producers: Sequence[Producer] = field(default=(), kw_only=True)
    filters: Sequence[Filter] = ()
    scorers: Sequence[tuple[Scorer, float]] = ()
    picker: Picker = field(kw_only=True)
    meter: Meter = field(default_factory=Unmetered, kw_only=True, compare=False)
    unused: Mapping[str, str] = field(init=False, default_factory=dict, compare=False)
    _told: Mapping[str, Sequence[Memory]] = field(init=False, repr=False, compare=False)
    _asked: Sequence[tuple[Scorer, float]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._asked = tuple(self.scorers)
        self._told = {
            hook: [p for p in self.plugins if getattr(type(p), hook) is not getattr(Memory, hook)] for hook in HOOKS
        }

    @property
    def plugins(self) -> list[Memory]:
        """Every part, in the order of its turn."""
        return [*self.producers, *self.filters, *(scorer for scorer, _ in self.scorers), self.picker]

    def run(self, query: Query, endpoints: Sequence[Endpoint]) -> Pick | None:
        """The choice, or None when the filters leave no endpoint. Totals are sums of clamped score times weight."""
        clock, took = self.meter.clock, self.meter.took
        for producer in self.producers:
            began = clock()
            producer.produce(query, endpoints)
            took("DataProducer", producer.type, clock() - began)
        kept: Sequence[Endpoint] = endpoints
        dropped: list[tuple[Endpoint, str]] = []
        for step in self.filters:
            began = clock()
            left = step.keep(query, kept)
            took("Filter", step.type, clock() - began)
            if len(left) != len(kept):
                stay = set(map(id, left))
                dropped += [(e, step.why(query, e)) for e in kept if id(e) not in stay]
            kept = left
        if not kept:
            return None
        totals = [0.0] * len(kept)
        columns = []
        for scorer, weight in self._asked:
            began = clock()
            raw = scorer.score(query, kept)
            took("Scorer", scorer.type, clock() - began)
            scores = [s if 0.0 <= s <= 1.0 else min(1.0, max(0.0, s)) for s in raw]
            totals = [total + weight * s for total, s in zip(totals, scores, strict=True)]
            columns.append((scorer.type, weight, scores))
        began = clock()
        place = self.picker.pick(query, totals)
        took("Picker", self.picker.type, clock() - began)
        return Pick(place, kept, totals, columns, dropped, self.unused)

    def probed(self, endpoints: Sequence[Endpoint]) -> None:
        """Ask only scorers whose inputs some endpoint tells, of those that have been heard at all.

        To be called when the list, or what an endpoint tells, has changed; so it costs no request anything.
        """
        probes = [e.probe for e in endpoints if e.probe is not None]
        found = {signal for probe in probes for signal in probe.found}
        asked, unused = [], {}
        for scorer, weight in self.scorers:
            lacking = [signal for signal in scorer.inputs if signal not in found] if probes else []
            if lacking:
                unused[scorer.type] = f"no endpoint tells {', '.join(lacking)}"
            else:
                asked.append((scorer, weight))
        self._asked, self.unused = asked, unused

    def picked(self, query: Query, endpoint: Endpoint) -> None:
        """The choice is final: let plugins with a memory note it."""
        clock, took = self.meter.clock, self.meter.took
        for plugin in self._told["picked"]:
            began = clock()
            plugin.picked(query, endpoint)
            took("PreRequest", plugin.type, clock() - began)

    def moved(self, query: Query, picked: Endpoint, served: Endpoint) -> None:
        """The request was served elsewhere: let plugins with a memory correct it."""
        for plugin in self._told["moved"]:
            plugin.moved(query, picked, served)

    def answered(self, query: Query, endpoint: Endpoint, seconds: float) -> None:
        """The first token came: let plugins learn from when."""
        for plugin in self._told["answered"]:
            plugin.answered(query, endpoint, seconds)

    def ended(self, query: Query, endpoint: Endpoint, answer: Answer) -> None:
        """The request is over: let plugins learn from how it went."""
        for plugin in self._told["ended"]:
            plugin.ended(query, endpoint, answer)

    def relisted(self, endpoints: Sequence[Endpoint]) -> None:
        """The pool's list changed: let plugins with a memory forget the endpoints that left."""
        for plugin in self._told["relisted"]:
            plugin.relisted(endpoints)
