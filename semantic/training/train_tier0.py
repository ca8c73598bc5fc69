"""Trains tier 0: hashed n-grams and vectors of word pieces, for every head, with the encoder of the fold as a teacher.

    python -m semantic.training.train_heads ... --keep-soups SOUPS
    python -m semantic.training.train_tier0 --data FOLDER --routing FOLDER --base model.safetensors \
        --tokenizer tokenizer.json --soups SOUPS --out DIR [--folds rows user ...] [--device cuda]

DIR receives `tier0-FOLD.npz`: the int8 tables with a scale a column, and the tokenizer that they go by. The tables of
`rows` are the shipped ones.
"""

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from semantic.onnx import read_tokenizer
from semantic.signals.lexicon import Lexicon
from semantic.signals.ngrams import CHARACTER_BUCKETS, WORD_BUCKETS, character_buckets, word_buckets
from semantic.signals.tier0 import PIECES
from semantic.training.calibrate import probabilities
from semantic.training.checkpoint import read_base
from semantic.training.mixture import Mixture, Shares
from semantic.training.more_rows import read_more
from semantic.training.tasks import (
    FOLDS,
    GATED,
    LABELS,
    Example,
    is_held_out,
    read_all,
    read_foreign,
    read_rows_of_languages,
)
from semantic.training.train_heads import rows_of

sparse: Any = import_module("scipy.sparse")
Array = npt.NDArray[Any]

STEPS, RATE, SMOOTHING = 70, 0.25, 0.05
"""Of the language table, which is fitted on a CPU."""
SHARES = Shares(safety=20_000, safety_composed=20_000, pii=16_000, pii_composed=6_000, reasoning=4_000, code=7_000)

STEP = 6
EXPERT = 0.3
"""What is best over all folds of 0, 0.3, 0.5, 0.7, 1: more helps the encoder and hurts tier 0 on user-style prompts."""

PIECES_OF_TEXTS = 60_000
ASKED = ("{}", "what is {}?", "tell me about {}", "how does {} work?", "the {}", "what does {} mean in this context?")
ASKED_TIMES = 2

FREQUENT = Path(__file__).with_name("language_words.yaml")
ENGLISH = 5_000
"""Questions that are English for the language table."""
MADE_OF_WORDS = 900
"""Texts a language, made of frequent words and words of its rows: the rows of a language have few subjects."""


def main() -> None:
    """Reads the command line, trains each fold, writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "tokenizer", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--routing", type=Path, help="folder of routing outcomes: more labelled questions to train on")
    parser.add_argument("--soups", type=Path, help="soup-FOLD.npz of `train_heads --keep-soups`")
    parser.add_argument("--base", type=Path, help="the base checkpoint: where the vectors of word pieces start")
    parser.add_argument("--folds", nargs="*", default=["rows", *FOLDS])
    parser.add_argument("--shrink", type=float, default=1, help="share of the rows, to try the script out")
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(args.tokenizer, args.out / "tokenizer.json")
    examples = read_all(args.data)
    more = read_more(args.routing, examples) if args.routing else []
    vectors = first_vectors(read_base(args.base), args.device)
    for fold in args.folds:
        train = rows_of([*examples, *read_foreign(args.data)], more, fold)
        recipe = import_module("semantic.training.words").Recipe()
        tables = learned(lesson(train, args.soups / f"soup-{fold}.npz", vectors, args), recipe, args.device)
        tables = strengthened(tables, *domain_rows(train, args))
        if fold == "rows":
            tables |= languages(language_rows(args.data, examples))
        np.savez_compressed(args.out / f"tier0-{fold}.npz", allow_pickle=False, **coarser(tables))
        sys.stderr.write(f"trained {fold}\n")


@dataclass(frozen=True, slots=True)
class Lesson:
    """What tier 0 of one fold learns from."""

    texts: Any
    labels: Array
    teacher: dict[str, Array]
    vectors: Array


def lesson(train: Sequence[Example], soup: Path, vectors: Array, args: Any) -> Lesson:
    """Drawn rows, their labels, and what the encoder of the fold says of them."""
    shares = replace(SHARES, domain=SHARES.domain + 15_000).shrunk(args.shrink)
    drawn = Mixture(train, read_tokenizer(args.tokenizer), 7, shares).epoch()
    words = import_module("semantic.training.words")  # brings torch
    measure = import_module("semantic.training.measure")
    settings = import_module("semantic.training.settings")
    tokenizer = read_tokenizer(args.tokenizer)
    taught = [*pieces(train, int(PIECES_OF_TEXTS * args.shrink), Random(11)), *words_alone(tokenizer, Random(12))]
    taught = taught if args.shrink == 1 else taught[:: int(1 / args.shrink)]
    texts = [d.text for d in drawn] + taught
    found = measure.predict(dict(np.load(soup)), texts, tokenizer, args.device)
    teacher = {head: np.exp(settings.pooled_of(found, len(texts), head)) for head in LABELS}
    labels = np.full((len(texts), len(words.HEADS)), words.NOTHING, np.int64)
    for n, d in enumerate(drawn):
        if d.task in LABELS:
            labels[n, list(words.HEADS).index(d.task)] = d.label
        if d.task in ("pii", "domain"):
            labels[n, -1] = any(kind in GATED for _, _, kind in d.spans)
    return Lesson(words.Texts.of(*features_of(texts, args.tokenizer)), labels, teacher, vectors)


def pieces(train: Sequence[Example], count: int, rng: Random) -> list[str]:
    """Runs of words of the training texts, without a label: what the encoder says of them is learned."""
    out = []
    for example in rng.choices(train, k=count):
        words = example.text.split()
        size = rng.randint(2, 16)
        at = rng.randrange(max(1, len(words) - size + 1))
        out.append(" ".join(words[at : at + size]))
    return out


def words_alone(tokenizer: Any, rng: Random) -> list[str]:
    """Every word of the vocabulary in a question or two, most of which no training text has."""
    found = [w for w in tokenizer.get_vocab() if w.isalpha() and w.isascii() and len(w) > 2]
    found.sort()
    return [rng.choice(ASKED).format(word) for word in found for _ in range(ASKED_TIMES)]


def learned(given: Lesson, recipe: Any, device: str) -> dict[str, Array]:
    """The tables of one fold, as they are shipped."""
    words = import_module("semantic.training.words")
    return stored(words.fit(given.texts, given.labels, given.teacher, given.vectors, recipe=recipe, device=device))


def domain_rows(train: Sequence[Example], args: Any) -> tuple[list[str], Array]:
    """(texts, labels) of domain prompts alone, as the mixture draws them."""
    counts = {**dict.fromkeys(SHARES.counts, 0), "domain": 42_000, "domain_prompts": 14_000}
    shares = Shares(**counts, as_it_is=False).shrunk(args.shrink)
    drawn = Mixture([e for e in train if e.task != "foreign"], read_tokenizer(args.tokenizer), 7, shares).epoch()
    return [d.text for d in drawn], np.array([d.label for d in drawn])


def strengthened(tables: Mapping[str, Array], texts: Sequence[str], labels: Array) -> dict[str, Array]:
    """With EXPERT parts of a softmax regression on n-grams alone in the domain's n-grams.

    Trained beside the vectors, n-grams leave to them what both know, and speak too softly beside the encoder.
    """
    matrix = _matrix([word_buckets(text) for text in texts], WORD_BUCKETS)
    weight, bias = fit(matrix, labels, len(LABELS["domain"]))
    own = tables["domain.weight"] * tables["domain.scale"]
    return {**tables, **_stored("domain", own + EXPERT * weight, tables["domain.bias"] + EXPERT * bias)}


def coarser(tables: Mapping[str, Array]) -> dict[str, Array]:
    """Vectors of word pieces in steps of STEP: a mean over words averages that out, and the file is a fifth smaller."""
    rounded = {f"{table}.weight" for table in PIECES} & tables.keys()
    steps = {k: (np.round(tables[k] / STEP) * STEP).clip(-127, 127).astype(np.int8) for k in rounded}
    return {**tables, **steps}


def features_of(texts: Sequence[str], tokenizer: Path) -> tuple[list[Array], list[Array]]:
    """N-gram buckets and word pieces of each text, as tier 0 sees them."""
    lexicon = Lexicon(read_tokenizer(tokenizer))
    return [word_buckets(t) for t in texts], [lexicon.word_pieces(t) for t in texts]


def first_vectors(base: Any, device: str) -> Array:
    """For each word piece what the base encoder says of it alone, in its main directions (after model2vec)."""
    heads, torch = import_module("semantic.training.heads"), import_module("torch")
    words = import_module("semantic.training.words")
    p = heads.parameters(base, 1, device)
    count = p["embeddings.word_embeddings.weight"].shape[1]
    rows = []
    with torch.no_grad():
        for at in range(0, count, 4096):
            alone = torch.arange(at, min(count, at + 4096), device=device)
            ids = torch.stack([torch.full_like(alone, 101), alone, torch.full_like(alone, 102)], 1)[None]
            out = heads.forward(p, ids, torch.ones_like(ids), torch.zeros_like(ids), 0.0)
            rows.append(out["embedding"][0].float().cpu())
    full = torch.cat(rows)
    full = full - full.mean(0)
    torch.manual_seed(0)  # which directions are found hangs on where the search for them starts
    _, _, directions = torch.pca_lowrank(full, q=words.VECTOR, center=False)
    projected = (full @ directions).numpy()
    return np.asarray(projected / projected.std(), dtype=np.float32)


def stored(fitted: Mapping[str, Array]) -> dict[str, Array]:
    """The tables as they are shipped: int8 with a scale a column, a small layer in float16."""
    heads = import_module("semantic.training.words").HEADS
    tables: dict[str, Array] = {}
    at = 0
    for head, classes in heads.items():
        part = slice(at, at + classes)
        at += classes
        tables |= _stored(head, fitted["ngrams"][:, part], fitted["bias"][part])
        tables[f"{head}.vectors"] = fitted["out"][:, part].astype(np.float16)
    scale = np.maximum(np.abs(fitted["vectors"]).max(axis=0), 1e-9) / 127
    tables["pieces.weight"] = np.round(fitted["vectors"] / scale).astype(np.int8)
    tables["pieces.scale"] = scale.astype(np.float32)
    tables["pieces.hidden"] = fitted["hidden"].astype(np.float16)
    tables["pieces.bias"] = fitted["hidden_bias"].astype(np.float16)
    return tables


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
    return [row for row in rows if not is_held_out(Example("language", row[0], 0, ""))] + rng.sample(
        english, min(ENGLISH, len(english))
    )


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
        gap = (probabilities(matrix @ weight + bias, 1.0) - target) * shares
        slope = transposed @ gap
        first = 0.9 * first + 0.1 * slope
        second = 0.99 * second + 0.01 * slope**2
        pace = RATE * min(1.0, 2 * (1 - step / (STEPS + 1)))
        weight -= pace * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.99**step)) + 1e-6)
        bias -= 2.0 * gap.sum(0)
    return weight, bias


def _stored(name: str, weight: Array, bias: Array) -> dict[str, Array]:
    scale = np.maximum(np.abs(weight).max(axis=0), 1e-9) / 127
    return {
        f"{name}.weight": np.round(weight / scale).astype(np.int8),
        f"{name}.scale": scale.astype(np.float32),
        f"{name}.bias": bias.astype(np.float32),
    }


if __name__ == "__main__":
    main()
