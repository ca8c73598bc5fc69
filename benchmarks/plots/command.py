"""`onehop bench plot`: pictures of what the other benchmarks wrote; what a file is shows in its content.

- `bench sim --json`: goodput and hit rate, against load where there are several; of a model mix the frontier;
- `bench shedding --json`: the step, and goodput by class against load;
- `--requests-out`: CDFs of latency, and a timeline;
- a list of policies with quality, cost and latency: the frontier.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.plots import frontier, policies, requests, rows
from benchmarks.plots.style import PlotsMissing, needs_matplotlib


def run(arguments: list[str]) -> int:
    """0; 1 where a file is none that we know, or there is nothing to draw with."""
    parser = argparse.ArgumentParser(
        prog="onehop bench plot", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for the pictures")
    given = parser.parse_args(arguments)
    try:
        needs_matplotlib()
        given.out.mkdir(parents=True, exist_ok=True)
        for path in draw(given.files, given.out):
            print(path)
    except (ValueError, PlotsMissing) as wrong:
        print(f"onehop bench plot: {wrong}", file=sys.stderr)
        return 1
    return 0


def draw(files: Sequence[Path], out: Path) -> list[Path]:
    """The pictures that were drawn. Raises ValueError, PlotsMissing."""
    drawn: list[Path] = []
    results: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for path in files:
        content = _json(path)
        if content is None:
            drawn += _requests(path, out)
        elif frontier.is_one(content):
            drawn.append(out / "frontier.png")
            frontier.frontier(content, drawn[-1])
        elif isinstance(content, dict) and content.get("benchmark") == "shedding":
            from benchmarks.shedding.pictures import draw as draw_shedding  # noqa: PLC0415

            drawn += draw_shedding(content, out)
        else:
            for result in _results(path, content):
                results[result["workload"]].append(result)
    for workload, found in results.items():
        if len({result["rate"] for result in found}) > 1:
            drawn.append(out / f"{workload}-goodput.png")
            policies.goodput(found, drawn[-1])
        drawn.append(out / f"{workload}-hits.png")
        policies.hits(found, drawn[-1])
        for rate, choices in {result["rate"]: result["frontier"] for result in found if result.get("frontier")}.items():
            drawn.append(out / f"{workload}-{rate:.4g}-frontier.png")
            frontier.frontier(choices, drawn[-1])
    return drawn


def _json(path: Path) -> Any:
    """What a file says as a whole; None where it is lines, or packed."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return None
    return None if isinstance(content, dict) and "arrived" in content else content


def _results(path: Path, content: Any) -> list[Mapping[str, Any]]:
    found = content if isinstance(content, list) else [content]
    if not all(isinstance(each, dict) and each.keys() >= {"policy", "rate", "bootstrap", "summary"} for each in found):
        raise ValueError(f"{path} is nothing that can be drawn: " + __doc__.partition("\n\n")[2].replace("\n", " "))
    return found


def _requests(path: Path, out: Path) -> list[Path]:
    drawn = []
    for (workload, rate), runs in rows.read(path).items():
        where = f"{workload} at {rate:.4g} req/s"
        drawn += [out / f"{workload}-{rate:.4g}-latency.png", out / f"{workload}-{rate:.4g}-timeline.png"]
        requests.cdf(runs, f"{where}: latency of all that was offered", drawn[-2])
        requests.burst(runs, f"{where}: what happened when (first seed)", drawn[-1])
    return drawn
