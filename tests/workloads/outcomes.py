"""A table of outcomes in the format of the recorded one, with a structure that is known."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from random import Random

from benchmarks.workloads.questions import FILE, OUTCOMES, ModelMix, Topic, model_mix

CATEGORIES = ("math", "law", "health")
RIGHT = {
    "llama3-70b": {"math": 0.9, "law": 0.6, "health": 0.6},
    "llama3-8b": {"math": 0.5, "law": 0.55, "health": 0.3},
    "phi3-mini": {"math": 0.2, "law": 0.2, "health": 0.55},
}
CHARACTERS = {"llama3-70b": 800, "llama3-8b": 1_000, "phi3-mini": 600}


def write(folder: Path, number: int = 600) -> Path:
    """Questions with answers drawn by `RIGHT`; a fourth model, which nobody asks for, stands first."""
    rng = Random(7)
    names = ["other", *OUTCOMES.values()]
    rows = []
    for n in range(number):
        category = CATEGORIES[n % len(CATEGORIES)]
        right = ["1" if rng.random() < RIGHT[model][category] else "0" for model in OUTCOMES]
        rows.append(
            {
                "question_id": n,
                "category": category,
                "question": f'What is "{n}"?\nAnswer in the words of {category}. ',
                "correct": "".join(["x", *right]),
                "out_chars": [9_999, *(CHARACTERS[model] + n % 40 for model in OUTCOMES)],
            }
        )
    return save(folder, names, rows)


def save(folder: Path, names: list[str], rows: list[dict[str, object]]) -> Path:
    """The two files."""
    (folder / FILE).write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    (folder / "mmlu_pro_29models.meta.json").write_text(json.dumps({"models": names}))
    return folder


def mix(folder: Path, topic: Topic | None = None) -> ModelMix:
    """The workload of such a table."""
    return model_mix("model-mix", write(folder), topic)
