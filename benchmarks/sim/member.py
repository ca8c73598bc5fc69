"""One simulated replica on the virtual clock, and the samples that a scraper would take of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks.sim.fleet import ENGINE_BLOCK_TOKENS
from benchmarks.sim.loop import VirtualLoop
from benchmarks.simulator.config import ReplicaConfig
from benchmarks.simulator.replica import Replica, StepResult
from benchmarks.simulator.sequence import Job, Sequence
from epp.domain import Endpoint, Load, Lora


class Member:
    """A replica that steps while it has work; `on_step` is told what each step brought, at the step's end."""

    def __init__(
        self,
        name: str,
        address: str,
        config: ReplicaConfig,
        loop: VirtualLoop,
        on_step: Callable[[Member, StepResult], None],
        *,
        serves: Mapping[str, str],
    ) -> None:
        self.name = name
        self.address = address
        self.config = config
        self.serves = serves
        """The names it answers to, each with its base model."""
        self.endpoints: list[Endpoint] = []
        """What stands for it in the pickers' pools, while it is listed."""
        self.replica = Replica(config)
        self.alive = True
        self.preemptions = 0
        self.hits = 0
        self.queries = 0
        self._loop = loop
        self._on_step = on_step
        self.life = 0

    def submit(self, job: Job) -> Sequence:
        """Hand a job in; an idle engine begins at once."""
        now = self._loop.now
        sequence = self.replica.submit(job, now)
        if not self.replica.stepping:
            self._begin(now)
        return sequence

    def kill(self) -> None:
        """Everything in it is lost, what is cached, too."""
        self.alive = False
        self._keep()
        self.life += 1

    def start(self) -> None:
        """An empty engine, as fast as new."""
        self.alive = True
        self.replica = Replica(self.config)

    def close(self) -> None:
        """Add this life's counters to the totals."""
        self._keep()

    def sample(self, now: float) -> Load:
        """What `/metrics` says: true at the end of the last step."""
        load, stats, config = self.replica.load, self.replica.stats, self.config
        lora = None
        if load.running_adapters or load.waiting_adapters:
            lora = Lora(config.adapters_max, frozenset(load.running_adapters), frozenset(load.waiting_adapters))
        return Load(
            now,
            load.waiting,
            load.running,
            load.kv_usage,
            ENGINE_BLOCK_TOKENS,
            config.kv_blocks * config.block_tokens // ENGINE_BLOCK_TOKENS,
            stats.prompt_tokens,
            stats.generation_tokens,
            stats.prefix_queries,
            stats.prefix_hits,
            stats.itl.sum,
            stats.itl.count,
            stats.ttft.count,
            stats.ttft.sum,
            lora,
        )

    def _begin(self, now: float) -> None:
        ends = self.replica.start_step(now)
        if ends is not None:
            self._loop.at(ends, self._end, self.life)

    def _end(self, life: int) -> None:
        if life != self.life:
            return
        now = self._loop.now
        self._on_step(self, self.replica.finish_step(now))
        self._begin(now)

    def _keep(self) -> None:
        stats = self.replica.stats
        self.preemptions += stats.preemptions
        self.hits += stats.prefix_hits
        self.queries += stats.prefix_queries
