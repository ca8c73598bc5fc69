"""Trains the multi-head encoder: several trainings from one base, averaged; the same for each left-out fold.

    python -m semantic.training.train_heads --data FOLDER --routing FOLDER --base model.safetensors \
        --tokenizer tokenizer.json --out DIR [--seeds 6] [--fold-seeds 3] [--device cuda]

All trainings go in step on one device, each with a process that draws its rows. DIR receives `weights-N.npz` (parts of
the float16 soup trained on the row split, what `export_heads` turns into the shipped file) and `unseen-FOLD.npz`
(what the soup of each fold says of the rows it never saw, `measure.predict`). With --plain TASK a plain fine-tune of
that task alone is measured on each fold instead.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from semantic.onnx import read_tokenizer
from semantic.training.checkpoint import read_base, write_parts
from semantic.training.mixture import Batch, Mixture, Shares, plain
from semantic.training.more_rows import more_for, read_more
from semantic.training.tasks import FOLDS, Example, read_all, read_foreign, split

PARTS = 4
"""An epoch is drawn in this many parts, so that the first steps need not wait for a whole one."""
PARTS_MAX = 80
DRAW_SECONDS_MAX = 120
"""A part takes seconds to draw; who waits longer waits for a process that has died."""


@dataclass(frozen=True, slots=True)
class Job:
    """One training: the rows it may see, and its chance."""

    fold: str
    seed: int


def main() -> None:
    """Reads the command line, trains, averages, measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "base", "tokenizer", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--routing", type=Path, help="folder of routing outcomes: more labelled questions to train on")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--fold-seeds", type=int, default=3)
    parser.add_argument("--folds", nargs="*", default=list(FOLDS))
    parser.add_argument("--epochs", type=float, default=4.0)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--plain", metavar="TASK")
    parser.add_argument("--keep-soups", type=Path, help="also keep each fold's weights here: tier 0 learns from them")
    parser.add_argument("--shrink", type=float, default=1, help="share of an epoch's rows, to try the script out")
    parser.add_argument("--eager", action="store_true", help="do not record the steps of a GPU")
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    examples = [*read_all(args.data), *read_foreign(args.data)]
    more = read_more(args.routing, examples) if args.routing and not args.plain else []
    if args.plain:
        examples = [e for e in examples if e.task == args.plain]
    jobs = [Job("rows", seed) for seed in range(args.seeds)]
    jobs += [Job(fold, 100 + seed) for fold in args.folds for seed in range(args.fold_seeds)]
    _run(jobs, examples, more, args)


def _run(jobs: list[Job], examples: list[Example], more: list[Example], args: Any) -> None:
    began = time.monotonic()

    def say(text: str) -> None:
        sys.stderr.write(f"[{time.monotonic() - began:6.1f}] {text}\n")
        sys.stderr.flush()

    shares = plain(args.plain, len(examples)) if args.plain else Shares()
    shares = shares.shrunk(args.shrink / PARTS)
    rows = PARTS * shares.rows
    train = {fold: rows_of(examples, more, fold) for fold in dict.fromkeys(job.fold for job in jobs)}
    steps = _Steps(jobs, train, args.tokenizer, shares, args.batch)
    tune = import_module("semantic.training.tune")  # brings torch; the drawing processes do without
    rate = 5e-5 if args.plain else tune.Recipe().rate
    recipe = tune.Recipe(epochs=args.epochs, batch=args.batch, rate=rate, recorded=not args.eager)
    total = int(recipe.epochs * (rows // recipe.batch))
    base = read_base(args.base)
    try:
        models = tune.tune(
            base,
            [job.seed for job in jobs],
            steps.draw(),
            total=total,
            recipe=recipe,
            device=args.device,
            say=say,
        )
    finally:
        steps.close()
    say("trained")
    for fold in dict.fromkeys(job.fold for job in jobs):
        weights = tune.soup([model for job, model in zip(jobs, models, strict=True) if job.fold == fold])
        if fold == "rows" and not args.plain:
            write_parts(weights, args.out)
            _measure(weights, split(examples, "clean")[1], args, "unseen-clean.npz")
        if args.keep_soups and not args.plain:
            args.keep_soups.mkdir(parents=True, exist_ok=True)
            np.savez(args.keep_soups / f"soup-{fold}.npz", allow_pickle=False, **weights)
        unseen = [e for e in split(examples, fold)[1] if e.task != "foreign"]
        if not unseen:
            continue
        _measure(weights, unseen, args, f"{args.plain or 'unseen'}-{fold}.npz")
        say(f"measured {fold}")


def _measure(weights: Any, unseen: list[Example], args: Any, name: str) -> None:
    measure = import_module("semantic.training.measure")
    found = measure.predict(weights, [e.text for e in unseen], read_tokenizer(args.tokenizer), args.device)
    np.savez_compressed(args.out / name, allow_pickle=False, **found)


class _Steps:
    """Processes that draw the epochs of each job, a step ahead of the training."""

    def __init__(
        self, jobs: list[Job], train: Mapping[str, list[Example]], tokenizer: Path, shares: Shares, batch: int
    ) -> None:
        context = multiprocessing.get_context("fork")
        self._queues = [context.Queue(maxsize=2) for _ in jobs]
        self._processes = [
            context.Process(
                target=_draw,
                args=(job, train[job.fold], tokenizer, shares, queue),
                kwargs={"batch": batch},
                daemon=True,
            )
            for job, queue in zip(jobs, self._queues, strict=True)
        ]
        for process in self._processes:
            process.start()

    def draw(self) -> Iterator[list[Batch]]:
        """One batch a job and step. The k-th batch of every job is of like length; their order is shuffled alike."""
        rng = Random(0)
        for _ in range(PARTS_MAX):
            parts: list[list[Batch]] = [queue.get(timeout=DRAW_SECONDS_MAX) for queue in self._queues]
            order = list(range(min(len(part) for part in parts)))
            rng.shuffle(order)
            for k in order:
                yield [part[k] for part in parts]

    def close(self) -> None:
        """Ends the processes."""
        for process in self._processes:
            process.kill()
            process.join()


def rows_of(examples: Sequence[Example], more: Sequence[Example], fold: str) -> list[Example]:
    """What a fold trains on."""
    return [*split(examples, fold)[0], *more_for(more, examples, fold)]


def _draw(job: Job, train: list[Example], tokenizer: Path, shares: Shares, queue: Any, *, batch: int) -> None:
    os.nice(5)
    mixture = Mixture(train, read_tokenizer(tokenizer), job.seed, shares)
    for _ in range(PARTS_MAX):
        queue.put(list(mixture.batches(batch)))


if __name__ == "__main__":
    main()
