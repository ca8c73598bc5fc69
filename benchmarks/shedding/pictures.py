"""The pictures of the report: what a step of load does, and goodput by class against load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.plots import style
from benchmarks.plots.lines import Line
from benchmarks.plots.lines import draw as draw_lines
from benchmarks.sim.report import CLASS_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    "no shedding": style.GREY,
    "llm-d legacy": style.ORANGE,
    "llm-d probabilistic": style.PURPLE,
    "OneHop": style.BLUE,
    "llm-d as it comes": style.VERMILION,
}
Result = Mapping[str, Any]


def draw(content: Mapping[str, Any], folder: Path) -> list[Path]:
    """Both, as files in `folder`. Raises PlotsMissing."""
    found = [folder / "shedding-step.png", folder / "shedding-goodput.png"]
    step([result for result in content["results"] if result["load"] is None], found[0])
    goodput([result for result in content["results"] if result["load"] is not None], found[1])
    return found


def step(results: Sequence[Result], path: Path) -> None:
    """A column a contender: offered and in time by class; TTFT p99; queues."""
    drawn, axes = style.figure(3, len(results), wide=2.7 * len(results) + 0.8, high=7.0, sharex=True, sharey="row")
    for n, result in enumerate(results):
        before, high, _ = result["step"]["phases"]
        for row in axes:
            end = before["seconds"] + high["seconds"]
            row[n].axvspan(before["seconds"], end, color=style.FAINT, alpha=0.6, linewidth=0, zorder=0)
        line = result["step"]["timeline"]
        _served(axes[0][n], result, line)
        _waited(axes[1][n], result, line)
        _queues(axes[2][n], line)
        axes[2][n].set_xlabel("seconds")
        if any(line["waiting_gate"]):
            _legend(axes[2][n], QUEUES)
    axes[0][0].set_ylabel("requests a second")
    axes[1][0].set_ylabel("time to first token, p99, s")
    axes[2][0].set_ylabel("requests waiting")
    drawn.suptitle(
        f"A step to {high['load']:g} times the knee, and what of it is answered in time (coloured)",
        x=0.01,
        ha="left",
        fontweight="bold",
    )
    style.save(drawn, path, dpi=100)


QUEUES = (("in engines", style.VERMILION), ("at the gate", style.PURPLE))


def _served(axes: Axes, result: Result, line: Mapping[str, Any]) -> None:
    width = line["bin_s"]
    rates = {name: [n / width for n in line["classes"][name]["met"][:-1]] for name in CLASS_NAMES}
    by_class = [line["classes"][name]["offered"][:-1] for name in CLASS_NAMES]
    offered = [sum(bin_) / width for bin_ in zip(*by_class, strict=True)]
    at = _seconds(line)
    axes.stackplot(at, *rates.values(), colors=[style.CLASSES[name] for name in rates], linewidth=0)
    axes.plot(at, offered, color=style.INK, linewidth=1.2)
    axes.set_ylim(bottom=0)
    ours = style.is_ours(result["contender"])
    axes.set_title(result["contender"], color=style.OURS if ours else style.INK)
    before, high, _ = result["step"]["phases"]
    axes.annotate(
        "offered",
        (before["seconds"] + high["seconds"], max(offered) * 0.95),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
    )
    _legend(axes, [(name, style.CLASS_TEXT[name]) for name in reversed(CLASS_NAMES)], top=0.82)


def _waited(axes: Axes, result: Result, line: Mapping[str, Any]) -> None:
    style.plain_log(axes)
    slo_s = result["slo"]["ttft_s"]
    axes.axhline(slo_s, color=style.INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.annotate(
        f"objective: from {slo_s:g} s",
        (1.0, slo_s),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        fontsize=8,
    )
    for name in ("standard", "critical"):
        p99 = [float("nan") if v is None else v for v in line["classes"][name]["ttft_p99"][:-1]]
        axes.plot(_seconds(line), p99, color=style.CLASSES[name], linewidth=1.8)


def _queues(axes: Axes, line: Mapping[str, Any]) -> None:
    for key, colour in (("waiting_engines", style.VERMILION), ("waiting_gate", style.PURPLE)):
        values = [0.0 if v is None else v for v in line[key][:-1]]
        if any(values):
            axes.plot(_seconds(line), values, color=colour, linewidth=1.8)
    axes.set_yscale("symlog", linthresh=10)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def _legend(axes: Axes, words: Sequence[tuple[str, str]], top: float = 0.93) -> None:
    for n, (word, colour) in enumerate(words):
        place = (0.98, top - 0.1 * n)
        axes.annotate(word, place, xycoords="axes fraction", ha="right", va="center", color=colour, fontweight="bold")


def _seconds(line: Mapping[str, Any]) -> list[float]:
    """The middles of the bins but the last, which is not full."""
    return [(n + 0.5) * line["bin_s"] for n in range(len(line["waiting_engines"]) - 1)]


def goodput(results: Sequence[Result], path: Path) -> None:
    """A panel a class, a line a contender, with the 95 % bootstrap interval."""
    drawn, axes = style.figure(1, len(CLASS_NAMES), wide=13.0, high=3.9, sharey=True)
    names = list(dict.fromkeys(result["contender"] for result in results))
    for panel, klass in zip(axes[0], CLASS_NAMES, strict=True):
        draw_lines(
            panel,
            [_line(name, klass, [r for r in results if r["contender"] == name]) for name in names],
            limits=(-2, 102),
        )
        panel.set_title(klass)
        panel.set_xlabel("load, times the knee")
    axes[0][0].set_ylabel("% of offered, in time")
    style.save(drawn, path)


def _line(name: str, klass: str, results: Sequence[Result]) -> Line:
    values = [100 * result["classes"][klass]["goodput"] for result in results]
    bounds = [result["bootstrap"][klass]["goodput"] for result in results]
    low = [v if b is None else 100 * b[0] for v, b in zip(values, bounds, strict=True)]
    high = [v if b is None else 100 * b[1] for v, b in zip(values, bounds, strict=True)]
    return Line(name, COLOURS[name], [result["load"] for result in results], values, low, high)
