"""`python -m benchmarks.rivals`: what each router costs, how well it routes, and what it answers, in one run.

Each part is a run of `onehop bench live` with the rivals among its targets, and its own words are told with its
tables; the routing part is then played in virtual time by `bench sim`'s code, with the same requests, so that the port
of a policy stands beside its original.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.live import command as live
from benchmarks.live.machine import machine, sentence
from benchmarks.live.site import Chain
from benchmarks.rivals import known
from benchmarks.rivals.facts import facts
from benchmarks.rivals.parts import ROUTINGS, Routing, hop, routing
from benchmarks.rivals.port import virtual
from benchmarks.rivals.report import cost_table, facts_table, routing_table
from benchmarks.rivals.rival import Entry

DEFAULT = ("sglang-router", "vllm-router")
PARTS = ("hop", "routing", "facts")


def run(arguments: Sequence[str]) -> int:
    """0 when all parts were played; a refusal by a rival is a result, not a failure."""
    given = _parse(arguments)
    began = time.monotonic()
    try:
        entries = [known.find(text, given.rival_venv) for text in given.rival or DEFAULT]
    except ValueError as wrong:
        _say(f"benchmarks.rivals: {wrong}")
        return 1
    words = _words(entries, given)
    told: dict[str, Any] = {
        "machine": machine(),
        "versions": {entry.rival.name: known.version(entry) for entry in entries},
        "runs": [],
    }
    pages = ["# Other routers beside ours", sentence(told["machine"])]
    pages.append(", ".join(f"{name} {version}" for name, version in told["versions"].items()))
    if "hop" in given.part:
        found = [_played(part, told) for part in hop(words, quick=given.quick, full=given.full)]
        pages += ["## What each costs", cost_table([row for document in found for row in document["rows"]])]
    if "routing" in given.part:
        for case in ROUTINGS[: None if given.full else 1 if given.quick else 2]:
            pages += _routed(case, words if given.full else _words(entries[:1], given), given, told)
    if "facts" in given.part:
        chains = [Chain("OneHop", "buffered", flags=[])]
        chains += [Chain(entry.name, "buffered", rival=entry, front=False) for entry in entries]
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that whoever was started is ended
        answers = asyncio.run(facts(chains))
        told["facts"] = [{"condition": f.condition, "target": f.target, "answer": f.answer} for f in answers]
        pages += ["## What each answers", facts_table(answers)]
    told["load_average_after"], told["seconds"] = machine()["load_average"], time.monotonic() - began
    pages.append(f"{told['seconds']:.0f} s; load average {told['load_average_after']} at the end")
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "rivals.json").write_text(json.dumps(told, indent=1) + "\n")
    (given.out / "rivals.md").write_text("\n\n".join(pages) + "\n")
    sys.stdout.write("\n\n".join(pages) + "\n")
    return 0


def _routed(case: Routing, words: Sequence[str], given: argparse.Namespace, told: dict[str, Any]) -> list[str]:
    live_rows = _played(routing(case, words, given.data, quick=given.quick), told)["rows"]
    sim_rows = virtual(case, given.data, requests=case.asked(quick=given.quick))
    told["runs"][-1]["virtual"] = sim_rows
    return [f"## Routing: {case.describe()}", routing_table(live_rows, sim_rows)]


def _words(entries: Sequence[Entry], given: argparse.Namespace) -> list[str]:
    """The rivals among the targets."""
    return [word for entry in entries for word in ("--rival", entry.name)] + ["--rival-venv", str(given.rival_venv)]


def _played(words: Sequence[str], told: dict[str, Any]) -> dict[str, Any]:
    """One run of `bench live`; its tables go to standard error, as ours replace them."""
    _say("onehop bench live " + " ".join(words))
    with tempfile.TemporaryDirectory(prefix="onehop-rivals-") as folder:
        out, shown = Path(folder) / "live.json", io.StringIO()
        with contextlib.redirect_stdout(shown):
            code = live.run([*words, "--json", str(out)])
        _say(shown.getvalue())
        if code == live.INTERRUPTED:
            raise SystemExit(code)
        if not out.exists():
            raise SystemExit("benchmarks.rivals: that run told nothing; it said why above")
        document: dict[str, Any] = json.loads(out.read_text())
    told["runs"].append(document)
    return document


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rivals", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rival", action="append", metavar="NAME[:POLICY]", help=f"default: {' and '.join(DEFAULT)}")
    parser.add_argument("--rival-venv", type=Path, default=known.VENV_DEFAULT, metavar="FOLDER")
    parser.add_argument("--part", action="append", choices=PARTS, help="default: all")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="of traces (ONEHOP_TRACES); without: no trace")
    parser.add_argument(
        "--full", action="store_true", help="more sizes, a trace, every rival in the routing part: 15 minutes"
    )
    parser.add_argument("--quick", action="store_true", help="the parts shortened: to see that it works")
    parser.add_argument("--out", type=Path, default=Path("build/rivals"), metavar="FOLDER")
    given = parser.parse_args(arguments)
    given.part = given.part or list(PARTS)
    return given
