"""The kept inputs: `corpus/<target>/`, one file each.

`seed-...` were written by hand, `broke-...` once broke something, the rest was found by a search.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"


def inputs(target: str, folder: Path = FOLDER) -> dict[str, bytes]:
    """File name -> content, in the order of the names."""
    return {path.name: path.read_bytes() for path in sorted((folder / target).iterdir())}


def keep(target: str, data: bytes, prefix: str = "", folder: Path = FOLDER) -> Path:
    """Write an input under a name made of its content."""
    path = folder / target / f"{prefix}{sha256(data).hexdigest()[:12]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
