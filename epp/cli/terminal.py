"""Text for a terminal: what a client, a model server or an object named itself cannot move the cursor."""

from __future__ import annotations


def printable(text: str) -> str:
    """Every character that is none to print is a question mark."""
    return "".join(c if c.isprintable() else "?" for c in text)


def cut(text: str, size: int) -> str:
    """At most `size` characters, all of them printable."""
    text = printable(text)
    return text if len(text) <= size else text[: size - 1] + "…"
