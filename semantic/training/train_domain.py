"""Trains the category model: several short trainings from one base, averaged; the same again for each left-out fold.

    python -m semantic.training.train_domain --data domain.jsonl.gz --base model.safetensors \
        --tokenizer tokenizer.json --out DIR [--processes 10] [--device cuda]

DIR receives `weights-N.npz` (parts of the float16 soup trained on the row split, what `export_onnx` turns into the
shipped file), `unseen.npz` (labels and logits of each fold on what it never saw) and `figures.json`.
"""

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from semantic.training.arrays import Weights
from semantic.training.checkpoint import read_base, write_parts
from semantic.training.rows import FOLDS, LABELS, Row, read_rows, split

FOLD_SEEDS, ROW_SEEDS = 2, 4


Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Job:
    """One training: which rows it may see, which chance it has."""

    fold: str
    seed: int

    @property
    def file(self) -> str:
        """Where its weights lie until the soup is made."""
        return f"{self.fold}-{self.seed}.npz"


@dataclass(frozen=True, slots=True)
class Paths:
    """What every worker reads, and the folder it writes to."""

    data: Path
    base: Path
    tokenizer: Path
    scratch: Path
    device: str


def jobs() -> list[Job]:
    """Every training of the run; the ones behind the shipped file first."""
    wanted = [Job("rows", seed) for seed in range(ROW_SEEDS)]
    return wanted + [Job(fold, seed) for fold in FOLDS for seed in range(FOLD_SEEDS)]


def main() -> None:
    """Reads the command line, trains, averages, measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "base", "tokenizer", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, default=Path("scratch-domain"))
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    paths = Paths(args.data, args.base, args.tokenizer, args.scratch, args.device)
    paths.scratch.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    with multiprocessing.get_context("spawn").Pool(args.processes, maxtasksperchild=1) as pool:
        for done in pool.imap_unordered(_train, [(job, paths) for job in jobs()], chunksize=1):
            sys.stderr.write(f"trained {done}\n")
    figures: dict[str, object] = {}
    unseen: dict[str, Array] = {}
    for fold in ("rows", *FOLDS):
        figures[fold], unseen[f"{fold}.labels"], unseen[f"{fold}.logits"] = _measure(fold, paths, args.out)
    (args.out / "figures.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
    np.savez(args.out / "unseen.npz", allow_pickle=False, **unseen)


def _train(task: tuple[Job, Paths]) -> str:
    job, paths = task
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tune = import_module("semantic.training.tune")  # brings torch, which the parent process does not need
    train, _ = split(read_rows(paths.data), job.fold)
    how = {"recipe": tune.Recipe(), "seed": job.seed, "device": paths.device}
    weights: Weights = tune.tune(train, read_base(paths.base), _tokenizer(paths), **how)
    np.savez(paths.scratch / job.file, allow_pickle=False, **dict(weights))
    return job.file


def _measure(fold: str, paths: Paths, out: Path) -> tuple[dict[str, object], Array, Array]:
    """(accuracy, labels, logits) of the fold's soup on the rows it never saw; writes the row split's weights."""
    tune = import_module("semantic.training.tune")
    _, unseen = split(read_rows(paths.data), fold)
    chosen = [dict(np.load(paths.scratch / job.file)) for job in jobs() if job.fold == fold]
    weights: Weights = tune.soup(chosen)
    if fold == "rows":
        write_parts(weights, out)
    texts = [row.text for row in unseen]
    logits: Array = tune.predict(weights, texts, _tokenizer(paths), tune.Recipe().max_tokens, paths.device)
    labels = np.array([row.label for row in unseen], dtype=np.float32)
    return accuracies(unseen, logits.argmax(axis=1).tolist()), labels, logits


def accuracies(rows: Sequence[Row], guesses: Sequence[int]) -> dict[str, object]:
    """Overall, mean over categories, per category and per top-level source, each with its number of rows."""
    groups: dict[tuple[str, str], list[bool]] = {}
    for row, guess in zip(rows, guesses, strict=True):
        right = guess == row.label
        groups.setdefault(("categories", LABELS[row.label]), []).append(right)
        groups.setdefault(("sources", row.source.split("|")[0].split("/")[0]), []).append(right)
    tables: dict[str, dict[str, tuple[int, float]]] = {"categories": {}, "sources": {}}
    for (table, key), rights in sorted(groups.items()):
        tables[table][key] = (len(rights), round(sum(rights) / len(rights), 4))
    right_rows = sum(guess == row.label for row, guess in zip(rows, guesses, strict=True))
    macro = sum(share for _, share in tables["categories"].values()) / len(tables["categories"])
    return {"rows": len(rows), "accuracy": round(right_rows / len(rows), 4), "macro": round(macro, 4), **tables}


def _tokenizer(paths: Paths) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(paths.tokenizer))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


if __name__ == "__main__":
    main()
