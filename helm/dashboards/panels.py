"""What a dashboard is written of: a panel is a title, what to see in it, a unit, and queries with their legends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NS = 'namespace=~"$namespace"'
ENDPOINT = f'{NS}, name=~"$pool"'
RATE = "[$__rate_interval]"
SHED = "saturated|shed|wait_too_long|queue_full|queue_timeout|displaced|evicted"
PARTS = (0.5, 0.95, 0.99)
Query = tuple[str, str]


@dataclass(frozen=True)
class Panel:
    """Queries with their legends; `kind` is Grafana's."""

    title: str
    text: str
    unit: str
    queries: Sequence[Query]
    kind: str = "timeseries"


@dataclass(frozen=True)
class Row:
    """Panels under a heading, three abreast."""

    title: str
    panels: Sequence[Panel]


def counted(title: str, text: str, metric: str, by: str, *, where: str = "", legend: str = "") -> Panel:
    """A counter, a second, by labels."""
    return Panel(title, text, "reqps", [(rate(metric, by, where), legend or _named(by))])


def troubles(title: str, text: str, metric: str, by: str, *, where: str = "", legend: str = "") -> Panel:
    """Likewise, of what is not there until there is trouble."""
    return Panel(title, text, "reqps", [(quiet(rate(metric, by, where)), legend or _named(by))])


def spread(
    title: str, text: str, metric: str, by: str = "", *, where: str = "", parts: Sequence[float] = PARTS
) -> Panel:
    """Quantiles of seconds."""
    return Panel(title, text, "s", quantiles(metric, by, where, parts))


def rate(metric: str, by: str, where: str = "") -> str:
    """Of a counter, a second, by labels."""
    labels = f"{NS}, {where}" if where else NS
    return f"sum by ({by}) (rate({metric}{{{labels}}}{RATE}))"


def quiet(expression: str) -> str:
    """0 while there is no such series."""
    return f"({expression}) or vector(0)"


def quantiles(metric: str, by: str = "", where: str = "", parts: Sequence[float] = PARTS) -> list[Query]:
    """Quantiles of a histogram, by a label if one is given."""
    grouped, named = (f"le, {by}", f"{{{{{by}}}}}, ") if by else ("le", "")
    return [
        (f"histogram_quantile({part}, {rate(f'{metric}_bucket', grouped, where)})", f"{named}p{part * 100:g}")
        for part in parts
    ]


def mean(metric: str, by: str) -> str:
    """The mean of what a histogram saw."""
    return f"{rate(f'{metric}_sum', by)} / {rate(f'{metric}_count', by)}"


def _named(by: str) -> str:
    """A legend that says all labels."""
    return ", ".join(f"{{{{{label}}}}}" for label in by.split(", "))
