"""A few rows of a file of labelled rows, with some of every label from every source: enough to try the chain with."""

import gzip
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from semantic.training.tasks import bare_source, lines_of

LEAST = 12
"""Rows kept of a label from a source, where there are so many."""


def write_fewer(path: Path, out: Path, share: float) -> None:
    """Writes `share` of each group of rows, the same ones each time, and at least LEAST."""
    groups: defaultdict[tuple[object, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in lines_of(path):
        source = bare_source(str(row.get("source") or row.get("src") or ""))
        groups[row.get("label"), row.get("kind"), row.get("lang"), source.split("/")[0].split("|")[0]].append(row)
    out.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(out, "wt", encoding="utf-8") as lines:
        for rows in groups.values():
            every = max(1, len(rows) // max(LEAST, round(share * len(rows))))
            lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows[::every])
