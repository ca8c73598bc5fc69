"""Rebuilds every shipped file from data paths, and measures what the model cards say. One command, no step by hand.

    python -m semantic.training.rebuild --data FOLDER --routing FOLDER --base model.safetensors \
        --tokenizer tokenizer.json --work DIR [--out semantic/models/heads] [--report] [--device cuda]

`--data` and `--routing` are folders of the labelled rows and of routing outcomes (DATA and ROUTING below). WORK
receives weights, predictions of unseen rows, plain fine-tunes and the tables of tier 0 of every fold. Needs a GPU and
the extra `train`. Given again with the same WORK, it goes on behind the trainings that were finished from the same
files by the same scripts. With `--small --device cpu` the same chain runs in minutes on a processor, over few rows, in
few steps and with one left-out fold: it shows that the chain holds, and what it makes knows nothing.
"""

import argparse
import hashlib
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from semantic.training.fewer import write_fewer
from semantic.training.tasks import FOLDS

DATA = (
    "domain.jsonl.gz",
    "safety.jsonl.gz",
    "reasoning.jsonl.gz",
    "code.jsonl.gz",
    "pii.jsonl.gz",
    "language.jsonl.gz",
)
ROUTING = ("helm_mmlu_10models.jsonl.gz", "mmlu_redux_14models.jsonl.gz", "mmlu_pro_29models.jsonl.gz")
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
    heads="--seeds 6 --fold-seeds 3 --epochs 4",
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
    """Reads the command line and runs the steps, each in a process of its own; stops where one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag in ("--data", "--routing", "--base", "--tokenizer", "--work"):
        parser.add_argument(flag, required=True)
    parser.add_argument("--out", default="semantic/models/heads")
    parser.add_argument("--report", action="store_true", help="also train plain fine-tunes and print all tables")
    parser.add_argument("--small", action="store_true", help="few rows and steps: tries the chain; needs its own --out")
    parser.add_argument("--device", default="cuda")
    args = vars(parser.parse_args(given))
    known = _digest(args)
    if args["small"]:
        if Path(args["out"]).resolve() == Path(parser.get_default("out")).resolve():
            parser.error("--small makes no files to ship: name another folder with --out")
        args |= _few_rows(args)
    size = SMALL if args["small"] else FULL
    heads, tier0, export = size.steps(BUILD)
    *plain, report = size.steps(MEASURE)
    stages = [[Training(heads, known)], [Training(step, f"{known} {heads}") for step in _by_fold(tier0)]]
    if args["report"]:
        stages[-1] += [Training(step, known) for step in plain]  # these keep the GPU busy, tier 0 the processor
    for stage in stages:
        left = [training for training in stage if not training.is_done(Path(args["work"]))]
        codes = _run([_filled(training.step, args) for training in left])
        for training, code in zip(left, codes, strict=True):
            if code == 0:
                training.mark(Path(args["work"]))
        if any(codes):
            sys.exit(1)
    for step in [export, report] if args["report"] else [export]:
        if any(_run([_filled(step, args)])):
            sys.exit(1)


@dataclass(frozen=True, slots=True)
class Training:
    """A step that need not be run again where it was finished from the same things."""

    step: Sequence[str]
    given: str
    """Stands for all that the step goes by but its arguments."""

    def is_done(self, work: Path) -> bool:
        """Whether it was marked in the folder."""
        done = self._mark(work).exists()
        if done:
            sys.stderr.write(f"done before: {' '.join(self.step)}\n")
        return done

    def mark(self, work: Path) -> None:
        """Remembers that it was finished."""
        self._mark(work).touch()

    def _mark(self, work: Path) -> Path:
        return work / f"{hashlib.sha256(f'{self.given} {self.step}'.encode()).hexdigest()}.done"


def _digest(args: dict[str, str]) -> str:
    """The digest of all files that the chain is given, and of its scripts."""
    files = [Path(args["data"]) / name for name in DATA] + [Path(args["routing"]) / name for name in ROUTING]
    files += [Path(args["base"]), Path(args["tokenizer"])]
    files += sorted(p for p in Path(__file__).parents[1].rglob("*") if p.suffix in (".py", ".yaml"))
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()


def _by_fold(step: list[str]) -> list[list[str]]:
    """A step for each fold, or as it is where it names them."""
    return [step] if "--folds" in step else [[*step, "--folds", fold] for fold in ("rows", *FOLDS)]


def _filled(step: Sequence[str], args: dict[str, str]) -> list[str]:
    return [part.format(**args) for part in step]


def _run(steps: Iterable[Sequence[str]]) -> list[int]:
    """Runs the steps at once; their exit statuses when all have ended."""
    commands = [[sys.executable, "-m", f"semantic.training.{module}", *rest] for module, *rest in steps]
    processes = [subprocess.Popen(command) for command in commands]
    return [process.wait() for process in processes]


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
