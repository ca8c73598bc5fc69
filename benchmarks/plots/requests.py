"""Pictures of single requests: how long they took (CDFs), and what happened when (the timeline of a burst)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.plots import style
from benchmarks.plots.rows import Requests

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 120


def cdf(runs: Mapping[str, Requests], title: str, path: Path) -> None:
    """Of the counted requests *offered*, how many had their first token, and their whole answer, by then.

    Lines end below 100 % by what was refused or failed, so that nobody looks fast by refusing.
    """
    drawn, axes = style.figure(1, 2, wide=11.5, high=4.2, sharey=True)
    colours = style.colours(list(runs))
    for panel, key, label in zip(axes[0], ("ttft", "e2e"), ("first", "last"), strict=True):
        ends = [_line(panel, name, requests, key, colours[name]) for name, requests in runs.items()]
        style.plain_log(panel, fine=True, across=True)
        panel.set_ylim(0, 102)
        panel.set_xlabel(f"seconds to the {label} token")
        # Where lines end together, the names are in the order of the lines.
        ranked = sorted(ends, key=lambda end: end[0])
        labels = [(1.0, y - 0.01 * n, name, colour) for n, (_, y, name, colour) in enumerate(ranked)]
        if key == "e2e":
            style.label_ends(panel, labels, least=0.075)
    axes[0][0].set_ylabel("% of offered requests")
    drawn.suptitle(title, x=0.01, ha="left", fontweight="bold")
    style.save(drawn, path)


def _line(axes: Axes, name: str, requests: Requests, key: str, colour: str) -> tuple[float, float, str, str]:
    """Its median and its end, with its name and colour."""
    counted = np.array(requests.counted)
    seconds = np.sort(np.array(getattr(requests, key))[counted])
    seconds = seconds[~np.isnan(seconds)]
    share = 100 * np.arange(1, len(seconds) + 1) / max(1, counted.sum())
    at, ours = _thin(len(seconds)), style.is_ours(name)
    axes.plot(seconds[at], share[at], color=colour, linewidth=2.8 if ours else 1.6, zorder=3 if ours else 2)
    return (float(np.median(seconds)), float(share[-1]), name, colour) if len(share) else (np.inf, 0.0, name, colour)


def burst(runs: Mapping[str, Requests], title: str, path: Path) -> None:
    """A column a policy, of its first seed: offered and in time; how many wait for a first token; TTFT p99."""
    drawn, axes = style.figure(3, len(runs), wide=2.7 * len(runs) + 0.8, high=7.0, sharex=True, sharey="row")
    for n, (name, requests) in enumerate(runs.items()):
        chosen = np.array(requests.seed) == min(requests.seed)
        arrived, ttft = np.array(requests.arrived)[chosen], np.array(requests.ttft)[chosen]
        met = np.array(requests.met)[chosen]
        edges = np.linspace(0.0, arrived.max(), BINS + 1)
        _served(axes[0][n], arrived, met, edges)
        axes[0][n].set_title(name, color=style.OURS if style.is_ours(name) else style.INK, fontsize=10)
        came = ~np.isnan(ttft)
        _waiting(axes[1][n], arrived[came], (arrived + ttft)[came], edges)
        _p99(axes[2][n], arrived[came], ttft[came], edges)
        axes[2][n].set_xlabel("seconds")
    for row in axes[:2]:
        row[0].set_ylim(bottom=0)
    axes[0][0].set_ylabel("requests a second")
    axes[1][0].set_ylabel("waiting for a first token")
    axes[2][0].set_ylabel("time to first token, p99, s")
    drawn.suptitle(title, x=0.01, ha="left", fontweight="bold")
    style.save(drawn, path)


def _served(axes: Axes, arrived: Any, met: Any, edges: Any) -> None:
    width, middles = edges[1] - edges[0], (edges[:-1] + edges[1:]) / 2
    offered = np.histogram(arrived, edges)[0] / width
    axes.fill_between(middles, np.histogram(arrived[met], edges)[0] / width, color=style.BLUE, linewidth=0)
    axes.plot(middles, offered, color=style.INK, linewidth=1.0)
    for text, colour, height in (("offered", style.INK, 0.93), ("in time", style.BLUE, 0.83)):
        axes.annotate(
            text,
            (0.98, height),
            xycoords="axes fraction",
            ha="right",
            va="center",
            color=colour,
            fontweight="bold",
            bbox=style.PAPER,
        )


def _waiting(axes: Axes, begin: Any, end: Any, edges: Any) -> None:
    """At each edge: those that had come, less those that had their first token."""
    here = np.searchsorted(np.sort(begin), edges, "right") - np.searchsorted(np.sort(end), edges, "right")
    axes.fill_between(edges, here, color=style.VERMILION, alpha=0.75, linewidth=0)


def _p99(axes: Axes, arrived: Any, ttft: Any, edges: Any) -> None:
    place = np.digitize(arrived, edges[1:-1])
    values = [np.percentile(ttft[place == n], 99) if (place == n).any() else np.nan for n in range(len(edges) - 1)]
    style.plain_log(axes, fine=True)
    axes.plot((edges[:-1] + edges[1:]) / 2, values, color=style.INK, linewidth=1.0, marker="o", markersize=2.5)


def _thin(size: int) -> Any:
    """Positions of a thousand points of so many, with the first and the last."""
    return (
        np.unique(np.linspace(0, max(0, size - 1), min(size, 1_000)).astype(int)) if size else np.array([], dtype=int)
    )
