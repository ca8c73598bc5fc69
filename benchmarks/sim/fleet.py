"""The fleet of a run: which replicas there are, and what each is told to be able to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.simulator.config import ReplicaConfig
from benchmarks.simulator.profiles import Profile, find_profile
from benchmarks.workloads.workload import PLAIN, Ask, Shape

ENGINE_BLOCK_TOKENS = 16  # what vLLM exports, however coarse the blocks are that a trace has ids of
BATCH = 32  # sequences that share a step, for estimates


@dataclass(slots=True, frozen=True)
class Kind:
    """Replicas of one sort; `model` None is the fleet's."""

    gpu: str
    count: int
    model: str | None = None

    @property
    def name(self) -> str:
        """What its replicas are called by."""
        return self.gpu if self.model is None else f"{self.model}@{self.gpu}"


@dataclass(slots=True, frozen=True)
class FleetSpec:
    """Replicas by kind, in order; `sequences_max` None is the engine's default."""

    model: str
    kinds: tuple[Kind, ...]
    sequences_max: int | None = None
    adapters_max: int = 4

    @classmethod
    def parse(cls, model: str, gpu: str, replicas: int) -> FleetSpec:
        """Of `h100`, or of kinds with their numbers, `h100:4,a100:4`, each of which may name a model of its own,
        `llama3-70b@h100x4:2,llama3-8b@h100:4`. Raises ValueError."""
        kinds = []
        for part in gpu.split(","):
            name, colon, count = part.strip().partition(":")
            if colon and not count.isdigit():
                raise ValueError(f"--gpu: {part!r} is not NAME:NUMBER")
            if not colon and "," in gpu:
                raise ValueError(f"--gpu: {part!r} needs a number, as in h100:4,a100:4")
            own, at, card = name.rpartition("@")
            find_profile(own or model, card)
            kinds.append(Kind(card, int(count) if colon else replicas, own if at else None))
        if sum(kind.count for kind in kinds) < 1:
            raise ValueError("--replicas must be at least 1")
        return cls(model, tuple(kinds))

    @classmethod
    def of(cls, shape: Shape, model: str | None, gpu: str | None, replicas: int) -> FleetSpec:
        """As the command says; what it leaves open is the workload's, or Llama-3-8B on H100s. Raises ValueError.

        A workload's model and GPUs belong together: where the command names either, neither is taken.
        """
        own = shape if shape.model is None or (model is None and gpu is None) else PLAIN
        return cls.parse(model or own.model or "llama3-8b", gpu or own.gpus or "h100", replicas)

    @property
    def replicas(self) -> list[Kind]:
        """The kind of each replica."""
        return [kind for kind in self.kinds for _ in range(kind.count)]

    def model_of(self, kind: Kind) -> str:
        """What its replicas serve."""
        return kind.model or self.model

    def profile(self, kind: Kind) -> Profile:
        """Its constants."""
        return find_profile(self.model_of(kind), kind.gpu)

    def config(self, kind: Kind, block_tokens: int) -> ReplicaConfig:
        """The engine's limits with blocks of that size."""
        return ReplicaConfig.of(
            self.profile(kind),
            sequences_max=self.sequences_max,
            block_tokens=block_tokens,
            adapters_max=self.adapters_max,
        )

    def describe(self) -> dict[str, object]:
        """For reports."""
        models = ",".join(dict.fromkeys(self.model_of(kind) for kind in self.kinds))
        return {"model": models, "replicas": len(self.replicas), "gpus": {k.name: k.count for k in self.kinds}}


class Isolated:
    """Seconds of prefill of a prompt that is alone on the fleet's fastest kind and finds nothing cached."""

    def __init__(self, fleet: FleetSpec) -> None:
        self._configs = [fleet.config(kind, ENGINE_BLOCK_TOKENS) for kind in dict.fromkeys(fleet.kinds)]
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


def work_s(config: ReplicaConfig, ask: Ask) -> float:
    """Seconds that a request takes of a replica: its prefill alone, and a share of `BATCH` of its answer's steps."""
    context = ask.prompt_tokens + ask.output_tokens // 2
    step_s = config.cost.seconds(tokens=BATCH, sequences=BATCH, decode_context=BATCH * context, prefill_pairs=0.0)
    return prefill_s(config, ask.prompt_tokens) + ask.output_tokens * step_s / BATCH


def names(kinds: Sequence[Kind]) -> list[str]:
    """A name for each replica."""
    return [f"{kind.name}-{number}" for number, kind in enumerate(kinds)]
