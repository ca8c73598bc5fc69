"""Questions beside the domain file train only where nothing is measured on them."""

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from semantic.training.more_rows import HELM, PRO, REDUX, more_for, read_more
from semantic.training.rows import stem_key
from semantic.training.tasks import Example, is_held_out

KNOWN = Example("domain", "What is a noun?", 10, "clinc150")
ASKED = Example("difficulty", "Why is the sky blue?", 0, "routellm/mmlu")
QUESTIONS = [f"Question {n} about the moon?" for n in range(60)]


def written(folder: Path) -> Path:
    tables: Mapping[str, Sequence[Mapping[str, object]]] = {
        HELM: [
            {"question": "What is a noun?", "choices": ["A word", "A colour"], "label": "other", "task": "mmlu/x"},
            {"question": "Why is the sky blue?", "choices": ["Air", "Sea"], "label": "physics", "task": "mmlu/y"},
            *({"question": q, "choices": ["Yes", "No"], "label": "physics", "task": "mmlu/z"} for q in QUESTIONS),
        ],
        REDUX: [{"question": "What is a noun?", "choices": ["A word"], "label": "other", "task": "mmlu/x"}],
        PRO: [{"question": "How fast is it?", "category": "physics", "src": "scibench-fund"}],
    }
    for name, rows in tables.items():
        with gzip.open(folder / name, "wt", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row) + "\n" for row in rows)
    return folder


def test_a_known_question_comes_with_its_choices_only_and_once(tmp_path: Path) -> None:
    more = read_more(written(tmp_path), [KNOWN])

    assert [e.text for e in more if "noun" in e.text] == ["What is a noun?\nA. A word\nB. A colour"]
    assert [e.text for e in more if "sky" in e.text] == ["Why is the sky blue?\nA. Air\nB. Sea", "Why is the sky blue?"]


def test_what_a_fold_is_measured_on_does_not_train_in_it(tmp_path: Path) -> None:
    more = read_more(written(tmp_path), [KNOWN])
    of_fold = {fold: more_for(more, [KNOWN, ASKED], fold) for fold in ("rows", "exams", "pro")}
    stems = {fold: {stem_key(e.text) for e in rows} for fold, rows in of_fold.items()}

    assert "why is the sky blue" in stems["rows"] | stems["pro"]
    assert "why is the sky blue" not in stems["exams"]
    assert not any(e.source.startswith("mmlu_pro/scibench") for e in of_fold["pro"])
    assert all(not is_held_out(e) for rows in of_fold.values() for e in rows)
    assert 0 < len(stems["rows"]) < len({stem_key(e.text) for e in more})
