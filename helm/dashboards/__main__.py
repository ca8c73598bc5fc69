"""Writes the files that the chart carries."""

from __future__ import annotations

from pathlib import Path

from helm.dashboards import written

FOLDER = Path(__file__).parents[1] / "onehop" / "dashboards"

if __name__ == "__main__":
    for name, text in written().items():
        (FOLDER / name).write_text(text)
