"""How much of a prompt's place in the KV cache running requests hold already: engines share the blocks of a prefix.

The ledger counts, by endpoint, requests in flight under the hash of every prefix of theirs that ends at a mark; marks
are few, so that a prompt costs tens of numbers and not hundreds. What is after the last mark counts as nobody's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from epp.domain import Request
from epp.scheduling.prefix import BLOCKS_MAX, BYTES_PER_TOKEN, FINE_BLOCKS_MAX, covered_bytes, hashes_of

FINE_STEP = 16  # blocks between marks: 1,024 tokens
COARSE_FACTOR = 1.2  # from mark to mark, where blocks are coarse


def _marks() -> tuple[int, ...]:
    found = list(range(FINE_STEP, FINE_BLOCKS_MAX + 1, FINE_STEP))
    while (coarse := round((found[-1] - FINE_BLOCKS_MAX + FINE_STEP) * COARSE_FACTOR) + FINE_BLOCKS_MAX) <= BLOCKS_MAX:
        found.append(coarse)
    return tuple(found)


MARKS = _marks()
MARK_TOKENS = tuple(covered_bytes(blocks) // BYTES_PER_TOKEN for blocks in MARKS)


def marks_of(request: Request, model: str | None) -> Sequence[int]:
    """The hash of every prefix of the prompt that ends at a mark, the shortest first."""
    hashes = hashes_of(request, model)
    size = len(hashes)
    return tuple([hashes[blocks - 1] for blocks in MARKS if blocks <= size])


def spared(marks: Sequence[int], inflight: Mapping[int, int]) -> float:
    """Of a prompt with these marks, the tokens that requests in flight at an endpoint hold without it, too.

    What `h` of them hold counts as `h / (h + 1)`: with one more it is held for longer by `1 / (h + 1)` of a request's
    time, as the expected largest of `n` exponential times of mean T is `T (1 + 1/2 + ... + 1/n)`.
    """
    most, tokens = inflight.get(marks[0], 0), 0.0
    for place in range(len(marks) - 1, -1, -1):
        count = inflight.get(marks[place], 0)
        if count == most:  # and so has all that is before it
            return tokens + MARK_TOKENS[place] * count / (count + 1)
        if count:
            tokens += (MARK_TOKENS[place] - MARK_TOKENS[place - 1]) * count / (count + 1)
    return tokens
