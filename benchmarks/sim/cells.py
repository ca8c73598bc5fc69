"""Numbers as cells of a table."""

from __future__ import annotations

from collections.abc import Callable


def cell(form: str, scale: float = 1.0, unit: str = "") -> Callable[[float | None], str]:
    """What shows a number times `scale`, in a format of Python's; a dash for none."""
    return lambda value: "-" if value is None else f"{value * scale:{form}}{unit}"


milliseconds = cell(",.0f", 1e3)
"""Of seconds."""
