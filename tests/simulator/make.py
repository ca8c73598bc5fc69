"""Replicas and jobs of which a test says only what matters, a virtual clock, and the invariants of a replica."""

from dataclasses import dataclass, field

from benchmarks.simulator.blocks import Block
from benchmarks.simulator.config import ReplicaConfig
from benchmarks.simulator.profiles import StepCost, find_profile
from benchmarks.simulator.replica import Replica
from benchmarks.simulator.sequence import Job, Sequence, State

# Round numbers: 10 ms a step, 1 ms a token once there are more than 10 of them.
COST = StepCost(
    weights_ms=10.0,
    weights_token_ms=0.0,
    matmul_ms=0.0,
    matmul_token_ms=1.0,
    context_token_ms=0.0,
    attention_flop_per_s=1e15,
    overhead_ms=0.0,
    overhead_sequence_ms=0.0,
)


def replica(
    *,
    kv_blocks: int = 1000,
    block_tokens: int = 16,
    context_tokens_max: int | None = None,
    batch_tokens_max: int = 256,
    sequences_max: int = 64,
    adapters_max: int = 1,
) -> Replica:
    context = context_tokens_max or kv_blocks * block_tokens
    return Replica(ReplicaConfig(COST, kv_blocks, context, batch_tokens_max, sequences_max, block_tokens, adapters_max))


def h100() -> Replica:
    return Replica(ReplicaConfig.of(find_profile("llama3-8b", "h100")))


def job(
    prompt: int = 32, output: int = 4, *, content: str | None = None, adapter: str | None = None, block_tokens: int = 16
) -> Job:
    """A job; jobs of the same `content` share their tokens, prompt and answer, as far as both go."""
    blocks = 0 if content is None else (prompt + output) // block_tokens
    return Job(prompt, output, tuple(hash((content, i)) for i in range(blocks)), adapter)


@dataclass
class Run:
    """Drives a replica in virtual time and keeps what happened."""

    replica: Replica
    now: float = 0.0
    steps: int = 0
    tokens: int = 0
    first: list[Sequence] = field(default_factory=list)
    finished: list[Sequence] = field(default_factory=list)

    def submit(self, asked: Job) -> Sequence:
        return self.replica.submit(asked, self.now)

    def step(self) -> bool:
        ends_at = self.replica.start_step(self.now)
        check(self.replica)
        if ends_at is None:
            return False
        assert ends_at > self.now
        self.now = ends_at
        result = self.replica.finish_step(self.now)
        check(self.replica)
        self.steps += 1
        self.tokens += result.tokens
        self.first += result.first
        self.finished += result.finished
        return True

    def to_the_end(self) -> None:
        while self.step():
            assert self.steps < 100_000, "the replica never ends"


def check(subject: Replica) -> None:
    """What is true of a replica before and after every call."""
    scheduler, pool = subject.scheduler, subject.scheduler.cache.pool
    size = subject.config.block_tokens
    running, waiting = list(scheduler.running), list(scheduler.waiting)
    decoding = [sequence for sequence in running if sequence.state is State.DECODING]

    # Everyone is in one place, in order.
    assert len({*running, *waiting, *scheduler.inbox}) == subject.in_flight
    assert [s.admission for s in running] == sorted(s.admission for s in running)
    assert len(running) <= subject.config.sequences_max
    assert all(s.state is State.WAITING and not s.blocks and not s.slots for s in waiting)
    assert all(s.state in (State.PREFILLING, State.DECODING) for s in running)
    if not subject.stepping:
        assert all(s.state is State.DECODING for s in running[:-1])

    # The decode batch knows its members.
    slots = {s: s.slots + (scheduler.batch.progress(s) if s in decoding else 0) for s in running}
    assert scheduler.batch.count == len(decoding)
    assert scheduler.batch.context == sum(slots[s] for s in decoding)

    # Blocks: all accounted for, held as often as counted, enough for every slot, shared only by content.
    holders: dict[Block, int] = {}
    for sequence in running:
        assert len(sequence.blocks) * size >= slots[sequence]
        assert (len(sequence.blocks) - 1) * size <= slots[sequence]
        for i, block in enumerate(sequence.blocks):
            holders[block] = holders.get(block, 0) + 1
            assert block.key is None or block.key == sequence.job.block_hashes[i]
    assert pool.empty + len(pool.idle) + len(holders) == pool.capacity
    assert all(block.holders == count for block, count in holders.items())
    assert all(block.holders == 0 for block in pool.idle)
    assert all(pool.index[key].key == key for key in pool.index)
    assert set(pool.index.values()) == {*pool.idle, *(b for s in running for b in s.blocks if b.key is not None)}

    # At least the last token of a prompt is computed.
    assert all(s.cached_tokens <= s.job.prompt_tokens - 1 for s in running)

    # Adapters are counted.
    adapters = {s.job.adapter for s in running} - {None}
    assert set(scheduler.running_adapters) == adapters
    assert len(adapters) <= subject.config.adapters_max
    assert set(scheduler.waiting_adapters) == {s.job.adapter for s in waiting} - {None}
