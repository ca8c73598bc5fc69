"""Rebuilds every shipped file from data paths, and measures what the model cards say. One command, no step by hand.

    python -m semantic.training.rebuild --data FOLDER --routing FOLDER --base model.safetensors \
        --tokenizer tokenizer.json --work DIR [--out semantic/models/heads] [--report]

`--data` and `--routing` are folders of the labelled rows and of routing outcomes (DATA below). WORK receives weights,
predictions of unseen rows, plain fine-tunes and the tables of tier 0 of every fold. Needs a GPU, torch, scipy, onnx.
"""

import argparse
import subprocess
import sys

DATA = (
    "domain.jsonl.gz",
    "safety.jsonl.gz",
    "reasoning.jsonl.gz",
    "code.jsonl.gz",
    "pii.jsonl.gz",
    "language.jsonl.gz",
)
ROUTING = ("helm_mmlu_10models.jsonl.gz", "mmlu_redux_14models.jsonl.gz", "mmlu_pro_29models.jsonl.gz")
SECONDS = 385
"""What the shipped training was held to; on one H200 that was 4.0 epochs of 18 models in step."""

BUILD = f"""
train_heads --data {{data}} --routing {{routing}} --base {{base}} --tokenizer {{tokenizer}} --out {{work}}/trained
    --keep-soups {{work}}/soups --seeds 6 --fold-seeds 3 --seconds {SECONDS}
train_tier0 --data {{data}} --routing {{routing}} --base {{base}} --tokenizer {{tokenizer}} --soups {{work}}/soups
    --out {{work}}/tier0
export_heads --data {{data}} --routing {{routing}} --base {{base}} --tokenizer {{tokenizer}} --trained {{work}}/trained
    --tier0 {{work}}/tier0 --out {{out}}
"""
MEASURE = """
train_heads --plain domain --seeds 1 --fold-seeds 1 --epochs 3 --data {data} --base {base} --tokenizer {tokenizer}
    --out {work}/plain
train_heads --plain safety --seeds 1 --fold-seeds 1 --epochs 3 --data {data} --base {base} --tokenizer {tokenizer}
    --out {work}/plain
report_heads --data {data} --trained {work}/trained --tier0 {work}/tier0 --plain {work}/plain --model {out}
    domain safety difficulty code pii cascade shipped
"""


def steps(block: str) -> list[list[str]]:
    """Module and arguments of each step of a block; a line that is indented goes on."""
    return [step.split() for step in block.strip().replace("\n    ", " ").splitlines()]


def main() -> None:
    """Reads the command line and runs the steps, each in a process of its own; stops at the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag in ("--data", "--routing", "--base", "--tokenizer", "--work"):
        parser.add_argument(flag, required=True)
    parser.add_argument("--out", default="semantic/models/heads")
    parser.add_argument("--report", action="store_true", help="also train plain fine-tunes and print all tables")
    args = vars(parser.parse_args())
    for step in steps(BUILD) + (steps(MEASURE) if args["report"] else []):
        module, *rest = (part.format(**args) for part in step)
        subprocess.run([sys.executable, "-m", f"semantic.training.{module}", *rest], check=True)


if __name__ == "__main__":
    main()
