"""A replica under any order of arrivals, aborts and steps, with a cache too small for what it is asked."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from benchmarks.simulator.replica import Replica
from benchmarks.simulator.sequence import Job, Sequence, State
from tests.simulator import make

BLOCK_TOKENS = 4


class ReplicaMachine(RuleBasedStateMachine):
    """Invariants: those of `make.check`; nothing gets lost; every token is handed out once; work is never refused."""

    sequences: Bundle[Sequence] = Bundle("sequences")

    def __init__(self) -> None:
        super().__init__()
        self.replica = make.replica()
        self.shadow = make.replica()
        self.now = 0.0
        self.ends_at: float | None = None
        self.all: list[Sequence] = []
        self.twins: dict[Sequence, Sequence] = {}
        self.tokens = 0
        self.first_admissions: list[Sequence] = []

    @initialize(blocks=st.integers(8, 40), budget=st.integers(4, 40), seats=st.integers(1, 6), slots=st.integers(1, 2))
    def build(self, blocks: int, budget: int, seats: int, slots: int) -> None:
        self.replica, self.shadow = (
            make.replica(
                kv_blocks=blocks,
                block_tokens=BLOCK_TOKENS,
                batch_tokens_max=budget,
                sequences_max=min(seats, budget),
                adapters_max=slots,
            )
            for _ in range(2)
        )

    @rule(
        target=sequences,
        prompt=st.integers(1, 60),
        output=st.integers(1, 40),
        content=st.sampled_from([None, "x", "y"]),
        adapter=st.sampled_from([None, None, None, "a", "b", "c"]),
    )
    def submit(self, prompt: int, output: int, content: str | None, adapter: str | None) -> Sequence:
        longest = self.replica.config.context_tokens_max
        prompt = min(prompt, longest - 1)
        output = min(output, longest - prompt)
        asked: Job = make.job(prompt, output, content=content, adapter=adapter, block_tokens=BLOCK_TOKENS)
        sequence = self.replica.submit(asked, self.now)
        self.twins[sequence] = self.shadow.submit(asked, self.now)
        self.all.append(sequence)
        return sequence

    @rule(sequence=consumes(sequences))
    def abort(self, sequence: Sequence) -> None:
        self.replica.abort(sequence)
        self.shadow.abort(self.twins[sequence])

    @precondition(lambda self: self.ends_at is None)
    @rule()
    def start(self) -> None:
        seated = set(self.replica.scheduler.running)
        queue = [*self.replica.scheduler.waiting, *self.replica.scheduler.inbox]
        self.ends_at = self.replica.start_step(self.now)
        assert self.ends_at == self.shadow.start_step(self.now), "the same calls bring the same step"
        assert (self.ends_at is None) == (self.replica.in_flight == 0), "work-conserving"
        admitted = [s for s in self.replica.scheduler.running if s not in seated]
        if not any(s.job.adapter for s in queue):
            assert admitted == queue[: len(admitted)], "first come, first served"

    @precondition(lambda self: self.ends_at is not None)
    @rule()
    def finish(self) -> None:
        assert self.ends_at is not None
        self.now = self.ends_at
        self.ends_at = None
        before = {s: self.replica.generated(s) for s in self.all}
        result = self.replica.finish_step(self.now)
        shadowed = self.shadow.finish_step(self.now)
        assert [self.twins[s] for s in result.finished] == shadowed.finished
        gained = {s: self.replica.generated(s) - count for s, count in before.items()}
        assert all(gain in (0, 1) for gain in gained.values())
        assert sum(gained.values()) == result.tokens
        assert all(s.generated == s.job.output_tokens for s in result.finished)
        self.tokens += result.tokens

    @invariant()
    def holds(self) -> None:
        make.check(self.replica)
        stats = self.replica.stats
        assert len(self.all) == self.replica.in_flight + stats.finished + stats.aborted
        assert stats.generation_tokens == self.tokens
        assert stats.prefix_hits <= stats.prefix_queries
        assert self.replica.load == self.shadow.load
        assert stats.ttft.count == sum(1 for s in self.all if s.first_token_at is not None)
        assert stats.itl.count == self.tokens - stats.ttft.count

    def teardown(self) -> None:
        run_out(self.replica, self.now, self.ends_at)

        assert all(s.state in (State.FINISHED, State.ABORTED) for s in self.all)
        pool = self.replica.scheduler.cache.pool
        assert pool.free == pool.capacity
        assert self.replica.load.kv_usage == 0


def run_out(replica: Replica, now: float, ends_at: float | None) -> None:
    """Finish what is there; it must end."""
    for _ in range(20_000):
        if ends_at is not None:
            now = ends_at
            replica.finish_step(now)
        ends_at = replica.start_step(now)
        make.check(replica)
        if ends_at is None:
            return
    raise AssertionError("the replica never ends")


ReplicaMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=60)
TestReplica = ReplicaMachine.TestCase
