"""Which form of the request path runs: the compiled one (`setup.py`), or the pure Python it is made of."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES

from epp.edge.http2 import connection


def form() -> str:
    """`compiled` or `pure Python`."""
    return "compiled" if (connection.__file__ or "").endswith(tuple(EXTENSION_SUFFIXES)) else "pure Python"
