"""The shipped model: what people type, batching, long texts, and folders that are not a model."""

import json
import shutil
from pathlib import Path

import pytest

from semantic.categories import CATEGORIES
from semantic.onnx import DOMAIN_MODEL, DomainModel
from semantic.reading import ConfigError

PROMPTS = [line.split("\t") for line in Path(__file__).with_name("user_prompts.tsv").read_text().splitlines()]
ACCURACY_MIN = 0.88
BYTES_MAX = 25 * 2**20


def test_user_style_prompts_are_mostly_right_in_every_category(model: DomainModel) -> None:
    right = dict.fromkeys(CATEGORIES, 0)
    for category, text in PROMPTS:
        right[category] += model.classify([text])[0].category == category

    assert sum(right.values()) / len(PROMPTS) >= ACCURACY_MIN
    assert min(right.values()) >= 2, right


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("What is 2+2 * (5-1)?", "math"),
        ("How do I solve x^2 - 5x + 6 = 0?", "math"),
        ("write me a haiku about autumn", "other"),
        ("can my landlord evict me without notice", "law"),
    ],
)
def test_plain_prompts_are_right_with_confidence(model: DomainModel, text: str, category: str) -> None:
    found = model.classify([text])[0]

    assert found.category == category
    assert found.confidence >= model.threshold + 0.1


def test_the_table_has_three_of_each_category_and_none_the_training_wrote() -> None:
    phrases = (Path(__file__).parents[2] / "semantic/training/user_style.yaml").read_text(encoding="utf-8").lower()
    counted = {category: sum(c == category for c, _ in PROMPTS) for category in CATEGORIES}

    assert min(counted.values()) >= 3
    assert [text for _, text in PROMPTS if text.lower() in phrases] == []


def test_the_company_of_a_batch_does_not_change_a_confident_answer(model: DomainModel) -> None:
    texts = [text for _, text in PROMPTS]
    alone = [model.classify([text])[0] for text in texts]
    together = [*model.classify(texts[:16]), *model.classify(texts[16:32]), *model.classify(texts[32:])]
    beside_long = [model.classify([text, "why " * 400])[0] for text in texts[::5]]
    sure = [n for n, found in enumerate(alone) if found.confidence >= 0.5]

    assert [together[n].category for n in sure] == [alone[n].category for n in sure]
    assert all(
        there.category == here.category
        for here, there in zip(alone[::5], beside_long, strict=True)
        if here.confidence >= 0.5
    )


def test_probabilities_cover_the_categories_and_sum_to_one(model: DomainModel) -> None:
    found = model.classify(["hello"])[0]

    assert set(found.probabilities) == set(CATEGORIES)
    assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-4)
    assert found.top(1) == ((found.category, found.confidence),)


@pytest.mark.parametrize("text", ["", " ", "\x00", "\ud800", "🙂" * 5000, "a" * 1_000_000, "x " * 500_000])
def test_odd_texts_are_classified_without_fuss(model: DomainModel, text: str) -> None:
    assert model.classify([text])[0].category in CATEGORIES


def test_of_a_long_text_head_and_tail_are_read(model: DomainModel) -> None:
    filler = "lorem ipsum dolor sit amet " * 40_000
    at_head = model.classify(["Solve the equation 3x + 7 = 22 for x. " * 12 + filler])[0]
    at_tail = model.classify([filler + " Solve the equation 3x + 7 = 22 for x." * 12])[0]

    assert at_head.category == at_tail.category == "math"
    assert at_head.scanned_bytes < 10_000


def test_a_short_text_is_read_whole(model: DomainModel) -> None:
    text = "Was kostet das schöne Fahrrad?"

    assert model.classify([text])[0].scanned_bytes == len(text.encode())


def test_no_texts_no_answers(model: DomainModel) -> None:
    assert model.classify([]) == []


def test_the_shipped_file_is_small_enough() -> None:
    assert (DOMAIN_MODEL / "model.onnx").stat().st_size < BYTES_MAX


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("meta.json", None, "has no meta.json"),
        ("meta.json", "{", "is not JSON"),
        ("meta.json", "[]", "is not a JSON object"),
        ("meta.json", "{}", "is missing"),
        ("tokenizer.json", None, "has no tokenizer.json"),
        ("tokenizer.json", "{}", "cannot be read as a tokenizer"),
        ("model.onnx", None, "has no model.onnx"),
        ("model.onnx", "not a model", "cannot be loaded by onnxruntime"),
    ],
)
def test_a_folder_that_is_no_model_says_why(tmp_path: Path, file: str, content: str | None, message: str) -> None:
    for name in ("meta.json", "tokenizer.json"):
        shutil.copy(DOMAIN_MODEL / name, tmp_path)
    (tmp_path / file).unlink(missing_ok=True)
    if content is not None:
        (tmp_path / file).write_text(content)

    with pytest.raises(ConfigError, match=message) as caught:
        DomainModel(tmp_path)
    assert str(tmp_path / file) in caught.value.path


def test_the_card_of_the_file_names_base_data_and_figures() -> None:
    meta = json.loads((DOMAIN_MODEL / "meta.json").read_text())

    assert tuple(meta["labels"]) == CATEGORIES
    assert {"base_model", "data", "figures", "temperature", "threshold", "max_tokens"} <= set(meta)
