"""Shapes of models, and what follows from them for a model of which no step times are published.

From the models' own `config.json`, as NVIDIA's aiconfigurator 0.12.0 (Llama-3.1-8B and -70B, Qwen3-32B) and LitGPT
0.5.13 (the Phis) have them. Reading weights and multiplying by them scale with the weights of the layers, KV
reads with the bytes a token, attention with the width of the queries, overheads of the host with the layers (as in
BLIS, whose fit has 32 us a layer). What memory the weights leave becomes KV cache. Smaller matrices are a little less
efficient than this assumes.

Split over several GPUs (tensor parallel), each does its part of all of that, and after attention and MLP of every layer
they add up their parts: a ring all-reduce sends `2 (n - 1) / n` of the hidden states over each GPU's link, taken at its
nominal speed in one direction. Check: llm-d has calibrated 15,928 to 20,500 prompt tokens a second for Qwen3-32B on two
H100, which scales to 14,800 to 19,000 for 70.6 in place of 32.8 billion weights on four; the row here does 14,300.
"""

from dataclasses import dataclass

WEIGHT_BYTES = 2  # bf16
LINKS = {"h100": 450e9, "a100": 300e9}
"""Bytes a second in one direction over NVLink: half of NVIDIA's 900 and 600 GB/s. An L4 has none."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A dense decoder; widths are numbers of values."""

    layers: int
    hidden: int
    queries: int
    """Width of all query heads together."""
    keys: int
    """Width of all key heads together, which is that of the values, too."""
    mlp: int
    weights: float
    """All of them, embeddings included."""

    @property
    def layer_weights(self) -> int:
        """Weights that every token is multiplied by, but for the last layer's head."""
        attention = 2 * self.hidden * self.queries + 2 * self.hidden * self.keys
        return self.layers * (attention + 3 * self.hidden * self.mlp)

    @property
    def kv_bytes(self) -> int:
        """KV cache of a token, in bf16."""
        return self.layers * 2 * self.keys * 2

    @property
    def attention_flop_per_pair(self) -> int:
        """FLOP of attention per pair of tokens, over all layers."""
        return 4 * self.layers * self.queries

    def exchanged_bytes(self, gpus: int) -> float:
        """What each of so many GPUs sends for a token, in bf16."""
        return 2 * self.layers * self.hidden * 2 * 2 * (gpus - 1) / gpus


LLAMA3_8B = Architecture(32, 4096, 4096, 1024, 14336, 8.03e9)
LLAMA3_70B = Architecture(80, 8192, 8192, 1024, 28672, 70.6e9)
QWEN3_32B = Architecture(64, 5120, 8192, 1024, 25600, 32.8e9)
PHI4_MINI = Architecture(32, 3072, 3072, 1024, 8192, 3.84e9)
PHI3_MINI = Architecture(32, 3072, 3072, 3072, 8192, 3.82e9)
