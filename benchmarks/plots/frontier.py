"""Quality against latency and against cost, of ways to choose a model: who is not beaten in both.

Read from a JSON list of `{"policy", "quality", "cost", "ttft_mean", "e2e_mean", "goodput"}`: quality and goodput as
fractions, cost in whatever unit the file has, seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIELDS = ("policy", "quality", "cost", "ttft_mean", "e2e_mean", "goodput")
Row = Mapping[str, Any]
PANELS = (
    ("e2e_mean", "mean seconds to the last token"),
    ("ttft_mean", "mean seconds to the first token"),
    ("cost", "cost"),
)


def is_one(content: object) -> bool:
    """Whether that is a list of such rows."""
    return (
        isinstance(content, list)
        and bool(content)
        and all(isinstance(r, dict) and r.keys() >= set(FIELDS) for r in content)
    )


def frontier(rows: Sequence[Row], path: Path) -> None:
    """A panel a price, quality upwards; the line joins those that nobody beats in both.

    An oracle, which knows every outcome beforehand, is shown hollow and beats nobody.
    """
    drawn, axes = style.figure(1, len(PANELS), wide=14.0, high=4.6, sharey=True)
    for panel, (key, label) in zip(axes[0], PANELS, strict=True):
        _panel(panel, [row for row in rows if row[key] is not None and row["quality"] is not None], key)
        panel.set_xlabel(label)
    axes[0][0].set_ylabel("% answered right")
    drawn.suptitle(
        "Quality against latency and cost: up and to the left is better", x=0.01, ha="left", fontweight="bold"
    )
    style.save(drawn, path)


def unbeaten(rows: Sequence[Row], key: str) -> list[Row]:
    """Those of which none is as good and cheaper, or as cheap and better; cheapest first."""
    found: list[Row] = []
    for row in sorted(rows, key=lambda r: (r[key], -r["quality"])):
        if not found or row["quality"] > found[-1]["quality"]:
            found.append(row)
    return found


def _panel(axes: Axes, rows: Sequence[Row], key: str) -> None:
    best = unbeaten([row for row in rows if not _is_bound(row)], key)
    axes.step(
        [r[key] for r in best], [100 * r["quality"] for r in best], where="post", color=style.GREEN, linewidth=1.2
    )
    values = [row[key] for row in rows]
    if values and min(values) > 0 and max(values) > 20 * min(values):
        style.plain_log(axes, fine=max(values) < 100 * min(values), across=True)
    for row in rows:
        ours = _is_ours(row)
        colour = style.OURS if ours else style.GREEN if row in best else style.GREY
        face = "white" if _is_bound(row) else colour
        size = 60 if ours else 36
        axes.scatter(
            [row[key]], [100 * row["quality"]], facecolor=face, edgecolor=colour, s=size, zorder=4 if ours else 3
        )
    axes.margins(x=0.22, y=0.12)
    _names(axes, rows, key, best)


def _names(axes: Axes, rows: Sequence[Row], key: str, best: Sequence[Row]) -> None:
    """Beside their points, moved apart in height where they would overlap."""
    to_axes = axes.transScale + axes.transLimits
    axes.autoscale_view()
    places = sorted((tuple(map(float, to_axes.transform((r[key], 100 * r["quality"])))), n) for n, r in enumerate(rows))
    right = max((x for (x, _), _ in places), default=1.0)
    for side in (0, 1):
        here = sorted((y, x, n) for (x, y), n in places if (x > 0.6 * right) == bool(side))
        for height, (_, x, n) in zip(style.spread([y for y, _, _ in here], 0.05), here, strict=True):
            row = rows[n]
            ours = _is_ours(row)
            axes.annotate(
                str(row["policy"]),
                (x, height),
                xycoords="axes fraction",
                xytext=(-7 if side else 7, 0),
                textcoords="offset points",
                ha="right" if side else "left",
                va="center",
                fontsize=9,
                fontweight="bold" if ours else "normal",
                color=style.OURS if ours else style.INK if row in best else "#666666",
                bbox=style.PAPER,
                zorder=2,
            )


def _is_bound(row: Row) -> bool:
    """What nobody can do, as it knows the outcomes beforehand."""
    return str(row["policy"]).lower().startswith("oracle")


def _is_ours(row: Row) -> bool:
    return str(row["policy"]).lower().startswith(("onehop", "default"))
