"""The prefix index, written for clarity only: a set of whole prefixes per endpoint in an ordered dict."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence

FINE = 256
COARSE = 1024
FINE_BLOCKS = 128


def prefixes(prompt: bytes, model: str) -> list[tuple[str, bytes]]:
    """Every block's prefix in full."""
    ends = [n * FINE for n in range(1, FINE_BLOCKS + 1)]
    ends += range(FINE_BLOCKS * FINE + COARSE, len(prompt) + 1, COARSE)
    return [(model, prompt[:end]) for end in ends if end <= len(prompt)]


class NaiveIndex:
    """Prefix -> size per endpoint, oldest first."""

    def __init__(self, capacity_blocks: int) -> None:
        self.capacity = capacity_blocks
        self.lru: dict[Hashable, OrderedDict[Hashable, int]] = {}

    def match(self, chain: Sequence[Hashable], endpoint: Hashable) -> int:
        held = self.lru.get(endpoint, OrderedDict())
        for depth, prefix in enumerate(chain):
            if prefix not in held:
                return depth
        return len(chain)

    def insert(self, chain: Sequence[Hashable], endpoint: Hashable) -> None:
        held = self.lru.setdefault(endpoint, OrderedDict())
        for depth, prefix in reversed(list(enumerate(chain))):
            held[prefix] = 1 if depth < FINE_BLOCKS else COARSE // FINE
            held.move_to_end(prefix)
        while sum(held.values()) > self.capacity:
            held.popitem(last=False)

    def prune(self, endpoints: Sequence[Hashable]) -> None:
        self.lru = {e: held for e, held in self.lru.items() if e in endpoints}
