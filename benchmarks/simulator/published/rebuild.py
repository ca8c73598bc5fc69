"""Rebuilds the tables of this folder from NVIDIA's aiconfigurator (Apache-2.0), where that is installed.

    python -m venv V && V/bin/pip install aiconfigurator==0.12.0
    V/bin/python benchmarks/simulator/published/rebuild.py

Nothing of OneHop is imported, so that it runs in an environment of its own. `steps.csv` has what aiconfigurator adds
up from its tables of kernels timed under vLLM: matrix products, attention, and all else on the GPU (exchange between
several, the small operations in between), of one step that takes in one prompt or gives a token to every sequence.
`curves.csv` has closed loops that were measured with real servers (`systems/silicon_sample.csv` of the package), beside
what aiconfigurator predicts for each.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).parent
VLLM = {"h100": "0.24.0", "h200": "0.24.0", "a100": "0.14.0", "l40s": "0.24.0"}
"""The versions whose kernels were timed on each GPU, the newest of the package."""
SYSTEM = {"h100": "h100_sxm", "h200": "h200_sxm", "a100": "a100_sxm", "l40s": "l40s"}
NAMES = {
    "llama3-8b": "meta-llama/Meta-Llama-3.1-8B",
    "llama3-70b": "meta-llama/Meta-Llama-3.1-70B",
    "qwen3-32b": "Qwen/Qwen3-32B",
}
PHI4_MINI = {
    "architectures": ["LlamaForCausalLM"],  # the same layers; the package does not know the model by its name
    "num_hidden_layers": 32,
    "hidden_size": 3072,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 8192,
    "vocab_size": 200064,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}
"""Of `microsoft/Phi-4-mini-instruct`, as LitGPT's `config.py` has it."""
STEPS = (
    *(("llama3-8b", gpu, 1) for gpu in ("h100", "a100", "h200", "l40s")),
    *(("phi4-mini", gpu, 1) for gpu in ("h100", "a100")),
    ("qwen3-32b", "h100", 2),
    ("llama3-70b", "h100", 4),
    ("llama3-70b", "a100", 4),
)
PROMPTS = (128, 512, 1024, 2048, 4096, 8192)
BATCHES = ((1, 1024), (1, 8192), (8, 2048), (32, 1024), (32, 4096), (64, 2048), (128, 1024), (256, 512))
"""Sequences, and tokens of context of each."""
STEP_FIELDS = ("model", "gpu", "gpus", "kind", "sequences", "tokens", "products_ms", "attention_ms", "other_ms")
CURVE_FIELDS = (
    *("model", "gpu", "gpus", "prompt_tokens", "output_tokens", "concurrency"),
    *("ttft_ms", "tpot_ms", "predicted_ttft_ms", "predicted_tpot_ms"),
)
BUDGET = 8192


def main() -> int:
    """0 when both tables are written."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(PHI4_MINI))
        names = {**NAMES, "phi4-mini": folder}
        _write("steps.csv", STEP_FIELDS, (row for case in STEPS for row in _steps(names, *case)))
        _write("curves.csv", CURVE_FIELDS, _curves(names))
    return 0


def _steps(names: dict[str, str], model: str, gpu: str, gpus: int) -> Iterator[dict[str, Any]]:
    session = _session(names[model], gpu, gpus)
    of = {"model": model, "gpu": gpu, "gpus": gpus}
    for tokens in PROMPTS:
        found = session.run_static(_asked(1, tokens, 2), mode="static_ctx").get_context_latency_dict()
        yield {**of, "kind": "prefill", "sequences": 1, "tokens": tokens, **_parts(found)}
    for sequences, context in BATCHES:
        found = session.run_static(_asked(sequences, context, 2), mode="static_gen").get_generation_latency_dict()
        yield {**of, "kind": "decode", "sequences": sequences, "tokens": context, **_parts(found)}


def _parts(found: dict[str, float]) -> dict[str, str]:
    products = sum(ms for name, ms in found.items() if name.endswith("_gemm"))
    attention = sum(ms for name, ms in found.items() if name.endswith("_attention"))
    other = sum(found.values()) - products - attention
    return {"products_ms": f"{products:.3f}", "attention_ms": f"{attention:.3f}", "other_ms": f"{other:.3f}"}


def _curves(names: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Those in bf16 of models of ours: 90 of Qwen3-32B on 2, 4 and 8 H100 under vLLM 0.12."""
    package = import_module("aiconfigurator_core")
    with (Path(str(package.__file__)).parent / "systems" / "silicon_sample.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["backend"] == "vllm" and row["mode"] == "agg"]
    models = {path: model for model, path in names.items()}
    for row in rows:
        model, gpu = models.get(row["model_path"]), row["system"].removesuffix("_sxm")
        if model is None or gpu not in SYSTEM or row["precision"]:
            continue  # a precision is named where it is not the model's own
        gpus, concurrency = int(float(row["tp_size"])), int(float(row["batch_size"]))
        asked = _asked(concurrency, int(row["isl"]), int(row["osl"]))
        found = _session(names[model], gpu, gpus).run_agg(asked, ctx_tokens=BUDGET).get_summary_df().iloc[0]
        yield {
            **{"model": model, "gpu": gpu, "gpus": gpus, "concurrency": concurrency},
            **{"prompt_tokens": row["isl"], "output_tokens": row["osl"]},
            "ttft_ms": f"{float(row['silicon_ttft_ms']):.1f}",
            "tpot_ms": f"{float(row['silicon_tpot_ms']):.2f}",
            "predicted_ttft_ms": f"{found['ttft']:.1f}",
            "predicted_tpot_ms": f"{found['tpot']:.2f}",
        }


def _session(path: str, gpu: str, gpus: int) -> Any:
    sdk = "aiconfigurator.sdk"
    common, config = import_module(f"{sdk}.common"), import_module(f"{sdk}.config")
    bf16 = config.ModelConfig(
        tp_size=gpus,
        pp_size=1,
        gemm_quant_mode=common.GEMMQuantMode.bfloat16,
        kvcache_quant_mode=common.KVCacheQuantMode.bfloat16,
        fmha_quant_mode=common.FMHAQuantMode.bfloat16,
        comm_quant_mode=common.CommQuantMode.half,
    )
    database = import_module(f"{sdk}.perf_database").get_database(SYSTEM[gpu], "vllm", VLLM[gpu])
    model = import_module(f"{sdk}.models").get_model(path, bf16, "vllm")
    backend = import_module(f"{sdk}.backends.factory").get_backend("vllm")
    return import_module(f"{sdk}.inference_session").InferenceSession(model, database, backend)


def _asked(batch: int, prompt: int, answer: int) -> Any:
    config = import_module("aiconfigurator.sdk.config")
    return config.RuntimeConfig(batch_size=batch, beam_width=1, isl=prompt, osl=answer)


def _write(name: str, fields: tuple[str, ...], rows: Iterable[dict[str, Any]]) -> None:
    with (HERE / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
