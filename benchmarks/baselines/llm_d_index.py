"""llm-d's approximate prefix index as it is (llm-d-router ebab687, approximate prefix producer), flaws included.

Blocks of at least 64 tokens, 4 bytes each, chained hashes seeded by the model; at most 131,072 tokens of a prompt. Each
endpoint has an LRU of `num_gpu_blocks` *entries*: engine blocks have 16 tokens and entries 64, so it believes in four
times the cache there is. A prompt is entered first block first when its endpoint is chosen, before the engine has it,
so the first blocks are the first to be forgotten; looking up refreshes nothing. A match counts the leading blocks that
an endpoint holds, up to the first that nobody holds; gaps of one endpoint do not end its count.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from xxhash import xxh3_64

from epp.domain import Endpoint
from epp.scheduling.framework import Producer, Query

BLOCK_TOKENS_MIN = 64
BYTES_PER_TOKEN = 4
PREFIX_TOKENS_MAX = 131_072
ENTRIES_UNKNOWN = 31_250  # for an endpoint that does not tell its number of blocks


def hashes(prompt: bytes, model: str | None) -> list[int]:
    """One running hash at the end of every full block."""
    running = xxh3_64((model or "").encode())
    size = BLOCK_TOKENS_MIN * BYTES_PER_TOKEN
    found = []
    for start in range(0, min(len(prompt), PREFIX_TOKENS_MAX * BYTES_PER_TOKEN) - size + 1, size):
        running.update(prompt[start : start + size])
        found.append(running.intdigest())
    return found


@dataclass(slots=True)
class LlmdPrefixProducer(Producer):
    """Fills `cached` and `hashed` of the query as llm-d believes them."""

    type: ClassVar[str] = "llm-d-prefix-producer"
    holders: dict[int, int] = field(default_factory=dict, init=False, repr=False)
    entries: dict[Endpoint, OrderedDict[int, None]] = field(default_factory=dict, init=False, repr=False)
    slots: dict[Endpoint, int] = field(default_factory=dict, init=False, repr=False)

    def produce(self, query: Query, endpoints: Sequence[Endpoint]) -> None:
        """Counts blocks, not weights of anything."""
        found = hashes(query.request.prompt, query.candidate.model)
        query.notes[id(self)] = found
        query.hashed = len(found) * BLOCK_TOKENS_MIN
        counts = self._counts(found)
        query.cached = {
            e: counts[slot] * BLOCK_TOKENS_MIN
            for e in endpoints
            if (slot := self.slots.get(e)) is not None and counts.get(slot)
        }

    def picked(self, query: Query, endpoint: Endpoint) -> None:
        """The chosen endpoint will hold it."""
        slot = self.slots.setdefault(endpoint, len(self.slots))
        entries, holders, bit = self.entries.setdefault(endpoint, OrderedDict()), self.holders, 1 << slot
        for block in query.notes[id(self)]:
            if block in entries:
                entries.move_to_end(block)
                continue
            entries[block] = None
            holders[block] = holders.get(block, 0) | bit
        load = endpoint.load
        capacity = load.num_blocks if load is not None and load.num_blocks else ENTRIES_UNKNOWN
        while len(entries) > capacity:
            self._forget(entries.popitem(last=False)[0], bit)

    def relisted(self, endpoints: Sequence[Endpoint]) -> None:
        """Forget the endpoints that left; their slots are not used again."""
        gone = [e for e in self.entries if e not in endpoints]
        for endpoint in gone:
            for block in self.entries.pop(endpoint):
                self._forget(block, 1 << self.slots[endpoint])

    def _forget(self, block: int, bit: int) -> None:
        left = self.holders[block] & ~bit
        if left:
            self.holders[block] = left
        else:
            del self.holders[block]

    def _counts(self, found: Sequence[int]) -> dict[int, int]:
        """Blocks held by slot; runs of blocks with the same holders are counted at once."""
        counts: dict[int, int] = {}
        holders, mask, run = self.holders, 0, 0
        for block in found:
            held = holders.get(block, 0)
            if held != mask:
                _add(counts, mask, run)
                mask, run = held, 0
            if not held:
                return counts
            run += 1
        _add(counts, mask, run)
        return counts


def _add(counts: dict[int, int], mask: int, run: int) -> None:
    while mask:
        lowest = mask & -mask
        slot = lowest.bit_length() - 1
        counts[slot] = counts.get(slot, 0) + run
        mask ^= lowest
