"""The limits of a simulated engine."""

from dataclasses import dataclass

from benchmarks.simulator.profiles import Profile, StepCost


@dataclass(frozen=True, slots=True)
class ReplicaConfig:
    """The engine's limits; vLLM's name in brackets."""

    cost: StepCost
    kv_blocks: int
    """Blocks in the KV cache [num_gpu_blocks]."""
    context_tokens_max: int
    """Prompt and answer together [max_model_len]; must fit in the KV cache, or a request could wait for ever."""
    batch_tokens_max: int
    """Tokens in a step [max_num_batched_tokens]."""
    sequences_max: int
    """Sequences running at once [max_num_seqs]; at most `batch_tokens_max`, so that every decode fits in a step."""
    block_tokens: int = 16
    """Tokens in a block [block_size]; a trace with coarser hashes may set its own."""
    adapters_max: int = 1
    """Distinct LoRA adapters in the running batch [max_loras]."""

    def __post_init__(self) -> None:
        for name in ("kv_blocks", "block_tokens", "sequences_max", "adapters_max"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.sequences_max > self.batch_tokens_max:
            raise ValueError(f"sequences_max {self.sequences_max} exceeds batch_tokens_max {self.batch_tokens_max}")
        held = self.kv_blocks * self.block_tokens
        if not 2 <= self.context_tokens_max <= held:
            raise ValueError(f"context_tokens_max must be from 2 to the {held} tokens of the KV cache")

    @classmethod
    def of(
        cls,
        profile: Profile,
        *,
        kv_tokens: int | None = None,
        context_tokens_max: int | None = None,
        sequences_max: int | None = None,
        block_tokens: int = 16,
        adapters_max: int = 1,
    ) -> "ReplicaConfig":
        """Return the limits of a profile, some of them replaced; the context is as long as the KV cache by default."""
        blocks = (kv_tokens or profile.kv_tokens) // block_tokens
        return cls(
            cost=profile.cost,
            kv_blocks=blocks,
            context_tokens_max=context_tokens_max or blocks * block_tokens,
            batch_tokens_max=profile.batch_tokens_max,
            sequences_max=sequences_max or profile.sequences_max,
            block_tokens=block_tokens,
            adapters_max=adapters_max,
        )
