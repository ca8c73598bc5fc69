"""Reading the base checkpoint and keeping tuned weights: safetensors in, npz parts out."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from semantic.training.arrays import Weights

PART_BYTES_MAX = 15 * 1024 * 1024


def read_base(path: Path) -> Weights:
    """Tensors by name from a .safetensors file (float32) or an .npz of the same tensors.

    Rounded to half precision, in which trained weights are kept: either file starts the same training.
    """
    if path.suffix == ".npz":
        return {name: value.astype(np.float32) for name, value in np.load(path).items()}
    raw = path.read_bytes()
    header_end = 8 + int.from_bytes(raw[:8], "little")
    out: dict[str, npt.NDArray[np.float32]] = {}
    for name, entry in json.loads(raw[8:header_end]).items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            start, end = entry["data_offsets"]
            full = np.frombuffer(raw[header_end + start : header_end + end], "<f4").reshape(entry["shape"])
            out[name] = full.astype(np.float16).astype(np.float32)
    return out


def write_parts(weights: Weights, folder: Path) -> None:
    """The weights in float16 as weights-0.npz, weights-1.npz, ...; a tensor too large for a part is cut in rows."""
    part: dict[str, npt.NDArray[np.float16]] = {}
    count = size = 0
    for name, value in weights.items():
        pieces = np.array_split(value.astype(np.float16), -(-value.nbytes // 2 // (8 * 1024 * 1024)) or 1)
        for number, piece in enumerate(pieces):
            if size + piece.nbytes > PART_BYTES_MAX:
                np.savez(folder / f"weights-{count}.npz", allow_pickle=False, **part)
                part, count, size = {}, count + 1, 0
            part[f"{name}#{number}"] = piece
            size += piece.nbytes
    np.savez(folder / f"weights-{count}.npz", allow_pickle=False, **part)


def read_parts(folder: Path) -> Weights:
    """The weights as `write_parts` left them, in float32."""
    pieces: dict[str, list[tuple[int, npt.NDArray[np.float32]]]] = {}
    for path in sorted(folder.glob("weights-*.npz")):
        for key, value in np.load(path).items():
            name, number = key.split("#")
            pieces.setdefault(name, []).append((int(number), value.astype(np.float32)))
    return {name: np.concatenate([v for _, v in sorted(parts, key=lambda p: p[0])]) for name, parts in pieces.items()}
