"""Times the layers of each architecture on the GPU at hand, beside what the constants of the simulator say.

`python -m benchmarks.simulator.measure` needs a CUDA GPU and PyTorch, which nothing else here does; random weights, so
nothing is fetched. Measured are the matrix products of all layers (each with weights of its own, so that they come from
memory) at several numbers of tokens, and causal attention over one prompt; each the median of several replays of a
CUDA graph. Not measured are normalization, sampling, the host, and links between GPUs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.simulator.architectures import LINKS, LLAMA3_8B, LLAMA3_70B, PHI3_MINI, PHI4_MINI, Architecture
from benchmarks.simulator.profiles import find_profile

TOKENS = (1, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
PROMPTS = (1024, 2048, 4096, 8192)
CASES = (
    ("llama3-8b", "h100", LLAMA3_8B, 1),
    ("phi4-mini", "h100", PHI4_MINI, 1),
    ("phi3-mini", "h100", PHI3_MINI, 1),
    ("llama3-70b", "h100x4", LLAMA3_70B, 4),
)
HEAD = 128
REPLAYS = 15


def main(arguments: list[str]) -> int:
    """0, or 1 without a GPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulator.measure", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args(arguments)
    try:
        torch = import_module("torch")
    except ImportError:
        torch = None
    if torch is None or not torch.cuda.is_available():
        sys.stderr.write("there is no GPU that PyTorch can use\n")
        return 1
    rows = [row for name, gpu, model, gpus in CASES for row in _measured(torch, name, gpu, model, gpus)]
    found = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "rows": rows}
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def _measured(torch: Any, name: str, gpu: str, model: Architecture, gpus: int) -> list[dict[str, Any]]:
    """One GPU's part of the layers; the exchange between GPUs is left out of what the constants say."""
    cost = find_profile(name, gpu).cost
    exchange_ms = 0.0 if gpus == 1 else 1e3 * model.exchanged_bytes(gpus) / LINKS["h100"]
    row = partial(_row, name, gpu)
    layers = [_weights(torch, model, gpus) for _ in range(model.layers)]
    rows = []
    for tokens in TOKENS:
        inputs = {width: torch.randn(tokens, width, device="cuda", dtype=torch.bfloat16) for width in _widths(layers)}

        def products(inputs: dict[int, Any] = inputs) -> None:
            for layer in layers:
                for weight in layer:
                    inputs[weight.shape[1]] @ weight.T

        said = max(cost.weights_ms + cost.weights_token_ms * tokens, cost.matmul_ms + cost.matmul_token_ms * tokens)
        rows.append(row("linear", tokens, said - exchange_ms * tokens, _time_ms(torch, products)))
    heads = model.queries // HEAD // gpus
    for tokens in PROMPTS:
        queries, keys, values = (
            torch.randn(1, heads, tokens, HEAD, device="cuda", dtype=torch.bfloat16) for _ in range(3)
        )

        def attention(q: Any = queries, k: Any = keys, v: Any = values) -> None:
            torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

        pairs = tokens**2 / 2
        said = 1e3 * cost.attention_flop_per_pair * pairs / cost.attention_flop_per_s
        rows.append(row("attention", tokens, said, model.layers * _time_ms(torch, attention)))
    return rows


def _weights(torch: Any, model: Architecture, gpus: int) -> list[Any]:
    """Of one layer, fused as engines do, and split over the GPUs."""
    shapes = (
        ((model.queries + 2 * model.keys) // gpus, model.hidden),
        (model.hidden, model.queries // gpus),
        (2 * model.mlp // gpus, model.hidden),
        (model.hidden, model.mlp // gpus),
    )
    return [torch.randn(*shape, device="cuda", dtype=torch.bfloat16) * 0.02 for shape in shapes]


def _widths(layers: list[list[Any]]) -> set[int]:
    return {weight.shape[1] for weight in layers[0]}


def _time_ms(torch: Any, work: Callable[[], None]) -> float:
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(2):
            work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    times = []
    for _ in range(REPLAYS):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return float(median(times[2:]))


def _row(name: str, gpu: str, part: str, tokens: int, *times_ms: float) -> dict[str, Any]:
    """What the constants say, and what was measured."""
    said, measured = times_ms
    row = {"model": name, "constants": gpu, "part": part, "tokens": tokens}
    return {**row, "said_ms": round(said, 3), "measured_ms": round(measured, 3), "ratio": round(said / measured, 3)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
