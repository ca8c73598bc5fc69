"""Every request of a run as a line of JSON: what it was, what became of it, and when; never any text of it.

Must stay true: lines are in the order of arrival, runs in that of their jobs, so the bytes depend on the jobs only.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from benchmarks.sim.flight import Flight
from benchmarks.sim.summary import Slo, measured


def row(flight: Flight, slo: Slo, isolated_s: float) -> dict[str, Any]:
    """One request; seconds, tokens. `met`: whether it met both objectives."""
    ended = None if flight.ended is None else flight.ended - flight.arrived
    return {
        "number": flight.number,
        "class": flight.klass,
        "tenant": flight.ask.tenant,
        "arrived": flight.arrived,
        "end": flight.end,
        "reason": flight.reason,
        "retry_after_s": flight.retry_after_s,
        "replica": flight.member,
        "prompt_tokens": flight.ask.prompt_tokens,
        "output_tokens": flight.ask.output_tokens,
        "cached_tokens": flight.cached_tokens,
        "ttft": flight.ttft_s,
        "tpot": flight.tpot_s,
        "e2e": ended if flight.end == "done" else None,
        "met": slo.met(flight, isolated_s),
    }


def write(
    path: Path,
    of: Mapping[str, Any],
    flights: Sequence[Flight],
    *,
    warm_up: float,
    slo: Slo,
    isolated: Callable[[int], float],
) -> None:
    """The requests of one run; `of` says in each line which run that is. Those of the warm-up are not `counted`."""
    skipped = len(flights) - len(measured(flights, warm_up))
    with path.open("w") as file:
        for n, flight in enumerate(flights):
            line = {**of, "counted": n >= skipped, **row(flight, slo, isolated(flight.ask.prompt_tokens))}
            file.write(json.dumps(line, separators=(",", ":")) + "\n")


def join(parts: Sequence[Path], out: Path) -> None:
    """All parts in one file, gzipped where its name says so; the parts are gone then."""
    with _open(out) as file:
        for part in parts:
            with part.open("rb") as lines:
                while block := lines.read(1 << 20):
                    file.write(block)
            part.unlink()


@contextmanager
def _open(out: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    with out.open("wb") as file:
        if out.suffix == ".gz":
            # No time and no name in it: the same runs give the same bytes.
            with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
                yield packed
        else:
            yield file
