"""Rebuilds every shipped file from data paths, and measures what the model cards say. One command, no step by hand.

    python -m semantic.training.rebuild --data FOLDER --routing FOLDER --base model.safetensors \
        --teacher teacher.safetensors --tokenizer tokenizer.json --work DIR [--out semantic/models/heads] [--report] \
        [--device cuda ...]

`--data` and `--routing` are folders of the labelled rows and of routing outcomes (DATA and ROUTING below). WORK
receives weights, predictions of unseen rows, plain fine-tunes and the tables of tier 0 of every fold. Needs a GPU and
the extra `train`; of several devices each takes some of the folds. Given again with the same WORK, it goes on behind
the last training that was finished from the same files with the same arguments (a change in a script is not seen: name
another WORK then). With `--small --device cpu` the same chain
runs in minutes on a processor, over few rows, in few steps and with one left-out fold: it shows that the chain holds,
and what it makes knows nothing.
"""

import argparse
import hashlib
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

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
train_heads --as-teacher --data {data} --routing {routing} --base {teacher} --tokenizer {tokenizer}
    --out {work}/teacher-trained --keep-soups {work}/teachers --device {device} {teachers}
train_heads --teachers {work}/teachers --data {data} --routing {routing} --base {base} --tokenizer {tokenizer}
    --out {work}/trained --keep-soups {work}/soups --device {device} {heads}
train_tier0 --data {data} --routing {routing} --base {base} --tokenizer {tokenizer} --soups {work}/soups
    --teachers {work}/teachers --out {work}/tier0 --device {device} {tier0}
export_heads --data {data} --routing {routing} --base {base} --teacher {teacher} --tokenizer {tokenizer}
    --trained {work}/trained --tier0 {work}/tier0 --out {out} --device {device} {export}
"""
MEASURE = """
train_heads --plain domain --data {data} --base {base} --tokenizer {tokenizer} --out {work}/plain
    --device {device} {plain}
train_heads --plain safety --data {data} --base {base} --tokenizer {tokenizer} --out {work}/plain
    --device {device} {plain}
report_heads --data {data} --trained {work}/trained --teacher {work}/teacher-trained --tier0 {work}/tier0
    --plain {work}/plain --model {out} domain safety difficulty code pii cascade shipped
"""


@dataclass(frozen=True, slots=True)
class Size:
    """What a step is given beside paths and device, by the name that the blocks have for it."""

    teachers: str
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


_TAUGHT = "--teaching 0.5 --elsewhere 0.1 --fragments 12000"
FULL = Size(
    teachers="--seeds 1 --fold-seeds 1",
    heads=f"--seeds 6 --fold-seeds 2 --epochs 3.4 {_TAUGHT}",
    tier0="--above 0.5",
    export="",
    plain="--seeds 1 --fold-seeds 1",
)
SMALL_SHARE = 0.03
_FEW_STEPS = "--epochs 1 --batch 8 --folds rows books"
SMALL = Size(
    teachers=f"--seeds 1 --fold-seeds 1 --shrink 0.001 {_FEW_STEPS}",
    heads=f"--seeds 2 --fold-seeds 1 --shrink 0.001 {_TAUGHT} {_FEW_STEPS}",
    tier0="--above 0.5 --shrink 0.005 --folds rows books",
    export="--small",
    plain=f"--seeds 1 --fold-seeds 1 --shrink 0.05 {_FEW_STEPS}",
)


def main(given: Sequence[str] | None = None) -> None:
    """Reads the command line and runs the steps, each in a process of its own; stops at the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag in ("--data", "--routing", "--base", "--teacher", "--tokenizer", "--work"):
        parser.add_argument(flag, required=True)
    parser.add_argument("--out", default="semantic/models/heads")
    parser.add_argument("--report", action="store_true", help="also train plain fine-tunes and print all tables")
    parser.add_argument("--small", action="store_true", help="few rows and steps: tries the chain; needs its own --out")
    parser.add_argument("--device", nargs="+", default=["cuda"], help="several take the folds among them")
    args = vars(parser.parse_args(given))
    devices = args.pop("device")
    if args["small"]:
        if Path(args["out"]).resolve() == Path(parser.get_default("out")).resolve():
            parser.error("--small makes no files to ship: name another folder with --out")
        args |= _few_rows(args)
    size = SMALL if args["small"] else FULL
    teach, learn, words, export = size.steps(BUILD)
    *plain, report = size.steps(MEASURE)
    work = Path(args["work"])
    given = _given(args)
    stages = [[Training(teach, given)], [Training(learn, given, teach)], [Training(words, given, [*teach, *learn])]]
    if args["report"]:
        stages[-1] += [Training(step, given) for step in plain]  # these keep the device busy, tier 0 the processor
    for stage in stages:
        open_ = [training for training in stage if not training.is_done(work)]
        _run([command for training in open_ for command in _side_by_side(training.step, args, devices)])
        for training in open_:
            training.mark(work)
    for step in (export, *([report] if args["report"] else [])):
        _run([_filled(step, args, devices[0])])


@dataclass(frozen=True, slots=True)
class Training:
    """A step that need not be run again with the same files, the same arguments, and the same steps before it."""

    step: Sequence[str]
    given: str
    """Stands for all files that the chain reads."""
    before: Sequence[str] = ()

    @property
    def _stamp(self) -> str:
        return hashlib.sha256(" ".join([self.given, *self.before, *self.step]).encode()).hexdigest()

    def is_done(self, work: Path) -> bool:
        """Whether it was marked in the folder."""
        done = (work / f"{self._stamp}.done").exists()
        if done:
            sys.stderr.write(f"done before: {' '.join(self.step[:3])}\n")
        return done

    def mark(self, work: Path) -> None:
        """Remembers that it was finished."""
        (work / f"{self._stamp}.done").touch()


def _given(args: dict[str, Any]) -> str:
    """The digest of all files that the chain is given."""
    files = [Path(args["data"]) / name for name in DATA] + [Path(args["routing"]) / name for name in ROUTING]
    files += [Path(args[name]) for name in ("base", "teacher", "tokenizer")]
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()


def _side_by_side(step: Sequence[str], args: dict[str, Any], devices: Sequence[str]) -> list[list[str]]:
    """The step for each device with its part of the folds, or as it is where it names folds.

    Each fold of tier 0 has a process of its own: most of its time is the processor's.
    """
    if "--folds" in step:
        return [_filled(step, args, devices[0])]
    parts = np.array_split([*FOLDS, "rows"], len(FOLDS) + 1 if step[0] == "train_tier0" else len(devices))
    return [[*_filled(step, args, d), "--folds", *part] for d, part in zip(cycle(devices), parts) if len(part)]


def _filled(step: Sequence[str], args: dict[str, Any], device: str) -> list[str]:
    return [part.format(**args, device=device) for part in step]


def _run(steps: Iterable[Sequence[str]]) -> None:
    """Runs the steps at once; raises CalledProcessError where one fails."""
    commands = [[sys.executable, "-m", f"semantic.training.{module}", *rest] for module, *rest in steps]
    processes = [subprocess.Popen(command) for command in commands]
    codes = [process.wait() for process in processes]
    for code, command in zip(codes, commands, strict=True):
        if code:
            raise subprocess.CalledProcessError(code, command)


def _few_rows(args: dict[str, Any]) -> dict[str, str]:
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
