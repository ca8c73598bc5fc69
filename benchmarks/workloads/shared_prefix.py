"""Shared system prompts: llm-d's b2b benchmark (inference-perf's `shared_prefix` data) on the fleet of its report.

150 groups with a system prompt of 6,000 tokens each, 5 users a group with a fixed question of 1,200 tokens, answers of
1,000. The 750 prompts are asked in rounds, each in a new random order, at Poisson times. The first round fills caches.

The fleet is Qwen3-32B on two H100 a replica. There the system prompts are three times what one replica's cache holds,
and all prompts three fourths of what eight hold. A request that runs beside others of its prompt takes a fourth of the
memory of one that does not: where they go decides how many run at once, and not only what a prefill costs. On
Llama-3-8B (`--model llama3-8b`) one cache holds half of the system prompts, and speed is decided by the decodes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from random import Random

from benchmarks.workloads.workload import Arrival, Ask, Shape, with_answer

SYSTEM = 1 << 32
QUESTION = 1 << 44
PUBLISHED = Shape(gpus="h100x2", model="qwen3-32b", warm_up=1 / 6)


@dataclass(slots=True, frozen=True)
class SharedPrefix:
    """Poisson arrivals of questions under shared system prompts; lengths in tokens."""

    name: str = "shared-prefix"
    groups: int = 150
    users: int = 5
    system_tokens: int = 6_000
    question_tokens: int = 1_200
    answer_tokens: int = 1_000
    requests: int = 4_500
    block_tokens: int = 64
    natural_rate: float = 10.0
    shape: Shape = PUBLISHED

    @property
    def identity(self) -> str:
        """A digest of the parameters."""
        return sha256(repr(self).encode()).hexdigest()

    def arrivals(self, rate: float, rng: Random, limit: int | None = None) -> list[Arrival]:
        """Questions in rounds."""
        asks = [self._ask(group, user) for group in range(self.groups) for user in range(self.users)]
        now, found, left = 0.0, list[Arrival](), list[Ask]()
        for number in range(min(limit or self.requests, self.requests)):
            now += rng.expovariate(rate)
            if not left:
                left = rng.sample(asks, len(asks))
            found.append(Arrival(now, self._answered(left.pop(), number)))
        return found

    def _answered(self, ask: Ask, number: int) -> Ask:
        tokens = ask.prompt_tokens + ask.output_tokens
        return replace(ask, hashes=with_answer(ask.hashes, tokens, self.block_tokens, number))

    def _ask(self, group: int, user: int) -> Ask:
        whole = self.system_tokens // self.block_tokens
        tokens = self.system_tokens + self.question_tokens
        system = tuple(range(SYSTEM + group * whole, SYSTEM + (group + 1) * whole))
        own = -(-tokens // self.block_tokens) - whole
        begin = QUESTION + (group * self.users + user) * own
        blocks = system + tuple(range(begin, begin + own))
        return Ask(tokens, self.answer_tokens, blocks, blocks[: tokens // self.block_tokens])
