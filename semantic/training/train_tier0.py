"""Trains tier 0: linear classifiers over hashed n-grams, for every head that words alone can answer.

    python -m semantic.training.train_tier0 --data FOLDER --tokenizer tokenizer.json --out DIR [--folds rows user ...]

DIR receives `tier0-FOLD.npz`: the int8 tables with a scale a column. The tables of `rows` are the shipped ones.
Needs scipy besides what train_heads needs; minutes on a CPU.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from semantic.signals.ngrams import CHARACTER_BUCKETS, WORD_BUCKETS, character_buckets, word_buckets
from semantic.training.mixture import Mixture, Shares
from semantic.training.tasks import FOLDS, LABELS, Example, is_held_out, read_all, read_rows_of_languages, split
from semantic.training.train_heads import read_tokenizer

sparse: Any = import_module("scipy.sparse")
Array = npt.NDArray[Any]

STEPS, RATE, SMOOTHING = 70, 0.25, 0.05
GATED = ("PERSON", "ORGANIZATION", "GPE", "LOCATION", "STREET_ADDRESS", "NRP", "TITLE", "AGE", "USERNAME", "PASSWORD")
"""Types that only the encoder finds; the gate says whether a text may hold one."""
SHARES = Shares(safety=20_000, safety_composed=12_000, pii=16_000, pii_composed=6_000, reasoning=4_000, code=7_000)


FREQUENT = Path(__file__).with_name("language_words.yaml")
MADE_OF_WORDS = 900
"""Texts a language, made of frequent words and words of its rows: the rows of a language have few subjects."""


def main() -> None:
    """Reads the command line, trains each fold, writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "tokenizer", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--folds", nargs="*", default=["rows", *FOLDS])
    parser.add_argument("--language-only", action="store_true", help="only renew the language table of `rows`")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    examples = read_all(args.data)
    if args.language_only:
        tables = dict(np.load(args.out / "tier0-rows.npz")) | languages(language_rows(args.data, examples))
        np.savez_compressed(args.out / "tier0-rows.npz", allow_pickle=False, **tables)
        return
    for fold in args.folds:
        train, _ = split(examples, fold)
        tables = _words(train, args.tokenizer)
        if fold == "rows":
            tables |= languages(language_rows(args.data, examples))
        np.savez_compressed(args.out / f"tier0-{fold}.npz", allow_pickle=False, **tables)
        sys.stderr.write(f"trained {fold}\n")


def _words(train: Sequence[Example], tokenizer: Path) -> dict[str, Array]:
    drawn = Mixture(train, read_tokenizer(tokenizer), 7, replace(SHARES, domain=SHARES.domain + 15_000)).epoch()
    matrix = _matrix([word_buckets(d.text) for d in drawn], WORD_BUCKETS)
    tables: dict[str, Array] = {}
    for task, labels in LABELS.items():
        rows = [n for n, d in enumerate(drawn) if d.task == task]
        weight, bias = fit(matrix[rows], np.array([drawn[n].label for n in rows]), len(labels))
        tables |= _stored(task, weight, bias)
    rows = [n for n, d in enumerate(drawn) if d.task in ("pii", "domain")]
    named = np.array([any(kind in GATED for _, _, kind in drawn[n].spans) for n in rows], dtype=np.int64)
    weight, bias = fit(matrix[rows], named, 2)
    return tables | _stored("names", weight, bias)


def languages(rows: Sequence[tuple[str, str]]) -> dict[str, Array]:
    """The table of the language head from (text, ISO code) rows; whole texts and pieces of them count alike."""
    rng = Random(0)
    codes = sorted({code for _, code in rows})
    texts: list[str] = []
    wanted: list[int] = []
    frequent = yaml.safe_load(FREQUENT.read_text(encoding="utf-8"))
    own: dict[str, list[str]] = {}
    for text, code in rows:
        own.setdefault(code, []).extend(text.split())
    for code, words in frequent.items():
        for _ in range(MADE_OF_WORDS if code in codes else 0):
            picked = rng.choices(words.split(), k=rng.randint(2, 10)) + rng.choices(own[code], k=rng.randint(0, 4))
            rng.shuffle(picked)
            texts.append(" ".join(picked))
            wanted.append(codes.index(code))
    for text, code in rows:
        for piece in (text, _piece(text, rng), _piece(text, rng).lower()):
            texts.append(piece)
            wanted.append(codes.index(code))
    matrix = _matrix([character_buckets(text) for text in texts], CHARACTER_BUCKETS)
    weight, bias = fit(matrix, np.array(wanted), len(codes), balanced=True)
    return {**_stored("language", weight, bias), "language.labels": np.array(codes)}


def language_rows(data: Path, examples: Sequence[Example]) -> list[tuple[str, str]]:
    """(text, ISO code): the language file, other languages of other files, and questions as English."""
    rng = Random(1)
    rows = read_rows_of_languages(data)
    english = [(e.text, "en") for e in examples if e.task in ("domain", "code") and not is_held_out(e)]
    return [row for row in rows if not is_held_out(Example("language", row[0], 0, ""))] + rng.sample(english, 5000)


def _piece(text: str, rng: Random) -> str:
    words = text.split()
    if len(words) < 6:
        start = rng.randrange(max(1, len(text) - 12))
        return text[start : start + rng.randint(12, 40)]
    start = rng.randrange(len(words) - 4)
    return " ".join(words[start : start + rng.randint(3, 12)])


def _matrix(buckets: Sequence[Array], width: int) -> Any:
    """Rows of features, each scaled by the root of how many there are."""
    counts = np.array([len(b) for b in buckets])
    values = np.repeat(1 / np.sqrt(np.maximum(counts, 1)), counts).astype(np.float32)
    starts = np.concatenate([[0], np.cumsum(counts)])
    return sparse.csr_matrix((values, np.concatenate(buckets), starts), shape=(len(buckets), width))


def fit(matrix: Any, labels: Array, classes: int, *, balanced: bool = False) -> tuple[Array, Array]:
    """Softmax regression by full steps of Adam; deterministic."""
    target = np.full((len(labels), classes), SMOOTHING / classes, np.float32)
    target[np.arange(len(labels)), labels] += 1 - SMOOTHING
    each = np.ones(len(labels), np.float32)
    if balanced:
        each = (1 / np.sqrt(np.bincount(labels, minlength=classes))[labels]).astype(np.float32)
    shares = (each / each.sum())[:, None].astype(np.float32)
    weight, bias = np.zeros((matrix.shape[1], classes), np.float32), np.zeros(classes, np.float32)
    first, second = np.zeros_like(weight), np.zeros_like(weight)
    transposed = matrix.T.tocsr()
    for step in range(1, STEPS + 1):
        gap = (softmax(matrix @ weight + bias) - target) * shares
        slope = transposed @ gap
        first = 0.9 * first + 0.1 * slope
        second = 0.99 * second + 0.01 * slope**2
        pace = RATE * min(1.0, 2 * (1 - step / (STEPS + 1)))
        weight -= pace * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.99**step)) + 1e-6)
        bias -= 2.0 * gap.sum(0)
    return weight, bias


def softmax(logits: Array) -> Array:
    """Row-wise softmax."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


def _stored(name: str, weight: Array, bias: Array) -> dict[str, Array]:
    scale = np.maximum(np.abs(weight).max(axis=0), 1e-9) / 127
    return {
        f"{name}.weight": np.round(weight / scale).astype(np.int8),
        f"{name}.scale": scale.astype(np.float32),
        f"{name}.bias": bias.astype(np.float32),
    }


if __name__ == "__main__":
    main()
