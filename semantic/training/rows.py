"""One row of the domain, its sources that are left out together, and what two wordings of a question have in common.

A question may be present twice (with and without its answer choices, in MMLU and again in MMLU-Pro), so the row split
of `tasks` is made over normalised question stems: a stem is on one side only.
"""

import re
from dataclasses import dataclass

from semantic.categories import CATEGORIES

LABELS = CATEGORIES

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
"""Whole sources left out together. Each fold leaves every category something to learn from."""

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
