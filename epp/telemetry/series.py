"""Counters, gauges and histograms that cost little where they are counted, and little when they are scraped.

One thread counts and renders, so there are no locks: an observation is a bisection and two additions, of many together
a part of a sort. A deprecated
twin costs nothing on the way: it is summed up from its family when it is asked for. Must stay true: what `render`
writes is what `collect` says, which the client library writes in its own way (a test compares).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import add
from typing import ClassVar, Generic, Protocol, Self, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

Key = tuple[str, ...]
Rows = Iterable[tuple[Key, float]]


@dataclass(frozen=True, slots=True)
class Twin:
    """A family's other name; `labels` are those it has there, `renamed` what some of them are called.

    With `where` it shows only the series whose label values that holds of. Without a `text` it is deprecated.
    """

    name: str
    labels: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    where: Callable[[Key], bool] | None = None
    text: str = ""


class Number:
    """One series of a counter or a gauge."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Up."""
        self.value += amount

    def dec(self, amount: float = 1.0) -> None:
        """Down."""
        self.value -= amount

    def plus(self, other: Self) -> None:
        """Another series on top of this one."""
        self.value += other.value


class Distribution:
    """One series of a histogram: how many values each bucket holds (not cumulative), and their sum."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """One value; a bucket holds what is at most its bound."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def observe_all(self, values: list[float] | list[int]) -> None:
        """Many values; the list is sorted. A tenth of what they cost one by one, where they are a hundred."""
        counts, begin, end = self.counts, 0, len(values)
        values.sort()
        for place, bound in enumerate(self._bounds):
            if begin == end:
                break
            upto = bisect_right(values, bound, begin)
            counts[place] += upto - begin
            begin = upto
        counts[-1] += end - begin
        self.sum += sum(values)

    def plus(self, other: Self) -> None:
        """Another series on top of this one."""
        self.counts = list(map(add, self.counts, other.counts))
        self.sum += other.sum


class _Series(Protocol):
    def plus(self, other: Self) -> None: ...


S = TypeVar("S", bound=_Series)


class Family(Collector, ABC, Generic[S]):
    """The series of one name, by the values of its labels, and its twins."""

    kind: ClassVar[str]
    suffix: ClassVar[str] = ""

    def __init__(self, name: str, text: str, labels: Sequence[str] = (), twins: Sequence[Twin] = ()) -> None:
        self.name, self.text, self.labels, self.twins = name, text, tuple(labels), tuple(twins)
        self._series: dict[Key, S] = {}
        if not labels:
            self.child()

    def child(self, *values: str) -> S:
        """The series of these label values; hold on to it where it is used often."""
        return self.at(values)

    def at(self, values: Key) -> S:
        """The same for values that are a tuple already."""
        found = self._series.get(values)
        if found is None:
            assert len(values) == len(self.labels)
            found = self._series[values] = self._new()
        return found

    def by(self, label: str) -> dict[str, S]:
        """The series added up by one label."""
        return {key[0]: one for key, one in self._summed(Twin("", (label,))).items()}

    def forget(self, gone: Callable[[Key], bool]) -> None:
        """Drop the series of things that are no longer there."""
        for key in [key for key in self._series if gone(key)]:
            del self._series[key]

    def collect(self) -> Iterator[Metric]:
        """As the client library sees it."""
        for name, text, labels, series in self._views():
            yield self._metric(name, text, labels, series)

    def render(self) -> Iterator[str]:
        """As it is scraped."""
        for name, text, labels, series in self._views():
            full = name + self.suffix
            yield f"# HELP {full} {text}\n# TYPE {full} {self.kind}\n"
            by_name = sorted(range(len(labels)), key=labels.__getitem__)
            for key, one in series.items():
                yield self._lines(full, ",".join([f'{labels[n]}="{_escaped(key[n])}"' for n in by_name]), one)

    def _views(self) -> Iterator[tuple[str, str, Key, dict[Key, S]]]:
        yield self.name, self.text, self.labels, self._series
        for twin in self.twins:
            labels = tuple(dict(twin.renamed).get(label, label) for label in twin.labels)
            yield twin.name, twin.text or f"Deprecated: {self.name}.", labels, self._summed(twin)

    def _summed(self, twin: Twin) -> dict[Key, S]:
        places = [self.labels.index(label) for label in twin.labels]
        sums: dict[Key, S] = {}
        for key, series in self._series.items():
            if twin.where is not None and not twin.where(key):
                continue
            fewer = tuple([key[place] for place in places])
            if fewer not in sums:
                sums[fewer] = self._new()
            sums[fewer].plus(series)
        return sums

    @abstractmethod
    def _new(self) -> S: ...

    @abstractmethod
    def _metric(self, name: str, text: str, labels: Key, series: dict[Key, S]) -> Metric: ...

    @abstractmethod
    def _lines(self, name: str, pairs: str, series: S) -> str: ...


class _Numbers(Family[Number]):
    """One number a series; with `read` it is asked for when it is scraped, and forgets what is no longer there."""

    rendered: ClassVar[type[CounterMetricFamily | GaugeMetricFamily]]

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str] = (),
        twins: Sequence[Twin] = (),
        read: Callable[[], Rows] | None = None,
    ) -> None:
        super().__init__(name, text, labels, twins)
        self._read = read

    def _views(self) -> Iterator[tuple[str, str, Key, dict[Key, Number]]]:
        if self._read is not None:
            self._series = {}
            for key, value in self._read():
                self.child(*key).value = value
        return super()._views()

    def _new(self) -> Number:
        return Number()

    def _metric(self, name: str, text: str, labels: Key, series: dict[Key, Number]) -> Metric:
        metric = self.rendered(name, text, labels=labels)
        for key, number in series.items():
            metric.add_metric(key, number.value)
        return metric

    def _lines(self, name: str, pairs: str, series: Number) -> str:
        return f"{name}{_braced(pairs)} {_go(series.value)}\n"


class Counter(_Numbers):
    """Counts up."""

    kind = "counter"
    suffix = "_total"
    rendered = CounterMetricFamily


class Gauge(_Numbers):
    """Goes up and down."""

    kind = "gauge"
    rendered = GaugeMetricFamily


class Histogram(Family[Distribution]):
    """Says how values are spread."""

    kind = "histogram"

    def __init__(
        self, name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = (), twins: Sequence[Twin] = ()
    ) -> None:
        self.bounds = tuple(map(float, buckets))
        self._shown = [*map(_go, self.bounds), "+Inf"]
        super().__init__(name, text, labels, twins)

    def totals(self, label: str) -> dict[str, float]:
        """The sums of the values, by one label."""
        place, sums = self.labels.index(label), dict[str, float]()
        for key, one in self._series.items():
            sums[key[place]] = sums.get(key[place], 0.0) + one.sum
        return sums

    def _new(self) -> Distribution:
        return Distribution(self.bounds)

    def _metric(self, name: str, text: str, labels: Key, series: dict[Key, Distribution]) -> Metric:
        metric = HistogramMetricFamily(name, text, labels=labels)
        for key, one in series.items():
            metric.add_metric(key, list(zip(self._shown, accumulate(one.counts), strict=True)), one.sum)
        return metric

    def _lines(self, name: str, pairs: str, series: Distribution) -> str:
        start = f'{name}_bucket{{{pairs},le="' if pairs else f'{name}_bucket{{le="'
        totals = list(accumulate(series.counts))
        lines = [f'{start}{le}"}} {total}\n' for le, total in zip(self._shown, totals, strict=True)]
        braced = _braced(pairs)
        lines.append(f"{name}_count{braced} {totals[-1]}\n{name}_sum{braced} {_go(series.sum)}\n")
        return "".join(lines)


def _braced(pairs: str) -> str:
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _go(value: float) -> str:
    """A number as Go writes it, and with it every client library."""
    shown: str = floatToGoString(value)  # type: ignore[no-untyped-call]  # the library's own
    return shown
