"""What each sequence holds of the KV cache: look-up at admission, growth, and release.

Invariants: a running sequence holds enough blocks for its slots; a block is offered to the prefix cache once all its
tokens are scheduled, and never holds tokens of two contents.
"""

from benchmarks.simulator.blocks import BlockPool
from benchmarks.simulator.sequence import Sequence


class KvCache:
    """The block pool, as sequences see it."""

    def __init__(self, blocks: int, block_tokens: int) -> None:
        self.block_tokens = block_tokens
        self.pool = BlockPool(blocks)

    def open(self, sequence: Sequence, chunk_max: int) -> int | None:
        """Take cached blocks and room for a first chunk; return the chunk in tokens, or None where it does not fit.

        The last token is always computed, cached or not: the next token is sampled from its output.
        """
        hits = self.pool.match(sequence.job.block_hashes, (sequence.tokens - 1) // self.block_tokens)
        cached = len(hits) * self.block_tokens
        chunk = min(sequence.tokens - cached, chunk_max)
        blocks = self.pool.take(hits, self._blocks_for(cached + chunk) - len(hits))
        if blocks is None:
            return None
        sequence.blocks, sequence.published, sequence.slots = blocks, len(hits), cached
        return chunk

    def extend(self, sequence: Sequence, slots: int) -> bool:
        """Hold enough blocks for `slots` tokens, or change nothing and return False where they do not fit."""
        missing = self._blocks_for(slots) - len(sequence.blocks)
        if missing <= 0:
            return True
        blocks = self.pool.take([], missing)
        if blocks is None:
            return False
        sequence.blocks += blocks
        return True

    def publish(self, sequence: Sequence, slots: int) -> None:
        """Make the blocks that `slots` tokens fill hits for others."""
        full = slots // self.block_tokens
        if full <= sequence.published:
            return
        hashes = sequence.job.block_hashes
        for i in range(sequence.published, min(full, len(hashes))):
            self.pool.publish(sequence.blocks[i], hashes[i])
        sequence.published = full

    def close(self, sequence: Sequence) -> None:
        """Let go of everything; full blocks stay as hits until they are reused."""
        self.publish(sequence, sequence.slots)
        self.pool.release(reversed(sequence.blocks))
        sequence.blocks, sequence.slots = [], 0

    def _blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.block_tokens)
