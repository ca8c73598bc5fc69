"""Labelled rows for training: reading them, and splitting them by question or by source.

A question may be present twice (with and without its answer choices, in MMLU and again in MMLU-Pro), so a row split
is made over normalised question stems: a stem is on one side only.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from semantic.categories import CATEGORIES

LABELS = CATEGORIES

# Whole sources left out together. Each fold leaves every category something to learn from.
FOLDS: dict[str, tuple[str, ...]] = {
    "books": ("openstax-ccby/",),
    "user": (
        "stackoverflow-titles",
        "clinc150",
        "lasseregin/",
        "gsm8k-train",
        "svamp",
        "gpteacher-codegen",
        "awesome-chatgpt-prompts",
        "medquad/",
    ),
    "exams": (
        "opentriviaqa/",
        "legalbench/",
        "tat-qa",
        "oran-bench-13k",
        "hendrycks-math",
        "aqua-rat",
        "medmcqa-dev",
        "mbpp",
    ),
    "pro": ("mmlu_pro/stemez", "mmlu_pro/scibench", "mmlu_pro/theoremQA"),
}
HELD_OUT_PERCENT = 8

_CHOICES = re.compile(r"\n\(?A[).] ?")
_NOT_WORD = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled prompt and where it comes from."""

    text: str
    label: int
    source: str


def without_choices(text: str) -> str:
    """The question without its answer choices."""
    return _CHOICES.split(text, maxsplit=1)[0]


def stem_key(text: str) -> str:
    """What two wordings of the same question have in common."""
    return _NOT_WORD.sub(" ", without_choices(text).lower()).strip()[:160]


def is_held_out(row: Row) -> bool:
    """Whether the row split keeps this row from training; decided by the stem alone."""
    digest = hashlib.sha256(stem_key(row.text).encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100 < HELD_OUT_PERCENT


def in_sources(row: Row, prefixes: Sequence[str]) -> bool:
    """Whether the row comes from one of these sources."""
    return row.source.startswith(tuple(prefixes))


def family(source: str) -> str:
    """The source without its variant; a subject of MMLU is one family, whichever of the two sets it came through."""
    name = source.split("|", maxsplit=1)[0].replace("mmlu_pro/ori_mmlu-", "mmlu/")
    return name.split("/", maxsplit=1)[0] if name.startswith(("legalbench", "medquad", "lasseregin")) else name


def split(rows: Iterable[Row], fold: str) -> tuple[list[Row], list[Row]]:
    """(train, unseen) for a fold of FOLDS, or for `rows`, the row split. Unseen stems never train in either."""
    train: list[Row] = []
    unseen: list[Row] = []
    prefixes = FOLDS.get(fold, ())
    for row in rows:
        if prefixes and in_sources(row, prefixes):
            unseen.append(row)
        elif not is_held_out(row):
            train.append(row)
        elif not prefixes:
            unseen.append(row)
    return train, unseen
