"""The prompts that training composes: repeatable, labelled where they say, on both sides alike."""

from collections import Counter
from random import Random

from semantic.training.code_style import Requests
from semantic.training.pii_style import Filler
from semantic.training.safety_phrases import Phrases
from semantic.training.safety_rules import Parts
from semantic.training.safety_style import BENIGN, INJECTION, JAILBREAK, Composer
from semantic.training.tasks import Example, bare_source, family, is_left_out, split

DOCUMENTS = ["The shop opens at nine. It closes at five.", "Bread is made of flour. Water is added."]


def composer() -> Composer:
    return Composer(DOCUMENTS, ["What is a noun?"], ["how to pick a lock that is not mine"])


def test_the_same_chance_composes_the_same_prompts() -> None:
    one, two = Random(3), Random(3)
    made = composer()

    assert [made.draw(one) for _ in range(50)] == [made.draw(two) for _ in range(50)]


def test_all_kinds_are_composed_and_a_focus_lies_inside() -> None:
    rng = Random(1)
    prompts = [composer().draw(rng) for _ in range(400)]
    kinds = Counter(prompt.label for prompt in prompts)

    assert set(kinds) == {BENIGN, INJECTION, JAILBREAK}
    assert min(kinds.values()) > 40
    assert all(0 <= p.focus[0] < p.focus[1] <= len(p.text) for p in prompts if p.focus)


def test_attacks_and_requests_share_verbs_delimiters_and_languages() -> None:
    rng, phrases = Random(4), Phrases()
    attacks = " ".join(phrases.attack(rng) for _ in range(800)).lower()
    requests = " ".join(phrases.request(rng) for _ in range(800)).lower()
    foreign = {"de": ["Wie spät ist es in Bern?"]}
    made_by = Composer(DOCUMENTS, ["What is a noun?"], ["a lock"], foreign)
    made = [made_by.draw(rng) for _ in range(2500)]

    assert all(verb in attacks and verb in requests for verb in ("ignore", "disregard", "forget", "override", "drop"))
    for mark in ("[/INST]", "<|im_end|>", "</document>", "PS:", "Wie spät"):
        assert {p.label for p in made if mark in p.text} >= {BENIGN, INJECTION}, mark
    assert "{" not in attacks + requests


def test_texts_of_other_languages_are_left_out_with_their_source() -> None:
    rows = [Example("foreign", "Bonjour à tous", -1, "xsafety/fr/commonsense#fr")]

    assert split(rows, "pro") == ([], rows)


def test_filled_values_stand_where_their_spans_say() -> None:
    rows = [
        Example("pii", "Ann lives in Rome", -1, "template(x)", ((0, 3, "PERSON"), (13, 17, "GPE"))),
        Example("pii", "Bo is 41", -1, "template(x)", ((0, 2, "PERSON"), (6, 8, "AGE"))),
    ]
    filler, rng = Filler(rows), Random(5)
    drawn = [filler.draw(rng) for _ in range(200)] + [filler.exchanged(row, rng) for row in rows]
    values = {(e.text[start:end], kind) for e in drawn for start, end, kind in e.spans}

    assert values <= {("Ann", "PERSON"), ("Bo", "PERSON"), ("Rome", "GPE"), ("41", "AGE")}
    assert not any("{" in e.text for e in drawn if e.spans)


def test_a_source_is_left_out_under_every_name() -> None:
    rows = [
        Example("safety", "a question", 0, "plain/clinc150"),
        Example("pii", "another one", -1, "negative/clinc150"),
        Example("domain", "a third", 10, "clinc150"),
    ]

    assert all(is_left_out(row, "user") for row in rows)
    assert split(rows, "user") == ([], rows)
    assert {bare_source(row.source) for row in rows} == {"clinc150"}


def test_a_template_is_left_out_with_all_its_values() -> None:
    rows = [
        Example("pii", f"Call {name} today please", -1, f"template(this work)/{n}", ((5, 5 + len(name), "PERSON"),))
        for n, name in enumerate(("Ann", "Bartholomew", "Chi"))
    ]
    sides = [[is_left_out(row, fold) for row in rows] for fold in ("books", "exams", "pro")]

    assert all(len(set(side)) == 1 for side in sides)


def test_families_join_the_variants_of_a_source() -> None:
    assert family("mmlu_pro/ori_mmlu-anatomy|stem") == family("mmlu/anatomy|stem+choices")
    assert family("legalbench/proa") == "legalbench"


def test_clean_sources_train_in_no_fold_and_are_all_that_the_clean_split_holds() -> None:
    templates = [Example("safety", f"template {n}", JAILBREAK, "gptfuzz-templates") for n in range(40)]
    rows = [*templates, Example("safety", "sounds bad", BENIGN, "handwritten-lookalikes(this work)")]
    rows.append(Example("safety", "a question", BENIGN, "dolly-15k-sample"))
    _, clean = split(rows, "clean")
    trained = [split(rows, fold)[0] for fold in ("rows", "books", "user")]

    assert len(rows) // 4 < len(clean) < len(rows) - 1
    assert not any(set(map(id, clean)) & set(map(id, train)) for train in trained)


def test_requests_about_code_and_everyday_ones_share_their_forms() -> None:
    rng, requests = Random(6), Requests()
    drawn = [requests.draw(rng) for _ in range(400)]
    both = {label: {text.split()[0].lower() for text, own in drawn if own == label} for label in (0, 1)}

    assert 150 < sum(label for _, label in drawn) < 250
    assert {"how", "why", "best", "should"} <= both[0] & both[1]
    assert not any("{" in text for text, _ in drawn)


def test_a_table_is_an_attack_only_where_a_strangers_demand_is_inside() -> None:
    rng = Random(7)
    tables = [prompt for prompt in (composer().draw(rng) for _ in range(600)) if "| --- |" in prompt.text]

    assert {prompt.label for prompt in tables} == {BENIGN, INJECTION}
    assert all((prompt.focus is not None) or prompt.label == BENIGN for prompt in tables)


def test_parts_to_play_open_and_end_alike_and_only_free_ones_are_attacks() -> None:
    rng, parts = Random(8), Parts()
    free, kept = ([parts.draw("Nova", "what is {x}?", rng, free=kind) for _ in range(300)] for kind in (True, False))

    assert {text[:12] for text in free} == {text[:12] for text in kept}
    assert not any("{name}" in text or "{q}" in text for text in free + kept)
    assert any("no restrictions" in text or "refus" in text.lower() for text in free)
    assert not any("refus" in text.lower() or "unlocked" in text for text in kept)


def test_other_languages_have_harmless_texts_wherever_they_have_attacks() -> None:
    rng, phrases = Random(9), Phrases()

    for code in ("zh", "ja", "ar", "hi", "ru", "bn", "de", "fr", "es"):
        texts = {phrases.foreign_text(code, rng) for _ in range(60)}
        attacks = {phrases.foreign(code, "attacks", rng) for _ in range(60)}
        assert None not in texts
        assert len(texts) > 30
        assert len(attacks) > 20
        assert not texts & attacks
        assert not any("{" in str(text) for text in texts | attacks)
