"""Pictures of `bench sim`'s results: goodput and hits against load, or hits of one load as bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.plots import style
from benchmarks.plots.lines import Line, draw

Result = Mapping[str, Any]


def name(result: Result) -> str:
    """The policy, and what stands before it."""
    return str(result["policy"]) + ("" if result["admission"] == "none" else f" + {result['admission']}")


def goodput(results: Sequence[Result], path: Path) -> None:
    """A line a policy against load (against the rate where the knee is not known), with intervals over the seeds."""
    _against_load(results, "goodput", "% of offered requests, in time", path)


def hits(results: Sequence[Result], path: Path) -> None:
    """The same of prompt tokens found cached; of one load, bars."""
    if len({result["rate"] for result in results}) > 1:
        _against_load(results, "hit_rate", "% of prompt tokens found cached", path)
        return
    chosen = sorted(
        (r for r in results if r["summary"]["hit_rate"] is not None), key=lambda r: r["summary"]["hit_rate"]
    )
    names = [name(result) for result in chosen]
    drawn, ((axes,),) = style.figure(1, 1, wide=7.5, high=0.9 + 0.36 * len(chosen))
    values = [100 * result["summary"]["hit_rate"] for result in chosen]
    axes.barh(names, values, color=[style.OURS if style.is_ours(n) else style.GREY for n in names], height=0.7)
    for n, (value, result) in enumerate(zip(values, chosen, strict=True)):
        bounds = result["bootstrap"]["summary"]["hit_rate"]
        spread = "" if bounds is None else f"  ({100 * bounds[0]:.1f} to {100 * bounds[1]:.1f})"
        axes.annotate(f"{value:.1f}{spread}", (value, n), xytext=(4, 0), textcoords="offset points", va="center")
    axes.set_xlim(0, 1.3 * max([*values, 1.0]))
    axes.grid(visible=False)
    axes.set_title(f"{results[0]['workload']}, {_at(results[0])}: % of prompt tokens found cached")
    style.save(drawn, path)


def _against_load(results: Sequence[Result], key: str, label: str, path: Path) -> None:
    names = list(dict.fromkeys(map(name, results)))
    colours = style.colours(names)
    drawn, ((axes,),) = style.figure(1, 1, wide=8.0, high=4.6)
    lines = [_line(each, colours[each], key, [r for r in results if name(r) == each]) for each in names]
    top = max(max(line.high) for line in lines)
    draw(axes, lines, limits=(-2, 102) if key == "goodput" else (0, min(102.0, 1.15 * top)), least=0.055)
    known = all(result["load"] is not None for result in results)
    axes.set_xlabel("load, times the knee" if known else "requests a second")
    axes.set_ylabel(label)
    axes.set_title(_where(results[0]))
    style.save(drawn, path)


def _line(called: str, colour: str, key: str, results: Sequence[Result]) -> Line:
    results = sorted((r for r in results if r["summary"][key] is not None), key=lambda r: r["rate"])
    values = [100 * r["summary"][key] for r in results]
    bounds = [r["bootstrap"]["summary"][key] for r in results]
    low = [v if b is None else 100 * b[0] for v, b in zip(values, bounds, strict=True)]
    high = [v if b is None else 100 * b[1] for v, b in zip(values, bounds, strict=True)]
    return Line(called, colour, [r["rate"] if r["load"] is None else r["load"] for r in results], values, low, high)


def _at(result: Result) -> str:
    return f"{result['rate']:.4g} req/s" if result["load"] is None else f"{result['load']:g} times the knee"


def _where(result: Result) -> str:
    gpus = ", ".join(f"{count} x {gpu}" for gpu, count in result["fleet"]["gpus"].items())
    return f"{result['workload']}: {gpus}, {result['fleet']['model']}, {result['seeds']} seeds"
