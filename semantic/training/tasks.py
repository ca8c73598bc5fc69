"""The labelled rows of every task in one shape, and the sources that are left out together.

A source is named alike in every task, so leaving it out of a fold leaves it out of all heads at once: no head of a
fold has seen, through another task, a text it is measured on.
"""

import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from semantic.categories import CATEGORIES
from semantic.training.rows import FOLDS as DOMAIN_FOLDS
from semantic.training.rows import stem_key

Span = tuple[int, int, str]

PII_TYPES = (
    "AGE",
    "API_KEY",
    "BANK_ACCOUNT",
    "CREDIT_CARD",
    "DATE_TIME",
    "DOMAIN_NAME",
    "EMAIL_ADDRESS",
    "GPE",
    "IBAN_CODE",
    "IP_ADDRESS",
    "LOCATION",
    "MAC_ADDRESS",
    "NRP",
    "ORGANIZATION",
    "PASSPORT",
    "PASSWORD",
    "PERSON",
    "PHONE_NUMBER",
    "STREET_ADDRESS",
    "TITLE",
    "USERNAME",
    "US_DRIVER_LICENSE",
    "US_SSN",
    "ZIP_CODE",
)
PII_TAGS = ("O", *(f"{mark}-{kind}" for kind in PII_TYPES for mark in "BI"))

GATED = ("PERSON", "ORGANIZATION", "GPE", "LOCATION", "STREET_ADDRESS", "NRP", "TITLE", "AGE", "USERNAME", "PASSWORD")
"""Types that only the encoder finds; the gate says whether a text may hold one."""

LABELS: dict[str, tuple[str, ...]] = {
    "domain": CATEGORIES,
    "safety": ("benign", "harmful", "injection", "jailbreak"),
    "difficulty": ("easy", "hard"),
    "reasoning": ("easy", "hard"),
    "code": ("chat", "code"),
}
"""`difficulty`: whether small models fail (measured); `reasoning`: whether the kind of task needs steps."""

FOLDS: dict[str, tuple[str, ...]] = {
    "books": (
        *DOMAIN_FOLDS["books"],
        "bipia-train/",
        "dolly-15k-sample",
        "harmfulqa",
        "agieval/",
        "agentverse-logicgrid",
        "openbook_qa",
        "commonsense_qa",
    ),
    "user": (
        *DOMAIN_FOLDS["user"],
        "gpteacher-",
        "inthewild-jailbreak-prompts",
        "oasst-prompt-lottery",
        "advbench",
        "wikigold",
    ),
    "exams": (
        *DOMAIN_FOLDS["exams"],
        "routellm/",
        "template-injection(",
        "template-benign-twin(",
        "handwritten-lookalikes(",
        "catqa-en",
    ),
    "pro": (
        *DOMAIN_FOLDS["pro"],
        "xsafety/",
        "gptfuzz-",
        "cyberseceval-mitre-frr",
        "aart",
        "dangerousqa",
    ),
}
"""Whole sources left out together. Each fold leaves every label of every task something to learn from."""

CLEAN = ("gptfuzz-questions", "handwritten-lookalikes(")
HALF_CLEAN = ("gptfuzz-templates",)
"""What no training of any fold sees, nor the shipped one, and nobody reads or tunes on; it is only ever measured.

Of HALF_CLEAN every second text, by hash: all of it is missed where jailbreaks are few. Of the folds' sources some were
looked at when phrases were written: docs/models/safety.md says which.
"""

TEMPLATE_PARTS = {"books": 0, "exams": 1, "pro": 2}
"""Which quarter of the personal-data templates a fold leaves out: their locales share the sentences."""

HELD_OUT_PERCENT = 8
_WRAPPED = ("plain/", "sensitive-words/", "negative/")
_OUTSIDE = re.compile(r"[^a-z]+")


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled text. `label` is an index into LABELS of its task; personal data has spans instead."""

    task: str
    text: str
    label: int
    source: str
    spans: tuple[Span, ...] = ()


def read_task(folder: Path, task: str) -> list[Example]:
    """The rows of one task from the data folder."""
    if task == "pii":
        return [
            Example(
                "pii", row["text"], -1, row["source"], tuple((s["start"], s["end"], s["type"]) for s in row["spans"])
            )
            for row in lines_of(folder / "pii.jsonl.gz")
        ]
    if task in ("difficulty", "reasoning"):
        kind = "empirical" if task == "difficulty" else "task-type"
        rows = [row for row in lines_of(folder / "reasoning.jsonl.gz") if row["kind"] == kind]
    else:
        rows = list(lines_of(folder / f"{task}.jsonl.gz"))
    return [Example(task, row["text"], LABELS[task].index(row["label"]), row["source"]) for row in rows]


def read_all(folder: Path) -> list[Example]:
    """The rows of every task."""
    return [example for task in (*LABELS, "pii") for example in read_task(folder, task)]


def read_foreign(folder: Path) -> list[Example]:
    """Texts in other languages than English (task `foreign`, no label), which attacks are put into.

    The source ends in the language's code.
    """
    # Most rows of XSafety are no harmless texts, and the file does not say which.
    rows = [
        row
        for row in lines_of(folder / "language.jsonl.gz")
        if row["label"] != "en" and not row["source"].startswith("xsafety/")
    ]
    return [Example("foreign", row["text"], -1, f"{row['source']}#{row['label']}") for row in rows]


def read_rows_of_languages(folder: Path) -> list[tuple[str, str]]:
    """(text, ISO code) of the language file, and of the other languages in the files of personal data and safety."""
    rows = [(row["text"], row["label"]) for row in lines_of(folder / "language.jsonl.gz")]
    rows += [(row["text"], row["lang"]) for row in lines_of(folder / "pii.jsonl.gz") if row["lang"] != "en"]
    for row in lines_of(folder / "safety.jsonl.gz"):
        code = row["source"].split("/")[1] if row["source"].startswith(("xsafety/", "template-injection(")) else ""
        if len(code) == 2 and code != "en":
            rows.append((row["text"], "es" if code == "sp" else code))
    return rows


def split(examples: Iterable[Example], fold: str) -> tuple[list[Example], list[Example]]:
    """(train, unseen) for a fold of FOLDS, for `rows`, or for `clean`.

    The questions of the row split and the sources of CLEAN never train in any.
    """
    train: list[Example] = []
    unseen: list[Example] = []
    for example in examples:
        kept_clean = is_clean(example)
        if (fold in FOLDS and is_left_out(example, fold)) or (fold == "clean" and kept_clean):
            unseen.append(example)
        elif kept_clean:
            continue
        elif not is_held_out(example):
            train.append(example)
        elif fold == "rows":
            unseen.append(example)
    return train, unseen


def is_left_out(example: Example, fold: str) -> bool:
    """Whether the fold leaves the example's source out."""
    if example.task == "pii" and example.source.startswith("template("):
        part = TEMPLATE_PARTS.get(fold)
        return any(number == part for number in template_parts(example))
    return bare_source(example.source).startswith(FOLDS[fold])


def is_clean(example: Example) -> bool:
    """Whether nothing may ever learn from the example."""
    source = bare_source(example.source)
    half = source.startswith(HALF_CLEAN) and hashlib.sha256(example.text.encode()).digest()[0] % 2 == 0
    return half or source.startswith(CLEAN)


def is_held_out(example: Example) -> bool:
    """Whether the row split keeps this row from training; decided by the question (or the sentence) alone."""
    return _is_held_out(example.text)


@cache
def _is_held_out(text: str) -> bool:
    digest = hashlib.sha256(stem_of(text).encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100 < HELD_OUT_PERCENT


@cache
def stem_of(text: str) -> str:
    """`stem_key`, kept: every fold asks it of every row."""
    return stem_key(text)


def bare_source(source: str) -> str:
    """The source itself, without the mark of how it is used."""
    for mark in _WRAPPED:
        source = source.removeprefix(mark)
    return source


def family(source: str) -> str:
    """The source without its variant; a subject of MMLU is one family, whichever of the two sets it came through."""
    name = bare_source(source).split("|", maxsplit=1)[0].replace("mmlu_pro/ori_mmlu-", "mmlu/")
    joined = ("legalbench", "medquad", "lasseregin", "opentriviaqa", "template-injection", "template(", "xsafety")
    return name.split("/", maxsplit=1)[0] if name.startswith(joined) else name


def template_parts(example: Example) -> set[int]:
    """The quarters that the sentences of a template row fall into, told by what is left without the spans."""
    text = list(example.text)
    for start, end, _ in example.spans:
        text[start:end] = "\0" * (end - start)
    sentences = [_OUTSIDE.sub("", line.lower()) for line in "".join(text).split("\n")]
    return {hashlib.sha256(s.encode()).digest()[0] % 4 for s in sentences if s}


def lines_of(path: Path) -> Sequence[dict[str, Any]]:
    """The objects of a .jsonl.gz file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
