"""Users' own models: what a folder must hold, what is said when it does not, and that nothing waits for them."""

import asyncio
from pathlib import Path

import onnxruntime  # type: ignore[import-untyped]  # ships no types
import pytest

from semantic.config import load_config
from semantic.own.declared import OwnModel
from semantic.own.folder import examiner
from semantic.own.model import WINDOWS_MAX, LoadedModel
from semantic.own.models import WAITING_TEXTS_MAX, OwnModels
from semantic.own.spans import Tagged, spans_of
from semantic.reading import ConfigError
from semantic.router import SemanticRouter
from semantic.signals.api import Span
from tests.semantic.fakes import LONG_S, Told, chat
from tests.semantic.onnx_files import classifier
from tests.semantic.test_config import BASE

RISK = ("SAFE", "RISKY")
TAGS = ("O", "B-PERSON", "I-PERSON")
WORDS = {"delete": "RISKY", "list": "SAFE"}


def own(folder: str = "m", **more: object) -> OwnModel:
    return OwnModel("risk", folder, "routing.signals.classifiers[0].model_path", **more)  # type: ignore[arg-type]


def loaded(tmp_path: Path, **more: object) -> LoadedModel:
    classifier(tmp_path / "m", RISK, WORDS)
    return LoadedModel(tmp_path, own(**more))


def test_a_sequence_classifier_says_its_labels(tmp_path: Path) -> None:
    seen = loaded(tmp_path).see("delete everything")
    assert seen is not None
    answer = seen.answers["risk"]

    assert (answer.label, answer.confidence > 0.9) == ("RISKY", True)
    assert set(answer.probabilities) == set(RISK)
    assert seen.spans is None
    assert seen.coverage.scanned_bytes == seen.coverage.total_bytes == len("delete everything")


def test_a_token_classifier_says_where(tmp_path: Path) -> None:
    classifier(tmp_path / "m", TAGS, {"Alice": "B-PERSON", "Smith": "I-PERSON"}, tokens=True)
    seen = LoadedModel(tmp_path, own()).see("I met Alice Smith in town")
    assert seen is not None

    assert seen.spans is not None
    assert [(s.start, s.end, s.type) for s in seen.spans] == [(6, 17, "PERSON")]
    assert seen.answers["risk"].label == "PERSON"


def test_a_long_text_is_read_to_its_end_in_windows(tmp_path: Path) -> None:
    classifier(tmp_path / "m", RISK, WORDS, max_position_embeddings=16)
    model = LoadedModel(tmp_path, own())
    seen = model.see("word " * 100 + "delete")
    assert seen is not None

    assert seen.answers["risk"].label == "RISKY"
    assert model.see("word " * 16 * (WINDOWS_MAX + 10) + "delete") is None


def test_the_mean_of_windows_where_it_is_asked_for(tmp_path: Path) -> None:
    classifier(tmp_path / "m", RISK, WORDS, max_position_embeddings=16)
    seen = LoadedModel(tmp_path, own(pooling="mean")).see("word " * 100 + "delete")
    assert seen is not None

    assert seen.answers["risk"].label == "SAFE"
    assert sum(seen.answers["risk"].probabilities.values()) == pytest.approx(1.0, abs=1e-3)


def test_labels_of_the_configuration_take_the_place_of_the_folders(tmp_path: Path) -> None:
    seen = loaded(tmp_path, labels=("fine", "dangerous")).see("delete")
    assert seen is not None

    assert seen.answers["risk"].label == "dangerous"


def test_several_labels_at_once_where_the_folder_says_so(tmp_path: Path) -> None:
    classifier(tmp_path / "m", RISK, WORDS, problem_type="multi_label_classification")
    seen = LoadedModel(tmp_path, own()).see("delete list")
    assert seen is not None

    assert min(seen.answers["risk"].probabilities.values()) > 0.9


def test_odd_texts_are_read_without_fuss(tmp_path: Path) -> None:
    model = loaded(tmp_path)

    for text in ("\ud800", "a\x00b", "🙂" * 50):
        assert model.see(text) is not None
    for text in ("", " \n"):
        assert model.see(text) is None


def broken(tmp_path: Path, change: str) -> None:
    folder = classifier(tmp_path / "m", RISK, WORDS)
    match change:
        case "no model":
            (folder / "model.onnx").unlink()
        case "no tokenizer":
            (folder / "tokenizer.json").unlink()
        case "bad config":
            (folder / "config.json").write_text("{")
        case "bad tokenizer":
            (folder / "tokenizer.json").write_text("{}")
        case "bad model":
            (folder / "model.onnx").write_bytes(b"not a model")
        case "strange input":
            classifier(folder, RISK, WORDS, inputs=("pixels", "attention_mask"))
        case "three labels":
            (folder / "config.json").write_text('{"id2label": {"0": "a", "1": "b", "2": "c"}}')


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("no model", "has no model.onnx"),
        ("no tokenizer", "has no tokenizer.json"),
        ("bad config", "config.json is not JSON"),
        ("bad tokenizer", "tokenizer.json cannot be read"),
        ("bad model", "onnxruntime cannot load model.onnx"),
        ("strange input", "the model wants the input 'pixels'"),
        ("three labels", "the model has 2 outputs and 3 labels are named"),
    ],
)
def test_a_wrong_folder_is_named_with_its_path_in_the_configuration(tmp_path: Path, change: str, message: str) -> None:
    broken(tmp_path, change)

    with pytest.raises(ConfigError, match=message) as caught:
        LoadedModel(tmp_path, own())
    assert caught.value.path == "routing.signals.classifiers[0].model_path"


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="there is a GPU provider")
def test_a_gpu_that_is_not_there_is_said_and_not_replaced_in_silence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no GPU provider"):
        loaded(tmp_path, cpu=False)


def test_a_folder_is_examined_without_being_loaded(tmp_path: Path) -> None:
    examine = examiner(tmp_path)
    classifier(tmp_path / "good", RISK, WORDS)
    (tmp_path / "empty").mkdir()
    absent, empty = examine("none"), examine("empty")

    assert examine("good") is None
    assert absent is not None
    assert not absent.there
    assert empty is not None
    assert empty.there


async def test_until_it_is_loaded_a_model_has_no_answer(tmp_path: Path) -> None:
    classifier(tmp_path / "m", RISK, WORDS)
    models = OwnModels({"risk": own()}, tmp_path)
    deadline = asyncio.get_running_loop().time() + LONG_S
    before, loading = await models.see(["risk"], "delete", deadline), models.loading
    await asyncio.to_thread(models.load)
    after = await models.see(["risk"], "delete", deadline)
    late = await models.see(["risk"], "delete", 0.0)
    models.close()
    models.close()

    assert (before, loading, models.loading) == ({}, ["risk"], [])
    assert after["risk"].answers["risk"].label == "RISKY"
    assert late == {}
    assert models.unanswered == 2


async def test_no_more_texts_wait_than_there_is_room_for(tmp_path: Path) -> None:
    classifier(tmp_path / "m", RISK, WORDS)
    models = OwnModels({"risk": own()}, tmp_path)
    models.load()
    deadline = asyncio.get_running_loop().time() + LONG_S
    asks = [models.see(["risk"], "word " * 2000, deadline) for _ in range(WAITING_TEXTS_MAX + 5)]
    answers = await asyncio.gather(*asks)
    models.close()

    assert sum(not answer for answer in answers) == 5


async def test_a_model_that_cannot_be_loaded_leaves_the_others(tmp_path: Path) -> None:
    classifier(tmp_path / "m", RISK, WORDS)
    models = OwnModels({"bad": own("none"), "risk": own()}, tmp_path)
    with pytest.raises(ConfigError, match="none"):
        models.load()
    found = await models.see(["bad", "risk"], "delete", asyncio.get_running_loop().time() + LONG_S)
    models.close()

    assert list(found) == ["risk"]
    assert list(models.errors) == ["bad"]


CLASSIFIERS = """\
  signals:
    classifiers:
      - {name: tools, type: local, model_path: risk, labels: [SAFE, RISKY], use_cpu: true}
  decisions:
    - name: risky
      priority: 10
      rules: {type: classifier, name: tools, label: RISKY, predicate: {gte: 0.5}, on_error: no_match}
      modelRefs: [{model: small}]
"""


def with_classifier(tmp_path: Path) -> Path:
    classifier(tmp_path / "risk", RISK, WORDS)
    path = tmp_path / "config.yaml"
    path.write_text(BASE.split("  signals:")[0] + CLASSIFIERS)
    return path


async def test_a_classifier_of_ones_own_decides_once_it_is_there(tmp_path: Path) -> None:
    router = SemanticRouter.load(with_classifier(tmp_path), signals=Told())
    before = await router.choose(chat("delete all files"), LONG_S)
    await asyncio.to_thread(router.prepare)
    after = await router.choose(chat("delete all files, please"), LONG_S)
    safe = await router.choose(chat("list all files"), LONG_S)
    router.close()

    assert (before.decision, before.classification) == (None, "degraded")
    assert (after.decision, after.models, after.classification) == ("risky", ("small", "big"), "full")
    assert safe.decision is None


def test_a_folder_that_is_not_there_is_refused_by_path(tmp_path: Path) -> None:
    path = with_classifier(tmp_path)
    path.write_text(path.read_text().replace("model_path: risk", "model_path: nowhere"))

    with pytest.raises(ConfigError, match=r"routing\.signals\.classifiers\[0\]\.model_path: the folder 'nowhere'"):
        load_config(path)


MODULES = """\
global:
  model_catalog:
    modules:
      prompt_guard: {model_id: guard, positive_labels: [RISKY], threshold: 0.5}
      classifier: {domain: {model_id: domains}, pii: {model_id: people}}
      hallucination_mitigation: {fact_check: {model_id: facts, threshold: 0.5}}
"""
SIGNALS = """\
  signals:
    domains: [{name: cooking}]
    jailbreak: [{name: attack}]
    pii: [{name: people, threshold: 0.5}]
    fact_check: [{name: needs_fact_check}]
  decisions:
    - {name: food, priority: 1, rules: {type: domain, name: cooking}, modelRefs: [{model: small}]}
    - {name: facts, priority: 2, rules: {type: fact_check, name: needs_fact_check}, modelRefs: [{model: small}]}
"""


async def test_models_of_ones_own_stand_in_for_the_shipped_heads(tmp_path: Path) -> None:
    classifier(tmp_path / "domains", ("cooking", "sports"), {"ball": "sports"})
    classifier(tmp_path / "guard", RISK, WORDS)
    classifier(tmp_path / "people", TAGS, {"Alice": "B-PERSON"}, tokens=True)
    classifier(tmp_path / "facts", ("NO_FACT_CHECK_NEEDED", "FACT_CHECK_NEEDED"), {"when": "FACT_CHECK_NEEDED"})
    path = tmp_path / "config.yaml"
    path.write_text(BASE.split("  signals:")[0] + SIGNALS + MODULES)
    told = Told(provides={})
    router = SemanticRouter.load(path, signals=told)
    router.prepare()
    food = await router.choose(chat("bake a cake"), LONG_S)
    facts = await router.choose(chat("Alice asks when to delete it"), LONG_S)
    router.close()

    assert (food.decision, food.category) == ("food", "cooking")
    assert facts.decision == "facts"
    assert {"jailbreak:attack", "pii:people", "fact_check:needs_fact_check"} <= set(facts.matched)
    assert told.asked == []


def test_spans_of_overlapping_windows_count_once_and_begin_anew_where_tags_say_so() -> None:
    tagged = [
        Tagged(0, 5, "B-PERSON", 0.9),
        Tagged(6, 9, "I-PERSON", 0.7),
        Tagged(6, 9, "I-PERSON", 0.8),
        Tagged(10, 13, "B-PERSON", 0.6),
        Tagged(14, 16, "O", 0.9),
        Tagged(17, 20, "CITY", 0.5),
    ]

    assert spans_of(tagged) == (
        Span(0, 9, "PERSON", 0.9),
        Span(10, 13, "PERSON", 0.6),
        Span(17, 20, "CITY", 0.5),
    )


@pytest.mark.parametrize(
    ("labels", "error"), [("[RISKY]", None), ("[DANGER]", "knows SAFE, RISKY, and none of DANGER")]
)
async def test_a_guard_whose_model_knows_none_of_its_labels_is_unknown_and_told(
    tmp_path: Path, labels: str, error: str | None
) -> None:
    classifier(tmp_path / "guard", RISK, WORDS)
    path = tmp_path / "config.yaml"
    signals = "  signals: {jailbreak: [{name: attack}]}\n  decisions: [{name: all, modelRefs: [{model: small}]}]\n"
    modules = f"{{prompt_guard: {{model_id: guard, positive_labels: {labels}, threshold: 0.5}}}}"
    guards = "onehop: {guards: [{type: jailbreak, name: attack, action: block, on_unknown: block}]}\n"
    block = f"global: {{model_catalog: {{modules: {modules}}}}}\n"
    path.write_text(BASE.split("  signals:")[0] + signals + block + guards)
    router = SemanticRouter.load(path, signals=Told(provides={}))
    if error is None:
        router.prepare()
    else:
        with pytest.raises(ConfigError, match=error):
            router.prepare()
    choice = await router.choose(chat("delete it"), LONG_S)
    router.close()

    assert choice.refusal == ("guard_jailbreak" if error is None else "guard_unknown")
