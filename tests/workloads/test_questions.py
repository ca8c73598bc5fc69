"""Questions with known answers: what a table of outcomes becomes."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from random import Random

import pytest

from benchmarks.workloads import catalogue
from benchmarks.workloads.questions import OUTCOMES, SYSTEM_TOKENS, Topic, answered_by, body, model_mix
from tests.workloads import outcomes


def row(number: int, correct: str, question: str | None = None) -> dict[str, object]:
    text = question or f"Question number {number}"
    return {"question_id": number, "category": "law", "question": text, "correct": correct, "out_chars": [401, 9, 0]}


def test_nothing_that_is_asked_has_been_studied(tmp_path: Path) -> None:
    mix = outcomes.mix(tmp_path)
    studied, asked = ({question.text for question in half} for half in (mix.studied, mix.asked))

    assert not studied & asked
    assert len(studied) + len(asked) == 600
    assert 240 < len(asked) < 360


def test_the_same_question_twice_is_on_one_side_once(tmp_path: Path) -> None:
    rows = [row(n, "111", f"Q{n % 30}") for n in range(60)]
    mix = model_mix("m", outcomes.save(tmp_path, list(OUTCOMES.values()), rows))

    assert len(mix.studied) + len(mix.asked) == 30


def test_an_answer_is_as_long_as_the_recorded_one_and_no_answer_is_not_right(tmp_path: Path) -> None:
    rows = [row(n, "10x") for n in range(20)] + [row(99, "1-1")]
    mix = model_mix("m", outcomes.save(tmp_path, list(OUTCOMES.values()), rows))
    answers = mix.asked[0].answers

    assert [(answers[m].tokens, answers[m].right) for m in OUTCOMES] == [(100, True), (2, False), (1, False)]
    assert len(mix.studied) + len(mix.asked) == 20  # one of the models was never asked the last


def test_who_answers_decides_how_long_the_answer_is(tmp_path: Path) -> None:
    ask = outcomes.mix(tmp_path).arrivals(10.0, Random(0), 1)[0].ask

    lengths = {model: answered_by(ask, model).output_tokens for model in OUTCOMES}
    assert lengths["llama3-8b"] > ask.output_tokens > lengths["phi3-mini"]
    assert answered_by(ask, None) is ask


def test_the_request_is_the_shared_prompt_and_the_question_word_for_word(tmp_path: Path) -> None:
    ask = outcomes.mix(tmp_path).arrivals(10.0, Random(0), 1)[0].ask
    assert ask.question is not None
    read = json.loads(body(ask.question.text))

    system, user = read["messages"]
    assert (read["model"], system["role"], user["role"]) == ("auto", "system", "user")
    assert user["content"] == ask.question.text
    assert len(system["content"]) == 4 * SYSTEM_TOKENS
    assert ask.prompt_tokens == pytest.approx((len(system["content"]) + len(user["content"])) / 4, abs=1)


def test_a_topic_takes_over_a_stretch_of_the_run(tmp_path: Path) -> None:
    mix = outcomes.mix(tmp_path, Topic("law", share=0.9, begin=0.5, end=1.0))
    asked = [a.ask.question.category for a in mix.arrivals(10.0, Random(0), 400) if a.ask.question]

    assert asked[:200].count("law") < 100
    assert asked[200:].count("law") > 170


def test_a_topic_that_nobody_asks_about_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nobody asks about alchemy"):
        outcomes.mix(tmp_path, Topic("alchemy"))


def test_arrivals_are_those_of_the_seed_at_any_rate(tmp_path: Path) -> None:
    mix = outcomes.mix(tmp_path)
    slow, fast = (mix.arrivals(rate, Random(3), 50) for rate in (1.0, 20.0))

    assert [a.ask.question for a in slow] == [a.ask.question for a in fast]
    assert slow[-1].at == pytest.approx(20 * fast[-1].at)


def test_a_mix_travels_to_other_processes(tmp_path: Path) -> None:
    mix = outcomes.mix(tmp_path)
    again = pickle.loads(pickle.dumps(mix))

    assert mix.identity == again.identity != outcomes.mix(tmp_path, Topic("law")).identity
    assert mix.arrivals(9.0, Random(1), 40) == again.arrivals(9.0, Random(1), 40)


def test_a_folder_without_outcomes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        catalogue.find("model-mix", tmp_path)
    with pytest.raises(ValueError, match="ONEHOP_ROUTING"):
        catalogue.find("model-mix", None)
    with pytest.raises(ValueError, match="no table of outcomes"):
        model_mix("m", outcomes.save(tmp_path, ["somebody else"], [row(1, "1")]))
