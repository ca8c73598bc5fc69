"""Rebuilds every shipped file from data paths, and measures what the model cards say. One command, no step by hand.

    python -m semantic.training.rebuild --data FOLDER --routing FOLDER --base model.safetensors \
        --tokenizer tokenizer.json --work DIR [--out semantic/models/heads] [--report] [--device cuda]

`--data` and `--routing` are folders of the labelled rows and of routing outcomes (DATA and ROUTING below). WORK
receives weights, predictions of unseen rows, plain fine-tunes and the tables of tier 0 of every fold. Needs a GPU and
the extra `train`. With `--small --device cpu` the same chain runs in minutes on a processor, over few rows, in few
steps and with one left-out fold: it shows that the chain holds, and what it makes knows nothing.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from semantic.training.fewer import write_fewer

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

BUILD = """
train_heads --data {data} --routing {routing} --base {base} --tokenizer {tokenizer} --out {work}/trained
    --keep-soups {work}/soups --device {device} {heads}
train_tier0 --data {data} --routing {routing} --base {base} --tokenizer {tokenizer} --soups {work}/soups
    --out {work}/tier0 --device {device} {tier0}
export_heads --data {data} --routing {routing} --base {base} --tokenizer {tokenizer} --trained {work}/trained
    --tier0 {work}/tier0 --out {out} --device {device} {export}
"""
MEASURE = """
train_heads --plain domain --data {data} --base {base} --tokenizer {tokenizer} --out {work}/plain
    --device {device} {plain}
train_heads --plain safety --data {data} --base {base} --tokenizer {tokenizer} --out {work}/plain
    --device {device} {plain}
report_heads --data {data} --trained {work}/trained --tier0 {work}/tier0 --plain {work}/plain --model {out}
    domain safety difficulty code pii cascade shipped
"""


@dataclass(frozen=True, slots=True)
class Size:
    """What a step is given beside paths and device, by the name that the blocks have for it."""

    heads: str
    tier0: str
    export: str
    plain: str

    def steps(self, block: str) -> list[list[str]]:
        """Module and arguments of each step of a block; a line that is indented goes on."""
        joined = block.strip().replace("\n    ", " ")
        for name, arguments in asdict(self).items():
            joined = joined.replace("{" + name + "}", arguments)
        return [step.split() for step in joined.splitlines()]


FULL = Size(
    heads=f"--seeds 6 --fold-seeds 3 --seconds {SECONDS}",
    tier0="",
    export="",
    plain="--seeds 1 --fold-seeds 1 --epochs 3",
)
SMALL_SHARE = 0.03
_FEW_STEPS = "--epochs 1 --batch 8 --folds books"
SMALL = Size(
    heads=f"--seeds 2 --fold-seeds 1 --shrink 0.001 {_FEW_STEPS}",
    tier0="--shrink 0.005 --folds rows books",
    export="--small",
    plain=f"--seeds 1 --fold-seeds 1 --shrink 0.05 {_FEW_STEPS}",
)


def main(given: Sequence[str] | None = None) -> None:
    """Reads the command line and runs the steps, each in a process of its own; stops at the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag in ("--data", "--routing", "--base", "--tokenizer", "--work"):
        parser.add_argument(flag, required=True)
    parser.add_argument("--out", default="semantic/models/heads")
    parser.add_argument("--report", action="store_true", help="also train plain fine-tunes and print all tables")
    parser.add_argument("--small", action="store_true", help="few rows and steps: tries the chain; needs its own --out")
    parser.add_argument("--device", default="cuda")
    args = vars(parser.parse_args(given))
    if args["small"]:
        if Path(args["out"]).resolve() == Path(parser.get_default("out")).resolve():
            parser.error("--small makes no files to ship: name another folder with --out")
        args |= _few_rows(args)
    size = SMALL if args["small"] else FULL
    for step in size.steps(BUILD) + (size.steps(MEASURE) if args["report"] else []):
        module, *rest = (part.format(**args) for part in step)
        subprocess.run([sys.executable, "-m", f"semantic.training.{module}", *rest], check=True)


def _few_rows(args: dict[str, str]) -> dict[str, str]:
    """Where a few rows of each file are: all that the steps are given."""
    few: dict[str, str] = {}
    for name, files in (("data", DATA), ("routing", ROUTING)):
        folder = Path(args["work"]) / f"few-{name}"
        for file in files:
            write_fewer(Path(args[name]) / file, folder / file, SMALL_SHARE)
        few[name] = str(folder)
    return few


if __name__ == "__main__":
    main()
