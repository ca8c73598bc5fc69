"""Labelled questions beside the domain file: what the tables of routing outcomes hold of MMLU and MMLU-Pro.

They only ever train. A question that a fold is measured on, in any task, is left out of that fold by its stem, and so
is every source of the fold; the questions of the row split are left out of all.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from semantic.training.tasks import LABELS, Example, is_held_out, is_left_out, lines_of, split, stem_of

HELM = "helm_mmlu_10models.jsonl.gz"
REDUX = "mmlu_redux_14models.jsonl.gz"
PRO = "mmlu_pro_29models.jsonl.gz"
LETTERS = "ABCDEFGHIJ"


def read_more(folder: Path, known: Iterable[Example]) -> list[Example]:
    """Domain rows of the folder of routing outcomes.

    A question that the domain file has comes with its answer choices only, where they are known: the same question with
    more to read.
    """
    had = {stem_of(e.text) for e in known if e.task == "domain"}
    seen: set[str] = set()
    out: list[Example] = []
    for name in (HELM, REDUX, PRO):
        for row in lines_of(folder / name):
            stem, category = stem_of(row["question"]), row.get("label") or row.get("category")
            if stem in seen or not category:
                continue
            seen.add(stem)
            label = LABELS["domain"].index(category)
            source = row.get("task") or f"mmlu_pro/{row['src']}"
            if "choices" in row:
                choices = zip(LETTERS, row["choices"], strict=False)
                text = "\n".join([row["question"], *(f"{letter}. {choice}" for letter, choice in choices)])
                out.append(Example("domain", text, label, f"{source}|stem+choices"))
            if stem not in had:
                out.append(Example("domain", row["question"], label, f"{source}|stem"))
    return out


def more_for(more: Sequence[Example], examples: Sequence[Example], fold: str) -> list[Example]:
    """Those of the rows that may train in a fold of `examples`."""
    unseen = {stem_of(e.text) for name in {"rows", "clean", fold} for e in split(examples, name)[1]}
    return [
        e
        for e in more
        if not is_held_out(e) and stem_of(e.text) not in unseen and not (fold != "rows" and is_left_out(e, fold))
    ]
