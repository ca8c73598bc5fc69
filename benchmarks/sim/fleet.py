"""The fleet of a run: which replicas there are, and what each is told to be able to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.simulator.config import ReplicaConfig
from benchmarks.simulator.profiles import find_profile

ENGINE_BLOCK_TOKENS = 16  # what vLLM exports, however coarse the blocks are that a trace has ids of


@dataclass(slots=True, frozen=True)
class Kind:
    """Replicas of one sort."""

    gpu: str
    count: int


@dataclass(slots=True, frozen=True)
class FleetSpec:
    """Replicas by kind, in order; `sequences_max` None is the engine's default."""

    model: str
    kinds: tuple[Kind, ...]
    sequences_max: int | None = None
    adapters_max: int = 4

    @classmethod
    def parse(cls, model: str, gpu: str, replicas: int) -> FleetSpec:
        """Of `h100`, or of kinds with their numbers, `h100:4,a100:4`. Raises ValueError."""
        kinds = []
        for part in gpu.split(","):
            name, colon, count = part.strip().partition(":")
            if colon and not count.isdigit():
                raise ValueError(f"--gpu: {part!r} is not NAME:NUMBER")
            if not colon and "," in gpu:
                raise ValueError(f"--gpu: {part!r} needs a number, as in h100:4,a100:4")
            find_profile(model, name)
            kinds.append(Kind(name, int(count) if colon else replicas))
        if sum(kind.count for kind in kinds) < 1:
            raise ValueError("--replicas must be at least 1")
        return cls(model, tuple(kinds))

    @property
    def gpus(self) -> list[str]:
        """The GPU of each replica."""
        return [kind.gpu for kind in self.kinds for _ in range(kind.count)]

    def config(self, gpu: str, block_tokens: int) -> ReplicaConfig:
        """The engine's limits with blocks of that size."""
        return ReplicaConfig.of(
            find_profile(self.model, gpu),
            sequences_max=self.sequences_max,
            block_tokens=block_tokens,
            adapters_max=self.adapters_max,
        )

    def describe(self) -> dict[str, object]:
        """For reports."""
        return {"model": self.model, "replicas": len(self.gpus), "gpus": {k.gpu: k.count for k in self.kinds}}

    def context_tokens_max(self, block_tokens: int) -> int:
        """Tokens of prompt and answer that every replica can hold."""
        return min(self.config(gpu, block_tokens).context_tokens_max for gpu in set(self.gpus))


class Isolated:
    """Seconds of prefill of a prompt that is alone on the fleet's fastest kind and finds nothing cached."""

    def __init__(self, fleet: FleetSpec) -> None:
        self._configs = [fleet.config(gpu, ENGINE_BLOCK_TOKENS) for gpu in dict.fromkeys(fleet.gpus)]
        self._known: dict[int, float] = {}

    def seconds(self, tokens: int) -> float:
        """For a prompt of `tokens`."""
        if tokens not in self._known:
            self._known[tokens] = min(prefill_s(config, tokens) for config in self._configs)
        return self._known[tokens]


def prefill_s(config: ReplicaConfig, tokens: int) -> float:
    """Seconds of the steps that a prompt alone takes, chunk by chunk."""
    done, seconds = 0, 0.0
    while done < tokens:
        chunk = min(tokens - done, config.batch_tokens_max)
        seconds += config.cost.seconds(
            tokens=chunk, sequences=1, decode_context=0, prefill_pairs=chunk * (done + chunk / 2)
        )
        done += chunk
    return seconds


def names(specs: Sequence[str]) -> list[str]:
    """A name for each replica."""
    return [f"{gpu}-{number}" for number, gpu in enumerate(specs)]
