"""Builds the compiled form of the message path where ONEHOP_COMPILE=1 asks for it; without, the package is pure Python.

Needs mypy (whose mypyc it is), setuptools and a C compiler. The same typed sources run in both forms: what is compiled
lies beside its source and is imported instead. One group, so that modules call each other directly. What mypyc does not
take: dataclasses with slots that derive from another class, enums with an `__init__`, `runtime_checkable` protocols.
"""

import os
from pathlib import Path

from setuptools import setup

HTTP2 = "answers blocks bounds budget call closed connection drive events frames head inbound link outbound stream"
COMPILED = [
    *(f"epp/edge/http2/{name}.py" for name in HTTP2.split()),
    *(str(path) for path in sorted(Path("epp/protocol").glob("*.py")) if path.stem != "__init__"),
    *(f"epp/edge/{name}.py" for name in ("methods", "stream")),
]


def extensions() -> list:
    """None of them where nobody asks."""
    if os.environ.get("ONEHOP_COMPILE", "0") != "1":
        return []
    from mypyc.build import mypycify  # noqa: PLC0415  # there only where it is asked for

    level = os.environ.get("ONEHOP_COMPILE_LEVEL", "2")
    return mypycify([*COMPILED, "--follow-imports=silent"], opt_level=level, debug_level="0", target_dir="build/c")


setup(ext_modules=extensions())
