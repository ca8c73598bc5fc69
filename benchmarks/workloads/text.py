"""Prompts as bytes: one pseudo-random text per block id, so that prompts share bytes exactly where they share ids.

Must stay true: the text depends on id and length only; it has nothing to escape in JSON, a space in every 16 bytes (so
that no stretch of it looks like base64), and 4 bytes a token, which is the picker's own estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from random import Random

BYTES_PER_TOKEN = 4
POOL_BYTES = 1 << 20
SPACE_EVERY = 16
ALPHABET = b"abcdefghijklmnopqrstuvwxyz     etaoinshrdlu"
MULTIPLIER = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: ids that follow each other start far apart


def text(block: int, size: int) -> bytes:
    """The first `size` bytes of a block's text."""
    name = b"%x " % block
    pool = _pool()
    start = (block * MULTIPLIER >> 20) % (POOL_BYTES // 2)
    if size <= POOL_BYTES // 2:
        return (name + pool[start : start + size])[:size]
    return (name + pool * (size // POOL_BYTES + 1))[:size]


def prompt(blocks: Sequence[int], tokens: int, block_tokens: int) -> bytes:
    """The text of `tokens` tokens; the last block holds what is left, if less than a block then less than its text."""
    size, left = block_tokens * BYTES_PER_TOKEN, tokens * BYTES_PER_TOKEN
    whole = [text(block, size) for block in blocks[:-1]]
    return b"".join([*whole, text(blocks[-1], left - size * len(whole))])


@cache
def _pool() -> bytes:
    table = bytes(ALPHABET[i % len(ALPHABET)] for i in range(256))
    letters = bytearray(Random("onehop prompts").randbytes(POOL_BYTES).translate(table))
    letters[::SPACE_EVERY] = b" " * (POOL_BYTES // SPACE_EVERY)
    return bytes(letters)
