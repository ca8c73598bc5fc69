"""The KV cache of a replica: a fixed number of blocks, shared by content hash, reused least recently used first.

Invariants: every block is empty, idle (no holder, still a hit) or held; `empty + idle + held == capacity`; the index
holds a block under its own key, and only idle or held blocks. Blocks have no place in memory here, so an empty block
is only a number.
"""

from collections import OrderedDict
from collections.abc import Iterable


class Block:
    """A block that is idle or held."""

    __slots__ = ("holders", "key")

    def __init__(self) -> None:
        self.key: int | None = None
        """The hash under which the index knows it, or None."""
        self.holders = 0
        """Sequences that hold it."""


class BlockPool:
    """Blocks to take and release, and the prefix cache over them."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.empty = capacity
        self.index: dict[int, Block] = {}
        self.idle: OrderedDict[Block, None] = OrderedDict()
        """Blocks without a holder that still are hits, the next to be reused first."""

    @property
    def free(self) -> int:
        """Blocks that can be taken, cached or not."""
        return self.empty + len(self.idle)

    @property
    def usage(self) -> float:
        """Fraction of blocks held by sequences, 0 to 1: what vLLM exports."""
        return (self.capacity - self.free) / self.capacity

    def match(self, keys: tuple[int, ...], blocks_max: int) -> list[Block]:
        """Return the cached blocks of the longest known prefix of `keys`, at most `blocks_max`."""
        hits: list[Block] = []
        index = self.index
        for key in keys[:blocks_max]:
            block = index.get(key)
            if block is None:
                break
            hits.append(block)
        return hits

    def take(self, hits: list[Block], fresh: int) -> list[Block] | None:
        """Hold `hits` and `fresh` new blocks, or hold nothing and return None where they do not all fit."""
        revived = sum(1 for block in hits if block.holders == 0) if hits else 0
        if fresh + revived > self.free:
            return None
        for block in hits:
            if block.holders == 0:
                del self.idle[block]
            block.holders += 1
        return hits + [self._fresh() for _ in range(fresh)]

    def publish(self, block: Block, key: int) -> None:
        """Make a full block a hit; where the content is cached already, the first block stays the one."""
        if block.key is None and key not in self.index:
            block.key = key
            self.index[key] = block

    def release(self, blocks: Iterable[Block]) -> None:
        """Let go of a sequence's blocks, given last first, so that tails are reused before what they extend."""
        for block in blocks:
            block.holders -= 1
            assert block.holders >= 0, "a block was released more often than taken"
            if block.holders > 0:
                continue
            if block.key is None:
                self.empty += 1
            else:
                self.idle[block] = None

    def _fresh(self) -> Block:
        if self.empty:
            self.empty -= 1
            block = Block()
        else:
            block, _ = self.idle.popitem(last=False)
            assert block.key is not None, "an idle block has a key"
            del self.index[block.key]
            block.key = None
        block.holders = 1
        return block
