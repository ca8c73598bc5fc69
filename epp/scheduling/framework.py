"""The grammar of a replica decision: filters, scorers, a picker, and the profile that strings them together.

Pure and synchronous: a plugin is given everything it may look at, including the time and the dice. One call per
plugin and decision, never one per endpoint (Kubernetes scheduler framework; GIE's EndpointPickerConfig).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar, Literal, Protocol

from epp.domain import Candidate, Cost, Endpoint, Fault, Request, Usage
from epp.plugin import Plugin, Setting
from epp.scheduling.pick import Pick

__all__ = ["Plugin", "Setting"]
Metadata = Mapping[str, Mapping[str, str | float]]  # dynamic metadata, by namespace


@dataclass(slots=True)
class Extra:
    """What a choice brings along, where it is more than an endpoint.

    `headers` go on to the model server. `destination` is the address the gateway is given where that is not the chosen
    endpoint's own. `picks` are the endpoints by profile, of which those in `beside` work for the request before the
    chosen one does. `metadata` is for the gateway.
    """

    headers: list[tuple[str, str]] = field(default_factory=list)
    destination: str | None = None
    picks: dict[str, Endpoint] = field(default_factory=dict)
    beside: list[Endpoint] = field(default_factory=list)
    metadata: dict[str, dict[str, str | float]] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Foreseen:
    """What a request is predicted to meet at one endpoint, in seconds; `tpot_s` None where nobody knows the pace."""

    ttft_s: float
    tpot_s: float | None = None


@dataclass(slots=True, eq=False)
class Query:
    """One decision as plugins see it: the request, the model considered, the time and the chance given to it.

    `notes` keeps, by plugin, what a plugin worked out for this decision and needs again when the choice is final or
    turns out otherwise; the request's body is gone by then.

    Producers work out what several plugins look at: `cached` is how many prompt tokens each endpoint is believed to
    hold (those that hold none are left out) of the `hashed` tokens that were looked up. `cost` is what the request
    takes at the endpoint finally picked, for the ledger; None leaves the whole prompt to be computed. `foreseen` is
    what it is predicted to meet at each endpoint, None where nobody predicts.

    `blind` says that the gateway will not show us the first token.

    `session` is what the request's session calls itself. `able` are all endpoints that may take part, where the choice
    itself may be among fewer; empty: it is not. `details` are what the scores rest on, by name, for who reads why: a
    number for each endpoint that was scored. `passed` are endpoints that the gateway tried in vain after the one that
    was picked.
    """

    request: Request
    candidate: Candidate
    now: float
    rng: Random
    notes: dict[int, Any] = field(default_factory=dict)
    cached: Mapping[Endpoint, int] = field(default_factory=dict)
    hashed: int = 0
    cost: Cost | None = None
    foreseen: Mapping[Endpoint, Foreseen] | None = None
    blind: bool = False
    session: str | None = None
    able: Sequence[Endpoint] = ()
    extra: Extra | None = None
    details: Mapping[str, Sequence[float]] = field(default_factory=dict)
    passed: Sequence[Endpoint] = ()

    def brings(self) -> Extra:
        """What the choice brings along, to be added to."""
        if self.extra is None:
            self.extra = Extra()
        return self.extra


# The Go picker's names: a producer's work is `DataProducer`, `picked` is `PreRequest`.
Point = Literal["Screener", "DataProducer", "Admitter", "Filter", "Scorer", "Picker", "PreRequest"]


HOOKS = ("picked", "moved", "heads", "answered", "reports", "ended", "relisted")


@dataclass(slots=True)
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


class Memory(Plugin):
    """What a plugin that learns is told of a request's life; each does nothing unless a plugin has use for it."""

    def picked(self, query: Query, endpoint: Endpoint) -> None:
        """The choice is made."""

    def moved(self, query: Query, picked: Endpoint, served: Endpoint) -> None:
        """Another endpoint turned out to serve the request."""

    def heads(self, query: Query, endpoint: Endpoint, served: str | None) -> Sequence[tuple[str, str]]:
        """Headers to give the client: the answer begins. `served` is who the gateway says served, if it says so."""
        return ()

    def answered(self, query: Query, endpoint: Endpoint, seconds: float) -> None:
        """The first token came, so many seconds after the choice. Not told where the gateway does not show it."""

    def reports(self, query: Query, usage: Usage | None) -> Metadata:
        """What to tell the gateway with the last piece of an answer, where it shows us one."""
        return {}

    def ended(self, query: Query, endpoint: Endpoint, answer: Answer) -> None:
        """The request is over."""

    def relisted(self, endpoints: Sequence[Endpoint]) -> None:
        """The pool's endpoints, whenever the list changes, so that a memory of those that left can go."""


class Screener(Memory, ABC):
    """Says who may take part at all, before anything is worked out of a request."""

    @abstractmethod
    def screen(self, query: Query, endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
        """The endpoints that may take part, in the given order; never the list that was given.

        Every screener sees them all, whatever the others say. Where nobody is left the request is refused with 503.
        """


class Producer(Memory, ABC):
    """Works out facts about a request that several plugins look at, and writes them into the query."""

    @abstractmethod
    def produce(self, query: Query, endpoints: Sequence[Endpoint]) -> None:
        """Called once a decision, before any filter."""


class Admitter(Memory, ABC):
    """Refuses requests."""

    @abstractmethod
    def admit(self, query: Query, endpoints: Sequence[Endpoint]) -> None:
        """Called once a decision, after the producers. Raises `Refused`."""


class Filter(Memory, ABC):
    """Narrows the endpoints."""

    @abstractmethod
    def keep(self, query: Query, endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
        """The endpoints that may go on, in the given order; an empty list means none may.

        Never the list that was given; a tuple, which nobody can change, may be given back.
        """

    def why(self, query: Query, endpoint: Endpoint) -> str:
        """Why it left that one out, for the receipt."""
        return self.type


class Scorer(Memory, ABC):
    """Rates the endpoints. `inputs` are the fields of `Load` without which it could only read zeros.

    `bounded` says that no score is ever below 0 or above 1, so that nobody need look.
    """

    inputs: ClassVar[tuple[str, ...]] = ()
    bounded: ClassVar[bool] = False

    @abstractmethod
    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> Sequence[float]:
        """One score per endpoint, 0 (worst) to 1 (best); the profile clamps what is outside."""


class Picker(Memory, ABC):
    """Makes the choice."""

    max_num_of_endpoints: int = 1

    @abstractmethod
    def pick(self, query: Query, totals: Sequence[float]) -> int:
        """The position of the chosen endpoint among the scored ones; `totals` is never empty."""

    def further(self, query: Query, totals: Sequence[float], place: int) -> list[int]:
        """The positions of the next choices, best first, where `max_num_of_endpoints` asks for more than `place`."""
        left = [i for i in range(len(totals)) if i != place]
        found: list[int] = []
        while left and len(found) < self.max_num_of_endpoints - 1:
            found.append(left.pop(self.pick(query, [totals[i] for i in left])))
        return found


class Unmetered:
    """Measures nothing."""

    def clock(self) -> float:
        """Always the same moment."""
        return 0.0

    def took(self, point: Point, plugin_type: str, seconds: float) -> None:
        """Not written down."""


class Scheduler(ABC):
    """What the director asks for an endpoint, and tells how it went: one profile, or a handler over several."""

    name: str
    screeners: Sequence[Screener]
    producers: Sequence[Producer]
    admitters: Sequence[Admitter]
    meter: Meter
    unused: Mapping[str, str]
    _told: Mapping[str, Sequence[Memory]]

    @property
    @abstractmethod
    def plugins(self) -> list[Memory]:
        """Every part once, in the order of its turn."""

    @abstractmethod
    def run(self, query: Query, endpoints: Sequence[Endpoint]) -> Pick | None:
        """The choice, or None when the filters leave no endpoint. Raises `Refused` where an admitter does."""

    @abstractmethod
    def probed(self, endpoints: Sequence[Endpoint]) -> None:
        """What these endpoints tell has changed: ask only who has something to go by; the others are in `unused`."""

    def screen(
        self, query: Query, endpoints: Sequence[Endpoint]
    ) -> tuple[Sequence[Endpoint], Sequence[tuple[Endpoint, str]]]:
        """The endpoints that every screener keeps, and the others, each with the type of the first that does not."""
        clock, took = self.meter.clock, self.meter.took
        out: dict[int, str] = {}
        began = clock()
        for screener in self.screeners:
            stay = set(map(id, screener.screen(query, endpoints)))
            for e in endpoints:
                if id(e) not in stay:
                    out.setdefault(id(e), screener.type)
            took("Screener", screener.type, (ended := clock()) - began)
            began = ended
        if not out:
            return endpoints, ()
        return [e for e in endpoints if id(e) not in out], [(e, out[id(e)]) for e in endpoints if id(e) in out]

    def prepare(self, query: Query, endpoints: Sequence[Endpoint]) -> None:
        """What comes before all profiles."""
        clock, took = self.meter.clock, self.meter.took
        began = clock()
        for producer in self.producers:
            producer.produce(query, endpoints)
            took("DataProducer", producer.type, (ended := clock()) - began)
            began = ended
        for admitter in self.admitters:
            admitter.admit(query, endpoints)
            took("Admitter", admitter.type, (ended := clock()) - began)
            began = ended

    def picked(self, query: Query, endpoint: Endpoint) -> None:
        """The choice is final: let plugins with a memory note it, and before it whoever works for it."""
        clock, took = self.meter.clock, self.meter.took
        beside = () if query.extra is None else query.extra.beside
        began = clock()
        for plugin in self._told["picked"]:
            for other in beside:
                plugin.picked(query, other)
            plugin.picked(query, endpoint)
            took("PreRequest", plugin.type, (ended := clock()) - began)
            began = ended

    def moved(self, query: Query, picked: Endpoint, served: Endpoint) -> None:
        """The request was served elsewhere: let plugins with a memory correct it."""
        for plugin in self._told["moved"]:
            plugin.moved(query, picked, served)

    def heads(self, query: Query, endpoint: Endpoint, served: str | None) -> list[tuple[str, str]]:
        """The answer begins: what plugins want the client to be told."""
        return [pair for plugin in self._told["heads"] for pair in plugin.heads(query, endpoint, served)]

    def answered(self, query: Query, endpoint: Endpoint, seconds: float) -> None:
        """The first token came: let plugins learn from when."""
        for plugin in self._told["answered"]:
            plugin.answered(query, endpoint, seconds)

    @property
    def reporting(self) -> bool:
        """Whether any plugin ever reports."""
        return bool(self._told["reports"])

    def reports(self, query: Query, usage: Usage | None) -> Metadata:
        """The answer is whole: what plugins want the gateway to be told."""
        told: dict[str, dict[str, str | float]] = {}
        for plugin in self._told["reports"]:
            for namespace, values in plugin.reports(query, usage).items():
                told.setdefault(namespace, {}).update(values)
        return told

    def ended(self, query: Query, endpoint: Endpoint, answer: Answer) -> None:
        """The request is over: let plugins learn from how it went."""
        for plugin in self._told["ended"]:
            plugin.ended(query, endpoint, answer)

    def relisted(self, endpoints: Sequence[Endpoint]) -> None:
        """The pool's list changed: let plugins with a memory forget the endpoints that left."""
        for plugin in self._told["relisted"]:
            plugin.relisted(endpoints)


def told(plugins: Sequence[Memory]) -> dict[str, list[Memory]]:
    """By hook, the plugins that have use for it."""
    return {hook: [p for p in plugins if getattr(type(p), hook) is not getattr(Memory, hook)] for hook in HOOKS}


@dataclass(slots=True)
class Profile(Scheduler):
    """A configured sentence: screeners, producers, admitters, filters in order, scorers with weights, one picker.

    `memories` are plugins without a turn in the choice, which are only told of it. `unused` are the scorers that have
    nothing to go by and are not asked, by type, with the reason.
    """

    name: str
    screeners: Sequence[Screener] = field(default=(), kw_only=True)
    producers: Sequence[Producer] = field(default=(), kw_only=True)
    admitters: Sequence[Admitter] = field(default=(), kw_only=True)
    filters: Sequence[Filter] = ()
    scorers: Sequence[tuple[Scorer, float]] = ()
    picker: Picker = field(kw_only=True)
    memories: Sequence[Memory] = field(default=(), kw_only=True)
    meter: Meter = field(default_factory=Unmetered, kw_only=True, compare=False)
    unused: Mapping[str, str] = field(init=False, default_factory=dict, compare=False)
    _told: Mapping[str, Sequence[Memory]] = field(init=False, repr=False, compare=False)
    _asked: Sequence[tuple[Scorer, float]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._asked = tuple(self.scorers)
        self._told = told(self.plugins)

    @property
    def plugins(self) -> list[Memory]:
        """Every part once, in the order of its turn."""
        first = [*self.screeners, *self.producers, *self.admitters]
        parts = [*self.filters, *(scorer for scorer, _ in self.scorers), self.picker]
        return unique([*first, *parts, *self.memories])

    def run(self, query: Query, endpoints: Sequence[Endpoint]) -> Pick | None:
        """The choice, or None when the filters leave no endpoint. Totals are sums of clamped score times weight."""
        self.prepare(query, endpoints)
        clock, took = self.meter.clock, self.meter.took
        kept: Sequence[Endpoint] = endpoints
        dropped: list[tuple[Endpoint, str]] = []
        began = clock()
        for step in self.filters:
            left = step.keep(query, kept)
            if len(left) != len(kept):
                stay = set(map(id, left))
                dropped += [(e, step.why(query, e)) for e in kept if id(e) not in stay]
            kept = left
            took("Filter", step.type, (ended := clock()) - began)
            began = ended
        if not kept:
            return None
        totals: Sequence[float] = ()
        columns = []
        for scorer, weight in self._asked:
            raw = scorer.score(query, kept)
            scores = raw if scorer.bounded else [s if 0.0 <= s <= 1.0 else min(1.0, max(0.0, s)) for s in raw]
            assert len(scores) == len(kept)
            columns.append((scorer.type, weight, scores))
            if totals:
                totals = [total + weight * s for total, s in zip(totals, scores, strict=True)]
            else:
                totals = scores if weight == 1.0 else [weight * s for s in scores]
            took("Scorer", scorer.type, (ended := clock()) - began)
            began = ended
        totals = totals or [0.0] * len(kept)
        place = self.picker.pick(query, totals)
        more: Sequence[Endpoint] = ()
        if self.picker.max_num_of_endpoints > 1:
            more = [kept[i] for i in self.picker.further(query, totals, place)]
        took("Picker", self.picker.type, clock() - began)
        return Pick(place, kept, totals, columns, dropped, more, self.unused, query.details)

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


def unique(plugins: Sequence[Memory]) -> list[Memory]:
    """Each object once, where it came first."""
    return list({id(plugin): plugin for plugin in plugins}.values())
