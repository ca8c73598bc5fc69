"""Which endpoint has probably seen the start of this prompt: block hashes, and an index from hash to endpoints.

A hash covers everything from the first byte up to the end of its block, so a match at block k is a match of the whole
prefix. Must stay true: an endpoint's bit is set under a hash exactly while that hash is in the endpoint's own LRU;
an endpoint holds at most its capacity; no hash without bits stays in the index.
Source: llm-d's approximate prefix producer; capacity counted in the same unit as the entries, which there it is not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from xxhash import xxh3_64_intdigest

from epp.domain import Endpoint, Request

BYTES_PER_TOKEN = 4  # the estimate of the Go picker's default tokenizer
BLOCK_BYTES = 256  # 64 tokens, the smallest block the Go picker uses
FINE_BLOCKS_MAX = 128  # 8k tokens; past them a block's worth more or less no longer changes a choice
COARSE_BLOCK_BYTES = 1024
BLOCKS_MAX = 2000  # of one prompt: about 1.9 MB, 480k tokens
CAPACITY_BLOCKS_MAX = 65_536  # of one endpoint: 4M tokens, about 13 MB of ours
ENDPOINTS_MAX = 1024
FACTOR_MIN, FACTOR_MAX_TOLD, FACTOR_MAX = 0.1, 1.0, 4.0  # of a capacity that observation corrects

FINE_BYTES = FINE_BLOCKS_MAX * BLOCK_BYTES
BYTES_MAX = FINE_BYTES + (BLOCKS_MAX - FINE_BLOCKS_MAX) * COARSE_BLOCK_BYTES


def block_hashes(prompt: bytes, model: str | None) -> list[int]:
    """One hash at the end of every full block of the prompt, each over its block and the hash before it.

    The first is seeded with the model that will read the prompt.
    """
    running = xxh3_64_intdigest((model or "").encode() + b"\0")
    hashes = []
    fine_end = min(len(prompt), FINE_BYTES) - BLOCK_BYTES + 1
    for start in range(0, fine_end, BLOCK_BYTES):
        running = xxh3_64_intdigest(prompt[start : start + BLOCK_BYTES], running)
        hashes.append(running)
    coarse_end = min(len(prompt), BYTES_MAX) - COARSE_BLOCK_BYTES + 1
    for start in range(FINE_BYTES, coarse_end, COARSE_BLOCK_BYTES):
        running = xxh3_64_intdigest(prompt[start : start + COARSE_BLOCK_BYTES], running)
        hashes.append(running)
    return hashes


def hashes_of(request: Request, model: str | None) -> list[int]:
    """The prompt's block hashes, made once a request and model, however often a request is looked at."""
    memo: dict[str | None, list[int]] = request.memo
    found = memo.get(model)
    if found is None:
        found = memo[model] = block_hashes(request.prompt, model)
    return found


def covered_bytes(blocks: int) -> int:
    """How many bytes the first `blocks` blocks of a prompt hold."""
    coarse = max(0, blocks - FINE_BLOCKS_MAX)
    return (blocks - coarse) * BLOCK_BYTES + coarse * COARSE_BLOCK_BYTES


@runtime_checkable
class Prefixes(Protocol):
    """Knows what is cached where."""

    def cached(self, request: Request, model: str | None, endpoints: Sequence[Endpoint]) -> Mapping[Endpoint, int]:
        """Prompt tokens that each endpoint is believed to hold; those that hold none are left out."""


def blocks_in(size: int) -> int:
    """How many full blocks so many bytes of a prompt have."""
    return min(size, FINE_BYTES) // BLOCK_BYTES + max(0, size - FINE_BYTES) // COARSE_BLOCK_BYTES


class PrefixIndex:
    """Block hash -> the endpoints that were sent it, as a bitmask over their slots; least recently used goes first."""

    def __init__(self, capacity_tokens: int, *, engine_capacity: bool = True) -> None:
        """`capacity_tokens` is for endpoints that do not tell their own, or for all, where that does not count."""
        self._default_capacity = _capacity_blocks(capacity_tokens)
        self._engine_capacity = engine_capacity
        self._masks: dict[int, int] = {}
        self._held: OrderedDict[Endpoint, _Held] = OrderedDict()
        self._free: list[int] = []
        self.changes = 0  # of what anyone holds

    def __len__(self) -> int:
        """How many different blocks are known."""
        return len(self._masks)

    def match(self, hashes: Sequence[int], endpoints: Sequence[Endpoint]) -> list[int]:
        """How many leading blocks each endpoint holds: one walk for all, noting where a bit drops out."""
        steps = self._steps(hashes)
        found = []
        for e in endpoints:
            held = self._held.get(e)
            depth = 0
            if held is not None and steps:
                for bits, blocks in steps:
                    if bits >> held.slot & 1:
                        depth = blocks
                        break
            found.append(depth)
        return found

    def _steps(self, hashes: Sequence[int]) -> list[tuple[int, int]]:
        """As a mask, those that hold the first so many blocks and not the next; only depths at which there are some."""
        steps: list[tuple[int, int]] = []
        known, depth = self._masks.get, 0
        alive = known(hashes[0], 0) if hashes else 0
        for block_hash in hashes if alive else ():
            left = alive & known(block_hash, 0)
            if left != alive:
                steps.append((alive ^ left, depth))
                alive = left
                if not alive:
                    break
            depth += 1
        if alive:
            steps.append((alive, depth))
        return steps

    def tokens(self, hashes: Sequence[int], endpoints: Sequence[Endpoint]) -> dict[Endpoint, int]:
        """How many leading tokens each endpoint holds; those that hold none are left out."""
        steps = [(bits, covered_bytes(blocks) // BYTES_PER_TOKEN) for bits, blocks in self._steps(hashes)]
        if not steps:
            return {}
        found, held_by = {}, self._held.get
        for e in endpoints:
            held = held_by(e)
            if held is not None:
                slot = held.slot
                for bits, tokens in steps:
                    if bits >> slot & 1:
                        found[e] = tokens
                        break
        return found

    def insert(self, hashes: Sequence[int], endpoint: Endpoint) -> list[int]:
        """The endpoint is about to hold these blocks; those that are new to it.

        The first block is the freshest: leaves are evicted first.
        """
        self.changes += 1
        new = []
        held = self._hold(endpoint)
        masks, lru, bit, used = self._masks, held.lru, 1 << held.slot, held.used
        coarse = COARSE_BLOCK_BYTES // BLOCK_BYTES
        for part, size in ((hashes[FINE_BLOCKS_MAX:], coarse), (hashes[:FINE_BLOCKS_MAX], 1)):
            for block_hash in reversed(part):
                if block_hash in lru:
                    lru.move_to_end(block_hash)
                    continue
                lru[block_hash] = size
                used += size
                new.append(block_hash)
                masks[block_hash] = masks.get(block_hash, 0) | bit
        capacity = self._capacity(endpoint) * held.factor
        while used > capacity:  # as often as blocks are new, once it is full: `_clear` without its call
            block_hash, size = lru.popitem(last=False)
            used -= size
            mask = masks[block_hash]
            if mask == bit:
                del masks[block_hash]
            else:
                masks[block_hash] = mask ^ bit
        held.used = used
        return new

    def remove(self, hashes: Iterable[int], endpoint: Endpoint) -> None:
        """The endpoint does not hold these blocks after all."""
        held = self._held.get(endpoint)
        if held is None:
            return
        self.changes += 1
        for block_hash in hashes:
            size = held.lru.pop(block_hash, None)
            if size is not None:
                held.used -= size
                self._clear(block_hash, 1 << held.slot)

    def prune(self, endpoints: Iterable[Endpoint]) -> None:
        """Forget every endpoint that is not among these."""
        for endpoint in self._held.keys() - set(endpoints):
            self._forget(endpoint)

    def scale(self, endpoint: Endpoint, by: float) -> None:
        """An endpoint holds less, or more, than was thought; within bounds, from its next prompt on."""
        held = self._held.get(endpoint)
        if held is not None:
            most = FACTOR_MAX_TOLD if self._tells(endpoint) else FACTOR_MAX
            held.factor = min(most, max(FACTOR_MIN, held.factor * by))

    def used_blocks(self, endpoint: Endpoint) -> int:
        """What this endpoint is believed to hold, in blocks of `BLOCK_BYTES`."""
        held = self._held.get(endpoint)
        return held.used if held else 0

    def _hold(self, endpoint: Endpoint) -> _Held:
        held = self._held.get(endpoint)
        if held is None:
            if len(self._held) >= ENDPOINTS_MAX:
                self._forget(next(iter(self._held)))
            held = self._held[endpoint] = _Held(self._free.pop() if self._free else len(self._held))
        self._held.move_to_end(endpoint)
        return held

    def _forget(self, endpoint: Endpoint) -> None:
        self.changes += 1
        held = self._held.pop(endpoint)
        for block_hash in held.lru:
            self._clear(block_hash, 1 << held.slot)
        self._free.append(held.slot)

    def _clear(self, block_hash: int, bit: int) -> None:
        mask = self._masks[block_hash]
        assert mask & bit, "a block in an endpoint's LRU has that endpoint's bit"
        if mask == bit:
            del self._masks[block_hash]
        else:
            self._masks[block_hash] = mask ^ bit

    def _capacity(self, endpoint: Endpoint) -> int:
        load = endpoint.load
        if load is None or not load.num_blocks or not load.block_size or not self._engine_capacity:
            return self._default_capacity
        return _capacity_blocks(load.num_blocks * load.block_size)

    def _tells(self, endpoint: Endpoint) -> bool:
        """Whether the capacity is the engine's own word, which its cache cannot exceed."""
        load = endpoint.load
        return bool(self._engine_capacity and load is not None and load.num_blocks and load.block_size)


@dataclass(slots=True)
class _Held:
    """One endpoint's slot, and its blocks with their size in units of `BLOCK_BYTES`, least recently used first."""

    slot: int
    used: int = 0
    factor: float = 1.0
    lru: OrderedDict[int, int] = field(default_factory=OrderedDict)


def _capacity_blocks(tokens: int) -> int:
    return min(CAPACITY_BLOCKS_MAX, tokens * BYTES_PER_TOKEN // BLOCK_BYTES)
