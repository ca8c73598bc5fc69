"""Prints the tables of docs/models: figures on left-out sources, both tiers, and the shipped int8 file on unseen rows.

    python -m semantic.training.report_heads --data FOLDER --trained DIR --tier0 DIR --model semantic/models/heads \
        [--plain DIR] SECTION ...

Sections: domain, safety, difficulty, code, pii, cascade, shipped. `--plain` holds what `train_heads --plain` left.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from semantic.onnx import read_tokenizer
from semantic.signals.detectors import DETERMINISTIC, detect
from semantic.signals.pii import PiiSettings, decode, merged
from semantic.signals.settings import read_settings
from semantic.signals.values import PiiSpan
from semantic.training.calibrate import calibration_error, kept_and_right, probabilities
from semantic.training.knobs import Fold
from semantic.training.report_cascade import cascade, shipped
from semantic.training.report_safety import safety
from semantic.training.settings import likely, names_of
from semantic.training.tables import auc, confusion, folds_of, plain_of, shown
from semantic.training.tasks import LABELS, PII_TAGS, Example, bare_source, read_all, split
from semantic.windows import windows_of

Array = npt.NDArray[Any]


def main() -> None:
    """Reads the command line and prints the wanted sections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "trained", "tier0", "model"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--plain", type=Path)
    parser.add_argument("sections", nargs="+")
    args = parser.parse_args()
    sections: dict[str, Callable[[Any], Iterator[str]]] = {
        "domain": _domain,
        "safety": safety,
        "difficulty": _difficulty,
        "code": _code,
        "pii": _pii,
        "cascade": cascade,
        "shipped": shipped,
    }
    for section in args.sections:
        sys.stdout.write(f"\n## {section}\n" + "\n".join(sections[section](args)) + "\n")
        sys.stdout.flush()


def _domain(args: Any) -> Iterator[str]:
    folds = folds_of(args, "domain")
    yield "| fold | rows | plain | encoder alone | accuracy | mean of categories | calibration error |"
    yield "|---|---|---|---|---|---|---|"
    for fold in folds:
        right = fold.answer.argmax(1) == fold.labels
        macro = np.mean([right[fold.labels == label].mean() for label in set(fold.labels.tolist())])
        error = calibration_error(probabilities(fold.answer, fold.choice.temperature), fold.labels)
        plain = f"{(plain_of(args, 'domain', fold).argmax(1) == fold.labels).mean():.3f}" if args.plain else ""
        alone = (fold.encoder.argmax(1) == fold.labels).mean()
        said = f"{plain} | {alone:.3f} | {right.mean():.3f} | {macro:.3f} | {error:.3f}"
        yield f"| {fold.name} | {len(right)} | {said} |"
    yield "\n| category | " + " | ".join(f.name for f in folds) + " |\n|---|" + "---|" * len(folds)
    for label, name in enumerate(LABELS["domain"]):
        yield (f"| {name} | " + " | ".join(shown(f.answer.argmax(1) == label, f.labels == label) for f in folds) + " |")
    yield "\n| fold | source | rows | accuracy |\n|---|---|---|---|"
    for fold in folds:
        yield from _by_source(fold, fold.answer.argmax(1) == fold.labels)
    yield "\nConfusion on `rows` (row: label, column: answer)\n"
    yield from confusion(folds[0], LABELS["domain"])
    yield "\n| fold | share and accuracy at or above a confidence |\n|---|---|"
    for fold in folds:
        kept = kept_and_right(probabilities(fold.answer, fold.choice.temperature), fold.labels)
        yield f"| {fold.name} | " + "; ".join(f"{t}: {s:.2f}, {r:.2f}" for t, s, r in kept) + " |"


def _difficulty(args: Any) -> Iterator[str]:
    yield "| rows of | fold | rows | head | AUC | accuracy at 0.5 |\n|---|---|---|---|---|---|"
    for task in ("difficulty", "reasoning"):
        both = zip(folds_of(args, task, "difficulty"), folds_of(args, task, "reasoning"), strict=True)
        for measured, kind in both:
            pair = [probabilities(f.encoder, 1.0)[:, 1] for f in (measured, kind)]
            for name, hard in (("difficulty", pair[0]), ("reasoning", pair[1]), ("mean", (pair[0] + pair[1]) / 2)):
                order = np.argsort(measured.labels, kind="stable")
                area = auc(hard[order], int((measured.labels == 0).sum()))
                right = ((hard > 0.5) == measured.labels).mean()
                yield f"| {task} | {measured.name} | {len(hard)} | {name} | {area:.3f} | {right:.3f} |"


def _code(args: Any) -> Iterator[str]:
    yield "| fold | rows | accuracy | code found | chat kept | AUC |\n|---|---|---|---|---|---|"
    for fold, said, _ in likely(args.data, args.trained, args.tier0, "code"):
        guess = said.argmax(1)
        order = np.argsort(fold.labels, kind="stable")
        area = auc(said[order, 1], int((fold.labels == 0).sum()))
        found = [shown(guess == label, fold.labels == label) for label in (1, 0)]
        right = (guess == fold.labels).mean()
        yield f"| {fold.name} | {len(guess)} | {right:.3f} | {found[0]} | {found[1]} | {area:.3f} |"


def _pii(args: Any) -> Iterator[str]:
    settings = read_settings(args.model).pii
    tokenizer = read_tokenizer(args.model / "tokenizer.json")
    examples = read_all(args.data)
    yield "Exact span and type.\n\n| fold | rows | types with a form | types without | all |\n|---|---|---|---|---|"
    tables: dict[str, dict[str, list[int]]] = {}
    for name in names_of(args.trained):
        unseen = split(examples, name)[1]
        tables[name] = count_spans(unseen, args.trained / f"unseen-{name}.npz", tokenizer, settings)
        groups = (DETERMINISTIC, set(tables[name]) - set(DETERMINISTIC), set(tables[name]))
        scores = [f1([tables[name][kind] for kind in group if kind in tables[name]]) for group in groups]
        rows = sum(e.task == "pii" for e in unseen)
        yield f"| {name} | {rows} | " + " | ".join(f"{score:.3f}" for score in scores) + " |"
    yield "\n| type | " + " | ".join(tables) + " |\n|---|" + "---|" * len(tables)
    for kind in sorted({k for table in tables.values() for k in table}):
        cells = [f"{f1([t[kind]]):.2f} ({t[kind][0] + t[kind][2]})" if kind in t else "" for t in tables.values()]
        yield f"| {kind} | " + " | ".join(cells) + " |"


def count_spans(
    unseen: Sequence[Example], path: Path, tokenizer: Tokenizer, settings: PiiSettings
) -> dict[str, list[int]]:
    """Found, invented and missed spans by type, for the personal-data rows of a fold."""
    stored = dict(np.load(path))
    starts = np.concatenate([[0], np.cumsum(stored["tokens"].astype(np.int64))])
    first = np.searchsorted(stored["text"], np.arange(len(unseen)))
    counts: dict[str, list[int]] = {}
    for n, example in enumerate(unseen):
        if example.task != "pii":
            continue
        offsets = tokenizer.encode(example.text, add_special_tokens=False).offsets
        tagged: set[PiiSpan] = set()
        for k, (low, high) in enumerate(windows_of(len(offsets))):
            at = starts[first[n] + k]
            tags, scores = (stored[key][at : at + high - low] for key in ("tags", "tag_scores"))
            logits = _as_logits(tags, scores.astype(np.float32))
            tagged |= set(decode(logits, offsets[low:high], example.text, settings))
        found = {(s.start, s.end, s.type) for s in merged(detect(example.text), tuple(tagged))}
        for place, spans in (
            (0, found & set(example.spans)),
            (1, found - set(example.spans)),
            (2, set(example.spans) - found),
        ):
            for _, _, kind in spans:
                counts.setdefault(kind, [0, 0, 0])[place] += 1
    return counts


def _as_logits(tags: Array, scores: Array) -> Array:
    """Logits of which the softmax gives the stored probability to the stored tag."""
    count = len(PII_TAGS)
    rest = np.clip((1 - scores) / (count - 1), 1e-6, None)
    out = np.repeat(np.log(rest)[:, None], count, axis=1)
    out[np.arange(len(tags)), tags] = np.log(np.clip(scores, 1e-6, None))
    return out


def f1(counts: Sequence[Sequence[int]]) -> float:
    """The F1 over (found, invented, missed) of several types together."""
    found, invented, missed = (sum(c[n] for c in counts) for n in range(3))
    return 2 * found / max(1, 2 * found + invented + missed)


def _by_source(fold: Fold, right: Array) -> Iterator[str]:
    names = np.array([bare_source(e.source).split("|")[0].split("/")[0] for e in fold.rows])
    for name in sorted(set(names.tolist())):
        yield f"| {fold.name} | {name} | {(names == name).sum()} | {right[names == name].mean():.3f} |"


if __name__ == "__main__":
    main()
