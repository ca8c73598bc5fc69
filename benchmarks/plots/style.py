"""How all pictures look, and how they are written: the same numbers give the same bytes with one matplotlib.

Colours are those of Okabe and Ito, "Color Universal Design" (2008), which colour-blind readers can tell apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLACK, ORANGE, SKY, GREEN = "#222222", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE, GREY = "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#888888"
INK, FAINT = "#333333", "#DDDDDD"
CLASSES = {"critical": BLUE, "standard": GREEN, "sheddable": ORANGE}
CLASS_TEXT = {**CLASSES, "standard": "#007A59", "sheddable": "#A86F00"}
"""Darker, as letters are thin."""
PAPER = {"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
"""Behind letters that lie on lines."""
PALETTE = 96
"""Colours of a picture: enough for smooth letters, and a third of the bytes."""
OURS, OTHERS = BLUE, (VERMILION, ORANGE, GREEN, PURPLE, GREY, SKY, BLACK)
SETTINGS = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "path.simplify_threshold": 0.5,
}


class PlotsMissing(RuntimeError):
    """There is nothing to draw with."""


def needs_matplotlib() -> Any:
    """Its module. Raises PlotsMissing with what to install."""
    try:
        return import_module("matplotlib")
    except ImportError as missing:
        raise PlotsMissing("pictures need matplotlib: pip install 'onehop[bench]'") from missing


def figure(rows: int, columns: int, *, wide: float, high: float, **sharing: Any) -> tuple[Figure, list[list[Axes]]]:
    """A figure of so many inches and its axes, row by row. Raises PlotsMissing."""
    matplotlib = needs_matplotlib()
    from matplotlib.figure import Figure  # noqa: PLC0415  # an extra, which only pictures need

    matplotlib.rcParams.update(SETTINGS)
    drawn = Figure(figsize=(wide, high), layout="constrained")
    axes = drawn.subplots(rows, columns, squeeze=False, **sharing)
    return drawn, [list(row) for row in axes]


def save(drawn: Figure, path: Path, dpi: int = 110) -> None:
    """As a small PNG that says nothing of when and with what it was made."""
    from PIL import Image  # noqa: PLC0415  # comes with matplotlib

    whole = BytesIO()
    drawn.savefig(whole, format="png", dpi=dpi, metadata={"Software": None})
    with Image.open(whole) as image:
        image.convert("RGB").quantize(PALETTE, dither=Image.Dither.NONE).save(path, optimize=True)


def colours(names: Sequence[str]) -> dict[str, str]:
    """One for each; ours is always blue."""
    others = iter(OTHERS * (1 + len(names) // len(OTHERS)))
    return {name: OURS if is_ours(name) else next(others) for name in names}


def is_ours(name: str) -> bool:
    """Whether a line is of the default policy with its own gate."""
    return name in ("OneHop", "default + onehop")


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]], *, least: float) -> None:
    """The names (x, y, text, colour) at the right ends of lines, moved apart where they would overlap.

    `least` is the height of a line of text in parts of the axes; call it when the limits are set.
    """
    to_axes = axes.transData + axes.transAxes.inverted()
    placed = sorted((float(to_axes.transform((x, y))[1]), text, colour) for x, y, text, colour in ends)
    heights = spread([min(1.0, max(0.0, at)) for at, _, _ in placed], least)
    for (_, text, colour), at in zip(placed, heights, strict=True):
        axes.annotate(
            text,
            (1.0, at),
            xycoords="axes fraction",
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontweight="bold" if is_ours(text) else "normal",
            annotation_clip=False,
        )


def spread(heights: Sequence[float], least: float) -> list[float]:
    """Ascending heights between 0 and 1, moved to be `least` apart: overlapping ones around their mean."""
    groups: list[tuple[float, int]] = []
    for height in heights:
        groups.append((height, 1))
        while len(groups) > 1:
            (low, n), (high, m) = groups[-2:]
            if high - low >= least * (n + m) / 2:
                break
            groups[-2:] = [((low * n + high * m) / (n + m), n + m)]
    placed = [middle + least * (i - (n - 1) / 2) for middle, n in groups for i in range(n)]
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], 1.0 - least * (len(placed) - 1 - i))
    return [max(height, least * i) for i, height in enumerate(placed)]


def plain_log(axes: Axes, *, fine: bool = False, across: bool = False) -> None:
    """A logarithmic axis, vertical or `across`, with numbers as people write them: of decades, or of 2 and 5, too."""
    from matplotlib.ticker import LogLocator  # noqa: PLC0415  # an extra

    axis = axes.xaxis if across else axes.yaxis
    (axes.set_xscale if across else axes.set_yscale)("log")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if fine else (1.0,)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()
