"""How long an engine step takes and what fits on the card, per (model, GPU): constants with their origin.

The step time in milliseconds, with T tokens in the step, C tokens of decode context, n sequences and prompt chunks of
c_i tokens at offset x_i:

    max(f0 + f1*T, a + b*T) + kv*C + 1000 * (flop_per_pair * sum c_i*(x_i + c_i/2)) / F + o0 + o1*n

Llama-3-8B, bf16. The linear layers come from the kernel profiles published with Vidur (github.com/microsoft/vidur):
A100, Llama-3-8B, 32 layers: 9.8 ms at 1 token, 13.3 at 128, 34.9 at 512, 146 at 2048; H100, Llama-2-7B: 5.6 ms at 1,
21.3 at 1024, 84.5 at 4096, scaled by 1.08 for the 8B shapes. KV reads at 60 % of 3.35, 2.04 and 0.30 TB/s over 131,072
bytes a token (32 layers x K and V x 8 heads x 128 x 2 bytes). Attention is 4 x 32 layers x 4096 = 524,288 FLOP per
pair of tokens. The L4 row is derived from 121 TFLOP/s and 300 GB/s: low confidence. Budgets are vLLM's defaults of the
API server. Checks: an 8192-token chunk on H100 takes 223 ms (36.7 k tokens/s); one decoding sequence takes
7.1, 11.3 and 60 ms a token; 64 sequences of 2 k context on H100 take 16 ms.

Every other model is derived from the Llama-3-8B row of the same GPU by its shape (`architectures.py`): low confidence.
"""

from dataclasses import dataclass, replace

from benchmarks.simulator.architectures import (
    LINKS,
    LLAMA3_8B,
    LLAMA3_70B,
    PHI3_MINI,
    PHI4_MINI,
    QWEN3_32B,
    WEIGHT_BYTES,
    Architecture,
)


@dataclass(frozen=True, slots=True)
class StepCost:
    """The constants of the step time; all `_ms` are milliseconds."""

    weights_ms: float
    """f0: reading every weight once, the floor of a step with few tokens."""
    weights_token_ms: float
    """f1: growth of that floor, per token."""
    matmul_ms: float
    """a: fixed part of the linear layers when they are compute-bound."""
    matmul_token_ms: float
    """b: linear layers, per token, when compute-bound."""
    context_token_ms: float
    """kv: reading the KV cache, per token of decode context."""
    attention_flop_per_s: float
    """F: what prefill attention reaches, in FLOP/s."""
    overhead_ms: float
    """o0: scheduling, sampling and launch, per step."""
    overhead_sequence_ms: float
    """o1: the same, per sequence in the step."""
    attention_flop_per_pair: float = 4 * 32 * 4096
    """FLOP of attention per pair of tokens, over all layers."""

    def seconds(self, *, tokens: int, sequences: int, decode_context: int, prefill_pairs: float) -> float:
        """Return the duration of a step of `tokens`, whose prompt chunks attend to `prefill_pairs` pairs of tokens."""
        linear = max(
            self.weights_ms + self.weights_token_ms * tokens,
            self.matmul_ms + self.matmul_token_ms * tokens,
        )
        reads = self.context_token_ms * decode_context
        attention = 1e3 * self.attention_flop_per_pair * prefill_pairs / self.attention_flop_per_s
        return (linear + reads + attention + self.overhead_ms + self.overhead_sequence_ms * sequences) / 1e3


@dataclass(frozen=True, slots=True)
class Profile:
    """One model on one GPU."""

    cost: StepCost
    kv_tokens: int
    """Tokens that the KV cache holds at vLLM's default memory share."""
    batch_tokens_max: int
    """`max_num_batched_tokens`."""
    sequences_max: int
    """`max_num_seqs`."""
    gpus: int = 1
    """GPUs that one replica takes."""


MEASURED = {
    "h100": Profile(StepCost(6.1, 0.0065, 2.9, 0.0220, 6.5e-5, 450e12, 1.0, 0.0045), 430_000, 8192, 1024),
    "a100": Profile(StepCost(9.8, 0.012, 6.4, 0.0672, 1.07e-4, 170e12, 1.5, 0.006), 410_000, 2048, 256),
    "l4": Profile(StepCost(58.0, 0.05, 30.0, 0.30, 7.3e-4, 45e12, 2.0, 0.008), 33_000, 2048, 256),
}


def derived(model: Architecture, gpu: str, gpus: int = 1) -> Profile:
    """Return the row of a model, split over so many GPUs, from Llama-3-8B's."""
    llama = MEASURED[gpu]
    ratio = model.layer_weights / LLAMA3_8B.layer_weights / gpus
    kv_ratio = model.kv_bytes / LLAMA3_8B.kv_bytes / gpus
    exchange_ms = 0.0 if gpus == 1 else 1e3 * model.exchanged_bytes(gpus) / LINKS[gpu]
    cost = replace(
        llama.cost,
        weights_ms=llama.cost.weights_ms * ratio,
        weights_token_ms=llama.cost.weights_token_ms * ratio + exchange_ms,
        matmul_ms=llama.cost.matmul_ms * ratio,
        matmul_token_ms=llama.cost.matmul_token_ms * ratio + exchange_ms,
        context_token_ms=llama.cost.context_token_ms * kv_ratio,
        overhead_ms=llama.cost.overhead_ms * model.layers / LLAMA3_8B.layers,
        attention_flop_per_pair=model.attention_flop_per_pair / gpus,
    )
    held = gpus * (llama.kv_tokens * LLAMA3_8B.kv_bytes + WEIGHT_BYTES * LLAMA3_8B.weights)
    kv_tokens = int((held - WEIGHT_BYTES * model.weights) / model.kv_bytes)
    return replace(llama, cost=cost, kv_tokens=kv_tokens, gpus=gpus)


PROFILES = {
    "llama3-8b": MEASURED,
    "phi4-mini": {gpu: derived(PHI4_MINI, gpu) for gpu in MEASURED},
    "phi3-mini": {gpu: derived(PHI3_MINI, gpu) for gpu in MEASURED},
    "qwen3-32b": {f"{gpu}x2": derived(QWEN3_32B, gpu, 2) for gpu in LINKS},
    "llama3-70b": {f"{gpu}x4": derived(LLAMA3_70B, gpu, 4) for gpu in LINKS},
}


def find_profile(model: str, gpu: str) -> Profile:
    """Return the constants of `model` on `gpu`, or say which there are."""
    if model not in PROFILES:
        raise ValueError(f"no time constants for model {model!r}; there are {', '.join(PROFILES)}")
    if gpu not in PROFILES[model]:
        raise ValueError(f"no time constants for gpu {gpu!r}; there are {', '.join(PROFILES[model])}")
    return PROFILES[model][gpu]
