"""One model server, step by step: what a step takes and what it brings.

Pure: a clock, virtual or real, calls `start_step(now)`, waits until the time it returned, calls `finish_step(now)`, and
starts over while there is work. Tokens belong to the end of the step.
"""

from dataclasses import dataclass, field

from benchmarks.simulator.config import ReplicaConfig
from benchmarks.simulator.scheduler import Plan, Scheduler
from benchmarks.simulator.sequence import Job, Sequence, State
from benchmarks.simulator.stats import Load, Stats


@dataclass(slots=True)
class StepResult:
    """What a step brought; lists are in the order of running."""

    tokens: int = 0
    """Tokens generated: one for each sequence that was not in the middle of its prompt."""
    first: list[Sequence] = field(default_factory=list)
    """Sequences that got their first token."""
    finished: list[Sequence] = field(default_factory=list)


class Replica:
    """The engine. Every `now` is in seconds and never goes back."""

    def __init__(self, config: ReplicaConfig) -> None:
        self.config = config
        self.scheduler = Scheduler(config)
        self.stats = Stats()
        self.load = Load()
        self.slowdown = 1.0
        """Factor on the duration of steps that start from now on; above 1 plays a slow node."""
        self._plan: Plan | None = None

    @property
    def stepping(self) -> bool:
        """Whether a step is under way."""
        return self._plan is not None

    @property
    def in_flight(self) -> int:
        """Requests that are not over."""
        return len(self.scheduler.inbox) + len(self.scheduler.waiting) + len(self.scheduler.running)

    def generated(self, sequence: Sequence) -> int:
        """Return the tokens generated for `sequence` up to the last completed step."""
        if sequence.state is State.DECODING:
            return sequence.generated + self.scheduler.batch.progress(sequence)
        return sequence.generated

    def submit(self, job: Job, now: float) -> Sequence:
        """Hand a job in; the engine sees it when its next step starts."""
        tokens = job.prompt_tokens + job.output_tokens
        if tokens > self.config.context_tokens_max:
            raise ValueError(f"{tokens} tokens exceed the context of {self.config.context_tokens_max}")
        sequence = Sequence(job, now)
        self.scheduler.inbox[sequence] = None
        return sequence

    def abort(self, sequence: Sequence) -> None:
        """Forget a sequence and free its blocks at once, even in mid-step; harmless when it is over."""
        if sequence.state in (State.FINISHED, State.ABORTED):
            return
        self.scheduler.remove(sequence)
        sequence.state = State.ABORTED
        self.stats.aborted += 1
        if not self.stepping:
            self._export()

    def start_step(self, now: float) -> float | None:
        """Schedule a step and return when it ends, or None where there is nothing to do."""
        assert not self.stepping, "the step before has not finished"
        plan = self.scheduler.plan()
        if plan is None:
            return None
        self._plan = plan
        self.stats.preemptions += plan.preempted
        self.stats.prefix_queries += plan.prefix_queries
        self.stats.prefix_hits += plan.prefix_hits
        batch = self.scheduler.batch
        duration = self.config.cost.seconds(
            tokens=plan.tokens,
            sequences=batch.count + len(plan.prefills),
            decode_context=batch.context + batch.count,
            prefill_pairs=plan.prefill_pairs,
        )
        return now + duration * self.slowdown

    def finish_step(self, now: float) -> StepResult:
        """End the step under way and hand out its tokens."""
        assert self._plan is not None, "no step is under way"
        plan, self._plan = self._plan, None
        batch = self.scheduler.batch
        result = StepResult(tokens=batch.count)
        if batch.count:
            self.stats.itl.observe(now - batch.advanced_at, batch.count)
        for sequence in batch.advance(now):
            self._finish(sequence, now, result)
        for sequence in plan.prefills:
            # Not those that were aborted meanwhile, nor the one whose prompt goes on in the next step.
            if sequence.state is State.PREFILLING and sequence.slots == sequence.tokens:
                self._end_prefill(sequence, now, result)
        self.stats.generation_tokens += result.tokens
        self._export()
        return result

    def _end_prefill(self, sequence: Sequence, now: float, result: StepResult) -> None:
        sequence.generated += 1
        result.tokens += 1
        if sequence.last_token_at is None:
            sequence.first_token_at = now
            result.first.append(sequence)
            self.stats.ttft.observe(now - sequence.arrived_at)
            self.stats.prompt_tokens += sequence.job.prompt_tokens
        else:
            self.stats.itl.observe(now - sequence.last_token_at)
        sequence.last_token_at = now
        if sequence.generated == sequence.job.output_tokens:
            self._finish(sequence, now, result)
            return
        sequence.state = State.DECODING
        self.scheduler.batch.join(sequence)

    def _finish(self, sequence: Sequence, now: float, result: StepResult) -> None:
        self.scheduler.remove(sequence)
        sequence.state = State.FINISHED
        sequence.finished_at = now
        result.finished.append(sequence)
        self.stats.finished += 1
        self.stats.e2e.observe(now - sequence.arrived_at)

    def _export(self) -> None:
        scheduler, load = self.scheduler, self.load
        running, waiting, usage = len(scheduler.running), len(scheduler.waiting), scheduler.cache.pool.usage
        changed = running != load.running or waiting != load.waiting or usage != load.kv_usage
        adapters = scheduler.running_adapters or scheduler.waiting_adapters
        if changed or adapters or load.running_adapters or load.waiting_adapters:
            self.load = Load(
                running, waiting, usage, tuple(scheduler.running_adapters), tuple(scheduler.waiting_adapters)
            )
