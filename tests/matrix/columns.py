"""The columns of the matrix: every Envoy version in every wiring over every transport.

`make test-matrix` runs both transports everywhere; `make test` the default one, and the other in a single wiring.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from epp.cli.envoy import Wiring

ENVOYS = os.environ.get("ONEHOP_ENVOYS", "")  # folders named after versions, set by `make test-matrix`
DEFAULT, OTHER = "native", "grpc"
BOTH = os.environ.get("ONEHOP_MATRIX_TRANSPORTS") == "both"
OTHERS = ("duplex",)  # wirings in which the other transport is run, where not both are run in all
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
    transport: str = DEFAULT

    def __str__(self) -> str:
        return f"{self.version} {self.name}{'' if self.transport == DEFAULT else f', {self.transport}'}"


def columns() -> list[Column]:
    """All of them, version by version."""
    folders = [Path(folder).absolute() for folder in ENVOYS.split()]
    return [
        Column(folder.name, str(folder / "envoy" / "_bin" / "envoy"), name, wiring, eager, transport)
        for folder in folders
        for transport in (DEFAULT, OTHER)
        for name, wiring, eager in WIRINGS
        if BOTH or transport == DEFAULT or name in OTHERS
    ]
