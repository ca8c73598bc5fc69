"""Each rule of model choice against values worked out by hand, and the table that stands for the classifier."""

from __future__ import annotations

import asyncio
import json
from random import Random

import pytest

from benchmarks.choices.best_single import BestSingle
from benchmarks.choices.briefing import Briefing, brief
from benchmarks.choices.category_rule import CategoryRule
from benchmarks.choices.cheapest import Cheapest
from benchmarks.choices.oracle import Oracle
from benchmarks.choices.random_model import RandomModel
from benchmarks.choices.semantic_stage import stage
from benchmarks.choices.signals import Accuracy, TableSignals
from benchmarks.workloads.workload import Answer, Question
from epp.datastore.pool import Listed, Pool
from epp.domain import Choice, Chooser, Request
from semantic.categories import CATEGORIES
from semantic.signals.api import DOMAIN, NOTHING

MODELS = ("big", "small", "tiny")
GPU_S = {"big": 0.6, "small": 0.1, "tiny": 0.05}
ALWAYS = Accuracy(abstains=0.0, right=1.0)


def question(text: str, category: str, right: str) -> Question:
    return Question(text, category, {m: Answer(10, r == "1") for m, r in zip(MODELS, right, strict=True)})


def known() -> Briefing:
    """Big is right about 3 of 4 in maths and 2 of 4 in law; small about 1 and 2; tiny about 0 and 1."""
    studied = [
        *(question(f"m{n}", "math", right) for n, right in enumerate(("110", "100", "100", "000"))),
        *(question(f"l{n}", "law", right) for n, right in enumerate(("111", "110", "000", "000"))),
    ]
    asked = [
        question("a sum", "math", "011"),
        question("a proof", "math", "100"),
        question("a will", "law", "000"),
        question("a deed", "law", "110"),
    ]
    return brief(MODELS, studied, asked, GPU_S)


def choose(chooser: Chooser, text: str) -> Choice:
    body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": text}]}).encode()
    return asyncio.run(chooser.choose(Request("r", model="auto", body=body, prompt=body)))


def models(choice: Choice) -> list[str | None]:
    return [candidate.model for candidate in choice.candidates]


def pool() -> Pool:
    return Pool("p")


def test_accuracy_is_that_of_the_questions_studied() -> None:
    assert known().accuracy == {
        "law": {"big": 0.5, "small": 0.5, "tiny": 0.25},
        "math": {"big": 0.75, "small": 0.25, "tiny": 0.0},
    }
    assert known().overall == {"big": 0.625, "small": 0.375, "tiny": 0.125}


def test_the_worth_of_an_answer_is_routerbenchs_linear_score() -> None:
    assert known().utility("math", "big") == pytest.approx(3 * 0.75 - 0.6)
    assert known().utility("law", "small") == pytest.approx(3 * 0.5 - 0.1)


@pytest.mark.parametrize("text", ["a sum", "a will"])
def test_rules_that_look_at_nothing_name_one_model(text: str) -> None:
    assert models(choose(BestSingle(known()), text)) == ["big"]
    assert models(choose(Cheapest(known()), text)) == ["tiny"]


def test_the_oracle_takes_the_cheapest_that_is_right() -> None:
    taken = {text: models(choose(Oracle(known()), text)) for text in ("a sum", "a proof", "a will", "a deed")}

    assert taken == {"a sum": ["tiny"], "a proof": ["big"], "a will": ["tiny"], "a deed": ["small"]}


def test_random_takes_each_model_as_often() -> None:
    chooser = RandomModel(known(), Random(1))
    taken = [models(choose(chooser, "a sum"))[0] for _ in range(600)]

    assert all(150 < taken.count(model) < 250 for model in MODELS)


def test_our_stage_orders_all_models_by_their_worth_in_the_category() -> None:
    ours = stage(known(), pool(), ALWAYS)

    assert models(choose(ours, "a sum")) == ["big", "small", "tiny"]  # 1.65, 0.65, -0.05
    assert models(choose(ours, "a will")) == ["small", "big", "tiny"]  # 1.4, 0.9, 0.7
    assert choose(ours, "a will").category == "law"


def test_margins_are_points_of_quality() -> None:
    found = choose(stage(known(), pool(), ALWAYS), "a sum").candidates

    assert [candidate.margin for candidate in found] == [0.0, 0.25, 0.5]


def test_the_category_rule_is_the_first_of_ours_and_nothing_else() -> None:
    ours = stage(known(), pool(), ALWAYS)

    assert models(choose(CategoryRule(ours), "a sum")) == ["big"]
    assert models(choose(CategoryRule(ours), "a will")) == ["small"]


def test_multi_factor_leaves_a_model_whose_replicas_are_busy() -> None:
    fleet = pool()
    fleet.relist(Listed(m, f"10.0.0.{n}:1", declared={m: m}, pod=m) for n, m in enumerate(MODELS))
    rule = CategoryRule(stage(known(), fleet, ALWAYS, "multi_factor"))
    idle = models(choose(rule, "a will"))
    for endpoint in fleet.endpoints:
        endpoint.inflight_requests, endpoint.work_s = (9, 4.0) if endpoint.name == "small" else (0, 0.0)
    busy = models(choose(rule, "a will"))

    assert (idle, busy) == (["small"], ["big"])


def test_the_table_errs_as_often_as_it_should() -> None:
    asked = [question(f"question {n}", CATEGORIES[n % 14], "111") for n in range(3_000)]
    signals = TableSignals(asked, Accuracy(abstains=0.1, right=0.8))
    answers = [asyncio.run(signals.see(q.text, frozenset({DOMAIN}), 0.0)).answers[DOMAIN] for q in asked]

    right = [a.label == q.category for a, q in zip(answers, asked, strict=True)]
    assert sum(right) / 3_000 == pytest.approx(0.8, abs=0.03)
    assert sum(a.abstained for a in answers) / 3_000 == pytest.approx(0.1, abs=0.02)
    assert all(a.abstained == (a.confidence < a.threshold) for a in answers)
    assert {a.label for a in answers} == set(CATEGORIES)


def test_a_text_that_is_in_no_table_is_unknown() -> None:
    assert asyncio.run(TableSignals([], ALWAYS).see("hello", frozenset({DOMAIN}), 0.0)) is NOTHING
