"""Who takes part in the next step: the order of vLLM's V1 scheduler.

Invariants: a sequence is in exactly one of inbox, waiting and running, or it is over and holds nothing; running is in
the order of admission; only its last member may have a prompt that is not scheduled to the end, since a prompt is cut
only where the budget ends; a preempted sequence goes to the front of waiting.
"""

from collections import Counter, OrderedDict
from dataclasses import dataclass, field

from benchmarks.simulator.config import ReplicaConfig
from benchmarks.simulator.decode import DecodeBatch
from benchmarks.simulator.kvcache import KvCache
from benchmarks.simulator.sequence import Sequence, State


@dataclass(slots=True)
class Plan:
    """What a step will do, beside one token for every decoding sequence."""

    tokens: int = 0
    """All tokens of the step, those of decoding sequences included."""
    prefill_pairs: float = 0.0
    """Pairs of tokens that the prompt chunks attend to."""
    prefills: list[Sequence] = field(default_factory=list)
    """Sequences with a prompt chunk in the step."""
    preempted: int = 0
    """Sequences preempted to make room."""
    prefix_queries: int = 0
    """Tokens of the sequences admitted for the first time, looked up in the prefix cache."""
    prefix_hits: int = 0


class Scheduler:
    """Queue, running batch and KV cache."""

    def __init__(self, config: ReplicaConfig) -> None:
        self.config = config
        self.inbox: dict[Sequence, None] = {}
        """Arrived since the last step began: the engine takes arrivals in between steps."""
        self.waiting: OrderedDict[Sequence, None] = OrderedDict()
        self.running: dict[Sequence, None] = {}
        self.waiting_adapters: Counter[str] = Counter()
        self.running_adapters: Counter[str] = Counter()
        self.cache = KvCache(config.kv_blocks, config.block_tokens)
        self.batch = DecodeBatch(config.block_tokens)
        self._admissions = 0

    def plan(self) -> Plan | None:
        """Book the next step, or return None where nobody is here."""
        if self._nothing_new:
            return Plan(tokens=self.batch.count)
        for sequence in self.inbox:
            self._wait(sequence)
        self.inbox.clear()
        if not self.waiting and not self.running:
            return None
        plan = Plan()
        self._continue_decodes(plan)
        self._continue_prefill(plan)
        if not plan.preempted:
            self._admit(plan)
        assert plan.tokens > 0, "somebody is here, so something can be scheduled"
        return plan

    @property
    def _nothing_new(self) -> bool:
        """Whether all that is to be done is one token for every decoding sequence, in blocks that they have."""
        return (
            0 < self.batch.count == len(self.running)
            and not self.inbox
            and not self.waiting
            and not self.batch.any_needs_block
        )

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out of wherever it is; what it computed stays as hits."""
        if sequence.state is State.ARRIVED:
            del self.inbox[sequence]
        elif sequence.state is State.WAITING:
            self._leave_waiting(sequence)
        else:
            self._stop_running(sequence)

    def _continue_decodes(self, plan: Plan) -> None:
        for sequence in self.batch.needing_block():
            # It may fall itself, or have fallen for one before it.
            while sequence.state is State.DECODING:
                slots = sequence.slots + self.batch.progress(sequence)
                if self.cache.extend(sequence, slots + 1):
                    self.cache.publish(sequence, slots)
                    break
                self._preempt_last(plan)
        plan.tokens = self.batch.count

    def _continue_prefill(self, plan: Plan) -> None:
        sequence = next(reversed(self.running), None)
        if sequence is None or sequence.state is not State.PREFILLING:
            return
        chunk = min(sequence.tokens - sequence.slots, self.config.batch_tokens_max - plan.tokens)
        if self.cache.extend(sequence, sequence.slots + chunk):
            self._schedule(sequence, chunk, plan)
        else:
            self._preempt_last(plan)

    def _admit(self, plan: Plan) -> None:
        skipped: list[Sequence] = []
        while self.waiting and plan.tokens < self.config.batch_tokens_max:
            if len(self.running) == self.config.sequences_max:
                break
            sequence = next(iter(self.waiting))
            if not self._adapter_fits(sequence):
                self._leave_waiting(sequence)
                skipped.append(sequence)
                continue
            chunk = self.cache.open(sequence, self.config.batch_tokens_max - plan.tokens)
            if chunk is None:
                break  # the head waits for room, and everyone behind it waits with it
            self._run(sequence, chunk, plan)
        for sequence in reversed(skipped):
            self._wait(sequence, first=True)

    def _run(self, sequence: Sequence, chunk: int, plan: Plan) -> None:
        if sequence.preemptions == 0:
            sequence.cached_tokens = sequence.slots
            plan.prefix_queries += sequence.tokens
            plan.prefix_hits += sequence.slots
        self._leave_waiting(sequence)
        self.running[sequence] = None
        _count(self.running_adapters, sequence, 1)
        self._admissions += 1
        sequence.admission = self._admissions
        sequence.state = State.PREFILLING
        self._schedule(sequence, chunk, plan)

    def _schedule(self, sequence: Sequence, chunk: int, plan: Plan) -> None:
        plan.prefill_pairs += chunk * (sequence.slots + chunk / 2)
        plan.tokens += chunk
        plan.prefills.append(sequence)
        sequence.slots += chunk
        # Hits already, before they are computed, so that a twin admitted in this very step shares them.
        self.cache.publish(sequence, sequence.slots)

    def _preempt_last(self, plan: Plan) -> None:
        sequence = next(reversed(self.running))
        self._stop_running(sequence)
        sequence.preemptions += 1
        self._wait(sequence, first=True)
        plan.preempted += 1

    def _stop_running(self, sequence: Sequence) -> None:
        if sequence.state is State.DECODING:
            self.batch.leave(sequence)
        self.cache.close(sequence)
        del self.running[sequence]
        _count(self.running_adapters, sequence, -1)

    def _wait(self, sequence: Sequence, *, first: bool = False) -> None:
        sequence.state = State.WAITING
        self.waiting[sequence] = None
        if first:
            self.waiting.move_to_end(sequence, last=False)
        _count(self.waiting_adapters, sequence, 1)

    def _leave_waiting(self, sequence: Sequence) -> None:
        del self.waiting[sequence]
        _count(self.waiting_adapters, sequence, -1)

    def _adapter_fits(self, sequence: Sequence) -> bool:
        adapter = sequence.job.adapter
        if adapter is None or adapter in self.running_adapters:
            return True
        return len(self.running_adapters) < self.config.adapters_max


def _count(adapters: Counter[str], sequence: Sequence, change: int) -> None:
    adapter = sequence.job.adapter
    if adapter is None:
        return
    adapters[adapter] += change
    if not adapters[adapter]:
        del adapters[adapter]
