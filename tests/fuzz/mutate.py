"""Changed copies of an input, from a seed: the same seed makes the same inputs on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

BYTES_MAX = 4096


def mutated(data: bytes, rng: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    """The data after one to four changes."""
    for _ in range(rng.randint(1, 4)):
        data = rng.choice(_CHANGES)(data, rng, words, others)
    return data[:BYTES_MAX]


def _flip(data: bytes, rng: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    if not data:
        return data
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def _replace(data: bytes, rng: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    start, stop = _range(data, rng)
    return (
        data[:start]
        + bytes(rng.choice((0, 0x22, 0x5C, 0x7B, 0x7D, 0xFF, 0x80)) for _ in data[start:stop])
        + data[stop:]
    )


def _remove(data: bytes, rng: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    start, stop = _range(data, rng)
    return data[:start] + data[stop:]


def _repeat(data: bytes, rng: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    start, stop = _range(data, rng)
    return data[:stop] + data[start:stop] * rng.choice((1, 2, 40)) + data[stop:]


def _insert(data: bytes, rng: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    at = rng.randint(0, len(data))
    word = rng.choice(words) if words else rng.randbytes(rng.randint(1, 8))
    return data[:at] + word + data[at:]


def _cross(data: bytes, rng: Random, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    other = rng.choice(others)
    return data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]


def _range(data: bytes, rng: Random) -> tuple[int, int]:
    start = rng.randint(0, len(data))
    return start, min(len(data), start + rng.choice((1, 2, 4, 16, 64)))


_CHANGES = (_flip, _replace, _remove, _repeat, _insert, _cross)
