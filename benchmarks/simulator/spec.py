"""What a simulated replica is: its name, what it serves, where it listens, how fast it is."""

import re
from dataclasses import dataclass

from benchmarks.simulator.answer import OUTPUT_TOKENS_MEDIAN
from benchmarks.simulator.config import ReplicaConfig
from benchmarks.simulator.profiles import find_profile

_NAME = re.compile(r"[A-Za-z0-9._:/@-]+")


@dataclass(frozen=True, slots=True)
class ReplicaSpec:
    """One replica of a fleet. Optional limits left at None are those of the profile."""

    name: str
    models: tuple[str, ...]
    """Names that it answers to; the first is the model, the others are more names of it [--served-model-name]."""
    address: str = "127.0.0.1"
    port: int = 0
    """0 takes any free port, and keeps it over restarts."""
    gpu: str = "h100"
    """h100, a100 or l4."""
    profile: str | None = None
    """Model whose time constants to use: llama3-8b or phi4-mini; None takes phi4-mini if the model's name has "phi"."""
    adapters: tuple[str, ...] = ()
    """LoRA adapters, served as models of their own."""
    adapters_max: int = 4
    """Distinct adapters in a batch [--max-loras]."""
    kv_tokens: int | None = None
    """Tokens that the KV cache holds."""
    context_tokens_max: int | None = None
    """Longest prompt and answer [--max-model-len]; None allows what the KV cache holds."""
    sequences_max: int | None = None
    """Sequences running at once [--max-num-seqs]."""
    output_tokens_median: float = OUTPUT_TOKENS_MEDIAN
    """Median length of an answer that the request does not limit."""
    seed: int = 0
    """Of the answers' lengths."""

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError(f"replica {self.name!r}: models must name at least one model")
        for name in (self.name, *self.models, *self.adapters):
            if not _NAME.fullmatch(name):
                raise ValueError(f"replica {self.name!r}: {name!r} is not a name of letters, digits and . _ : / @ -")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"replica {self.name!r}: port must be from 0 to 65535, got {self.port}")
        if self.output_tokens_median < 1:
            raise ValueError(f"replica {self.name!r}: output_tokens_median must be at least 1")
        try:
            self.config()
        except ValueError as error:
            raise ValueError(f"replica {self.name!r}: {error}") from error

    def config(self) -> ReplicaConfig:
        """Return the engine's limits."""
        profile = self.profile or ("phi4-mini" if "phi" in self.models[0].lower() else "llama3-8b")
        return ReplicaConfig.of(
            find_profile(profile, self.gpu),
            kv_tokens=self.kv_tokens,
            context_tokens_max=self.context_tokens_max,
            sequences_max=self.sequences_max,
            adapters_max=self.adapters_max,
        )
