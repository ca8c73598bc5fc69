"""The sequences that take one token in every step, kept so that a step costs O(changes), not O(sequences).

All members advance together, so a member's progress is a difference of step numbers, and the step in which it ends or
needs a new block is known when it joins. Invariants: `context` is the sum of the members' KV slots; every member had
its last token at `advanced_at`.
"""

from operator import attrgetter

from benchmarks.simulator.sequence import Sequence

_admission = attrgetter("admission")


class DecodeBatch:
    """Members, their total context, and whose turn something is."""

    def __init__(self, block_tokens: int) -> None:
        self.step = 0
        """Steps completed since the start of the replica."""
        self.advanced_at = 0.0
        self.count = 0
        self.context = 0
        self._boundaries: list[dict[Sequence, None]] = [{} for _ in range(block_tokens)]
        self._ends: dict[int, dict[Sequence, None]] = {}

    def progress(self, sequence: Sequence) -> int:
        """Return the tokens that a member has gained since it joined."""
        return self.step - sequence.joined_step

    def join(self, sequence: Sequence) -> None:
        """Let a sequence take part from the next step on."""
        sequence.joined_step = self.step
        self._boundary(sequence)[sequence] = None
        self._ends.setdefault(self._end(sequence), {})[sequence] = None
        self.count += 1
        self.context += sequence.slots

    def leave(self, sequence: Sequence) -> None:
        """Take a member out and write down in it how far it came."""
        del self._boundary(sequence)[sequence]
        end = self._end(sequence)
        del self._ends[end][sequence]
        if not self._ends[end]:
            del self._ends[end]
        gained = self.progress(sequence)
        sequence.generated += gained
        sequence.slots += gained
        sequence.last_token_at = self.advanced_at
        self.count -= 1
        self.context -= sequence.slots

    @property
    def any_needs_block(self) -> bool:
        """Whether the next token of some member does not fit in its last block."""
        return bool(self._boundaries[self.step % len(self._boundaries)])

    def needing_block(self) -> list[Sequence]:
        """Return the members whose next token does not fit in their last block, in the order of running."""
        members = self._boundaries[self.step % len(self._boundaries)]
        return sorted(members, key=_admission) if len(members) > 1 else list(members)

    def advance(self, now: float) -> list[Sequence]:
        """Complete a step: a token for every member. Return the members that should leave, for it was their last."""
        self.step += 1
        self.advanced_at = now
        self.context += self.count
        ending = self._ends.get(self.step)
        return sorted(ending, key=_admission) if ending else []

    def _boundary(self, sequence: Sequence) -> dict[Sequence, None]:
        # Its slots are a multiple of the block size whenever step = joined_step - slots (mod block size).
        return self._boundaries[(sequence.joined_step - sequence.slots) % len(self._boundaries)]

    @staticmethod
    def _end(sequence: Sequence) -> int:
        return sequence.joined_step + sequence.job.output_tokens - sequence.generated
