"""What fraction of a core does it take to read the numbers of 100 busy, or idle, vLLM servers?

    python -m benchmarks.scrape --json FILE [--against CHECKOUT]

Servers run in a process beside the one measured. `--against` measures another checkout of this project, too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.scrape.texts import vllm

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BUSY_AND_IDLE = ((True, True), (False, True), (False, False))
EVERYTHING = "parse everything"


@dataclass(slots=True, frozen=True)
class Case:
    """One reader, from one checkout, of servers that tell `ranks` engines, in the series asked for or in full."""

    reader: str
    ranks: int
    narrows: bool
    busy: bool
    interval_s: float = 0.5
    checkout: Path = ROOT

    @property
    def row(self) -> dict[str, Any]:
        """What it is, for the JSON."""
        told = {"reader": self.reader, "text_bytes": len(vllm(self.ranks)), "narrows": self.narrows, "busy": self.busy}
        return {**told, "interval_s": self.interval_s}


def main() -> int:
    """Measure each case in turn, print a table, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scrape", description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--against", type=Path, help="another checkout of this project")
    parser.add_argument("--endpoints", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=8.0)
    given = parser.parse_args()
    rows = []
    for case in _cases(given.against):
        rows.append({**case.row, **_measure(case, given.endpoints, given.seconds)})
        sys.stdout.write(f"{_line(rows[-1])}\n")
        sys.stdout.flush()
    if given.json:
        found = {"endpoints": given.endpoints, "cpus": os.cpu_count(), "rows": rows}
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def _cases(against: Path | None) -> list[Case]:
    cases = []
    for ranks in (1, 2):
        cases += [Case("this commit", ranks, narrows, busy) for narrows, busy in BUSY_AND_IDLE]
        cases += [Case("before", ranks, False, True, checkout=against)] if against else []
        cases.append(Case(EVERYTHING, ranks, False, True))
    cases += [Case("this commit", 1, True, busy, 0.05) for busy in (True, False)]
    return cases + ([Case("before", 1, False, True, 0.05, against)] if against else [])


def _measure(case: Case, count: int, seconds: float) -> dict[str, Any]:
    flags = [str(count), str(case.ranks), str(int(case.narrows)), str(int(case.busy))]
    serve = [sys.executable, "-m", "benchmarks.scrape.server", *flags]
    servers = subprocess.Popen(serve, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert servers.stdout is not None
    try:
        ports = servers.stdout.readline()
        how = "everything" if case.reader == EVERYTHING else "ours"
        command = [sys.executable, str(HERE / "measured.py"), how, str(case.interval_s), str(seconds), ports]
        environment = {**os.environ, "PYTHONPATH": str(case.checkout)}
        measured = subprocess.Popen(command, env=environment, cwd=case.checkout, stdout=subprocess.PIPE, text=True)
        assert measured.stdout is not None
        counts = []
        for _ in ("begin", "end"):
            if measured.stdout.readline():
                counts.append(_reads(servers))
        said = measured.stdout.read()
        if measured.wait() != 0:
            raise SystemExit(f"{case.reader} failed")
    finally:
        servers.communicate("")
    found: dict[str, Any] = json.loads(said)
    reads = counts[1] - counts[0]
    needed = found["cpu_s"] / reads * count / case.interval_s
    return {
        **found,
        "reads_per_s": round(reads / found["seconds"], 1),
        "cpu_ms_per_read": round(1000 * found["cpu_s"] / reads, 3),
        "core": round(found["cpu_s"] / found["seconds"], 4),
        "core_at_full_pace": round(needed, 4),
    }


def _reads(servers: subprocess.Popen[str]) -> int:
    """How often /metrics has been asked for."""
    assert servers.stdin is not None
    assert servers.stdout is not None
    servers.stdin.write("\n")
    servers.stdin.flush()
    return int(servers.stdout.readline())


def _line(row: dict[str, Any]) -> str:
    how = f"{'narrow' if row['narrows'] else 'whole'}, {'busy' if row['busy'] else 'idle'}"
    what = f"{row['text_bytes'] // 1000} KB, {how}"
    figures = f"{row['reads_per_s']:7} reads/s {row['cpu_ms_per_read']:7} ms each {100 * row['core']:6.2f} % of a core"
    return f"{row['reader']:<17} {what:<20} every {row['interval_s']:<5}{figures}"


if __name__ == "__main__":
    sys.exit(main())
