"""The requests that `--requests-out` wrote, as columns of what the pictures of single requests need."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GZIP = b"\x1f\x8b"
NONE = float("nan")


@dataclass(slots=True)
class Requests:
    """Of one policy at one rate under one workload, all seeds; seconds, NaN for what there is none of."""

    seed: list[int] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)
    ttft: list[float] = field(default_factory=list)
    e2e: list[float] = field(default_factory=list)
    met: list[bool] = field(default_factory=list)
    counted: list[bool] = field(default_factory=list)

    def add(self, line: Mapping[str, Any]) -> None:
        """One more."""
        self.seed.append(line["seed"])
        self.arrived.append(line["arrived"])
        self.ttft.append(NONE if line["ttft"] is None else line["ttft"])
        self.e2e.append(NONE if line["e2e"] is None else line["e2e"])
        self.met.append(line["met"])
        self.counted.append(line["counted"])


Runs = dict[tuple[str, float], dict[str, Requests]]
"""By workload and rate, by policy with its admission."""


def read(path: Path) -> Runs:
    """What a file of lines has, gzipped or not. Raises ValueError."""
    found: Runs = {}
    for number, text in enumerate(_lines(path), 1):
        try:
            line = json.loads(text)
            name = line["policy"] + ("" if line["admission"] == "none" else f" + {line['admission']}")
            at = found.setdefault((line["workload"], line["rate"]), {})
            at.setdefault(name, Requests()).add(line)
        except (KeyError, TypeError, ValueError) as wrong:
            raise ValueError(f"{path}, line {number}: no request of `--requests-out`") from wrong
    return found


def _lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
    with gzip.open(path, "rt") if packed else path.open() as lines:
        try:
            yield from lines
        except (UnicodeDecodeError, EOFError, zlib.error, gzip.BadGzipFile) as broken:
            raise ValueError(f"{path}: is no text, plain or gzipped") from broken
