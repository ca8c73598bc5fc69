"""Stands in for a tokenizer and a chat template: four bytes are a token.

Every part (a role, a message, an answer) starts on a token, so that an answer sent back as a message of the next turn
has the tokens it was generated with, and hits the prefix cache. Real tokenizers make 3 to 5 bytes of English text
a token.
"""

from collections.abc import Iterable
from struct import iter_unpack

from xxhash import xxh3_64

TOKEN_BYTES = 4
TURN_END = b"<|e>"


def pad(text: bytes) -> bytes:
    """Fill up to a whole number of tokens."""
    return text + b"\0" * (-len(text) % TOKEN_BYTES)


def render_chat(messages: Iterable[tuple[str, bytes]], tools: bytes = b"") -> bytes:
    """Return the tokens, four bytes each, of (role, content) messages and the opening of the answer."""
    parts = [pad(tools)]
    for role, content in messages:
        parts += (pad(b"<|" + role.encode() + b"|>"), pad(content), TURN_END)
    parts.append(pad(b"<|assistant|>"))
    return b"".join(parts)


def render_token_ids(ids: Iterable[int]) -> bytes:
    """Return the tokens of a prompt given as token numbers."""
    return b"".join((token & 0xFFFFFFFF).to_bytes(TOKEN_BYTES, "little") for token in ids)


def tokens_of(text: bytes) -> list[int]:
    """Return a number for each token, below 2^31."""
    return [number & 0x7FFFFFFF for (number,) in iter_unpack("<I", text[: len(text) // TOKEN_BYTES * TOKEN_BYTES])]


def hash_blocks(tokens: bytes, block_tokens: int, seed: str) -> tuple[int, ...]:
    """Return a hash for every full block, each one over the seed and all bytes up to the end of the block."""
    size = block_tokens * TOKEN_BYTES
    chain = xxh3_64(seed.encode())
    hashes = []
    for start in range(0, len(tokens) - size + 1, size):
        chain.update(tokens[start : start + size])
        hashes.append(chain.intdigest())
    return tuple(hashes)
