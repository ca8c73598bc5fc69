"""Lines with intervals, named at their ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(slots=True, frozen=True)
class Line:
    """One name's values, with what they may be at least and at most."""

    name: str
    colour: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def draw(axes: Axes, lines: Sequence[Line], *, limits: tuple[float, float], least: float = 0.07) -> None:
    """All of them; `limits` of the vertical axis; ours on top."""
    for line in lines:
        ours = style.is_ours(line.name)
        axes.fill_between(line.x, line.low, line.high, color=line.colour, alpha=0.18, linewidth=0)
        axes.plot(
            line.x,
            line.y,
            color=line.colour,
            linewidth=2.8 if ours else 1.6,
            marker="o",
            markersize=5 if ours else 3.5,
            zorder=3 if ours else 2,
        )
    axes.set_ylim(*limits)
    style.label_ends(axes, [(line.x[-1], line.y[-1], line.name, line.colour) for line in lines], least=least)
