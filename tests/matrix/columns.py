"""The columns of the matrix: every Envoy version in every wiring."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from epp.cli.envoy import Wiring

ENVOYS = os.environ.get("ONEHOP_ENVOYS", "")  # folders named after versions, set by `make test-matrix`
WIRINGS: tuple[tuple[str, Wiring, bool], ...] = (
    ("buffered", "buffered", False),
    ("duplex", "duplex", False),
    ("streamed", "streamed", False),
    ("streamed eager", "streamed", True),
    ("headers only", "headers", False),
)


@dataclass(frozen=True, slots=True)
class Column:
    """One version of Envoy in one wiring."""

    version: str
    binary: str
    name: str
    wiring: Wiring
    eager: bool

    def __str__(self) -> str:
        return f"{self.version} {self.name}"


def columns() -> list[Column]:
    """All of them, version by version."""
    folders = [Path(folder).absolute() for folder in ENVOYS.split()]
    return [
        Column(folder.name, str(folder / "envoy" / "_bin" / "envoy"), name, wiring, eager)
        for folder in folders
        for name, wiring, eager in WIRINGS
    ]
