"""Signals: when each kind holds, does not, or cannot be told."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic.asked import Asked
from semantic.judges.heads import Domain, Guard, Language, OwnClassifier, Personal
from semantic.judges.known import Category, Judge, Known
from semantic.judges.meaning import Complexity, Embedding, Phrases
from semantic.judges.shape import Context, Conversation, Metadata
from semantic.judges.words import WORDS_MAX, Keywords, Method, Operator, is_too_much, is_within, pattern_of
from semantic.rules import Bounds, Truth
from semantic.signals.api import EMBEDDING, LANGUAGE, PII, SAFETY, Answer, Seen, Span
from tests.semantic.fakes import answer, vector

YES, NO, UNKNOWN = Truth.YES, Truth.NO, Truth.UNKNOWN


def truth(judge: Judge, known: Known, name: str | None = None) -> Truth:
    verdicts = {key[1]: verdict for key, verdict in judge.judge(known)}
    return verdicts[name or judge.key[1]].truth if verdicts else UNKNOWN


def said(text: str, **more: object) -> Known:
    return Known(Asked(turns=[("user", text)]), text, **more)  # type: ignore[arg-type]  # a test's shorthand


def keywords(*words: str, operator: Operator = "OR", method: Method = "regex", **more: object) -> Keywords:
    return Keywords("k", operator, words, method, **more)  # type: ignore[arg-type]  # a test's shorthand


@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        (["think"], "Please THINK about it", YES),
        (["think"], "rethinking is not it", NO),
        (["c++"], "I write C++ at night", YES),
        (["c++"], "I write c at night", NO),
        (["why?"], "but why? tell me", YES),
        ([r"\d{3}-\d{2}-\d{4}"], "my number is 123-45-6789.", YES),
        ([r"\d{3}-\d{2}-\d{4}"], "my number is 12-45-6789", NO),
        (["f(x)"], "what is f(x) here", YES),
        (["[broken"], "a [broken pattern is a word", YES),
        (["为什么"], "这是为什么呢", YES),
        (["credit card"], "my credit card is lost", YES),
        (["credit card"], "credit, then a card", NO),
    ],
)
def test_words_are_literal_and_whole_and_patterns_work(words: list[str], text: str, expected: Truth) -> None:
    assert truth(keywords(*words), said(text)) is expected


@pytest.mark.parametrize(
    ("operator", "text", "expected"),
    [
        ("OR", "one", YES),
        ("OR", "none", NO),
        ("AND", "one and two", YES),
        ("AND", "one", NO),
        ("NOR", "none", YES),
        ("NOR", "two", NO),
    ],
)
def test_operators(operator: Operator, text: str, expected: Truth) -> None:
    assert truth(keywords("one", "two", operator=operator), said(text)) is expected


def test_case_counts_where_it_should() -> None:
    assert truth(keywords("SQL", case_sensitive=True), said("sql")) is NO
    assert truth(keywords("SQL", case_sensitive=True), said("SQL")) is YES


@pytest.mark.parametrize(
    ("method", "threshold", "word", "text", "expected"),
    [
        ("bm25", 0.1, "debug", "I am debugging this", YES),
        ("bm25", 0.1, "machine learning", "a washing machine", YES),
        ("bm25", 2.5, "machine learning", "a washing machine", NO),
        ("bm25", 0.1, "debug", "I am bugged", NO),
        ("ngram", 0.4, "urgent", "this is urgnt!", YES),
        ("ngram", 0.4, "urgent", "this is urgently needed", YES),
        ("ngram", 0.4, "urgent", "the agent", NO),
        ("fuzzy", 0.82, "password", "my pasword is lost", YES),
        ("fuzzy", 0.82, "password", "my passport is lost", NO),
        ("fuzzy", 0.82, "social security", "his socal security number", YES),
    ],
)
def test_near_words(method: Method, threshold: float, word: str, text: str, expected: Truth) -> None:
    judge = keywords(word, "algorithm", method=method, threshold=threshold)

    assert truth(judge, said(text)) is expected


LETTERS = st.text("abcdr ", min_size=1, max_size=9)
KEYWORDS = st.sampled_from(["abracadabra", "cab card", "bad", "a"])
THRESHOLDS = st.sampled_from([0.1, 0.3, 0.4, 0.5, 0.7, 0.9])


@given(KEYWORDS, st.lists(LETTERS, max_size=6), THRESHOLDS, st.sampled_from(["fuzzy", "ngram"]), st.integers(1, 4))
def test_nothing_that_is_near_enough_is_passed_over(
    keyword: str, texts: list[str], threshold: float, method: Method, arity: int
) -> None:
    """Against the plain definition, every group of words compared."""
    text = " ".join(texts)
    words, size = text.split(), len(keyword.split())
    groups = [" ".join(words[at : at + size]) for at in range(len(words) - size + 1)]
    alike = [similar(keyword, group) if method == "fuzzy" else shared(keyword, group, arity) for group in groups]
    expected = YES if any(found > 0 and found >= threshold for found in alike) else NO

    assert truth(keywords(keyword, method=method, threshold=threshold, arity=arity), said(text)) is expected


def similar(one: str, other: str) -> float:
    return 1 - edits(one, other) / max(len(one), len(other))


@cache
def edits(one: str, other: str) -> int:
    if not one or not other:
        return len(one) + len(other)
    if one[0] == other[0]:
        return edits(one[1:], other[1:])
    return 1 + min(edits(one[1:], other), edits(one, other[1:]), edits(one[1:], other[1:]))


def shared(one: str, other: str, arity: int) -> float:
    grams = [
        Counter(padded[at : at + arity] for at in range(len(padded) - arity + 1))
        for padded in (f"{' ' * (arity - 1)}{text}{' ' * (arity - 1)}" for text in (one, other))
    ]
    return (grams[0] & grams[1]).total() / (grams[0] | grams[1]).total()


def test_a_text_with_too_many_words_to_compare_is_unknown_and_not_without_a_match() -> None:
    text = " ".join(f"w{n}" for n in range(WORDS_MAX + 1))

    assert truth(keywords("password", method="fuzzy", threshold=0.8), said(text)) is UNKNOWN
    assert truth(keywords("w7", method="regex"), said(text)) is YES


@pytest.mark.parametrize("word", [r"(a+)+$", r"(a|aa)+!", r"(\w+\s?)*x;"])
def test_no_pattern_takes_endless_time(word: str) -> None:
    keywords = Keywords(name="k", operator="OR", keywords=(word,))

    assert keywords._judge("a" * 200_000 + "b").truth is Truth.NO


def test_half_a_character_is_no_obstacle_to_a_pattern() -> None:
    keywords = Keywords(name="k", operator="OR", keywords=(r"caf\w*.",))

    assert keywords._judge("CAFÉ \ud800").truth is Truth.YES


@pytest.mark.parametrize(("word", "too_much"), [(r"(?<=a)b", True), (r"(a)\1", True), ("a(b", False), ("x|y", False)])
def test_what_can_take_endless_time_is_told_from_what_is_a_word(word: str, *, too_much: bool) -> None:
    assert is_too_much(word) is too_much


def test_a_pattern_that_is_none_is_a_word() -> None:
    assert pattern_of("a(b") is None
    assert pattern_of("plain") is None
    assert is_within("a(b", "what a(b is")


@pytest.mark.parametrize(
    ("category", "expected"),
    [(Category("law", 0.7), YES), (Category("math", 0.7), NO), (None, UNKNOWN)],
)
def test_a_domain_holds_for_its_categories(category: Category | None, expected: Truth) -> None:
    assert truth(Domain("society", frozenset({"law"})), said("x", category=category)) is expected


def test_a_language_holds_from_its_threshold_and_is_unknown_when_the_head_abstains() -> None:
    told = {LANGUAGE: answer("es", 0.9, rest="en")}
    unsure = {LANGUAGE: replace(told[LANGUAGE], abstained=True)}

    assert truth(Language("es", 0.3), said("hola", seen=Seen(told))) is YES
    assert truth(Language("en", 0.3), said("hola", seen=Seen(told))) is NO
    assert truth(Language("es", 0.3), said("hola", seen=Seen(unsure))) is UNKNOWN
    assert truth(Language("es", 0.3), said("hola")) is UNKNOWN


SAFE, ATTACK = answer("benign", 0.9, rest="jailbreak"), answer("jailbreak", 0.6, rest="benign")
PATTERNS = Phrases(("attack",), np.stack([vector("attack")]))
HARMLESS = Phrases(("policy",), np.stack([vector("policy")]))


@pytest.mark.parametrize(
    ("answers", "threshold", "expected"),
    [
        ({SAFETY: ATTACK}, None, YES),
        ({SAFETY: SAFE}, None, NO),
        ({SAFETY: replace(ATTACK, abstained=True)}, None, NO),
        ({SAFETY: ATTACK}, 0.7, NO),
        ({SAFETY: ATTACK}, 0.5, YES),
        ({SAFETY: Answer("injection", 0.5, {"injection": 0.5, "jailbreak": 0.3})}, 0.7, YES),
        ({}, 0.5, UNKNOWN),
    ],
)
def test_a_guard_goes_by_the_head_and_its_threshold(
    answers: Mapping[str, Answer], threshold: float | None, expected: Truth
) -> None:
    guard = Guard("g", threshold=threshold)

    assert guard.needs_last == {SAFETY}
    assert truth(guard, said("x", seen_last=Seen(answers))) is expected


@pytest.mark.parametrize(("text", "expected"), [("attack", YES), ("policy attack", NO), ("cat", NO)])
def test_a_contrastive_guard_goes_by_nearness(text: str, expected: Truth) -> None:
    guard = Guard("g", method="contrastive", threshold=0.6, attacks=PATTERNS, benign=HARMLESS)

    assert guard.needs_last == {EMBEDDING}
    assert truth(guard, said(text, seen_last=Seen(embedding=vector(text)))) is expected


def test_of_a_hybrid_guard_either_side_is_enough_and_both_are_needed_to_acquit() -> None:
    guard = Guard("g", method="hybrid", threshold=0.7, attacks=PATTERNS)
    near = Seen(embedding=vector("attack"))
    far = Seen({SAFETY: SAFE}, embedding=vector("cat"))

    assert truth(guard, said("x", seen_last=near)) is YES
    assert truth(guard, said("x", seen_last=far)) is NO
    assert truth(guard, said("x", seen_last=Seen({SAFETY: SAFE}))) is UNKNOWN


def test_a_guard_told_to_block_on_error_matches_what_it_cannot_tell() -> None:
    assert truth(Guard("g", unknown=YES), said("x")) is YES


def test_history_is_looked_at_where_it_is_asked_for() -> None:
    guard = Guard("g", history=True)

    assert (guard.needs_last, guard.needs_history) == (frozenset(), {SAFETY})
    assert truth(guard, said("x", seen_history=Seen({SAFETY: ATTACK}))) is YES


MAIL = Span(0, 5, "EMAIL_ADDRESS", 0.9)


@pytest.mark.parametrize(
    ("judge", "spans", "expected"),
    [
        (Personal("p"), (MAIL,), YES),
        (Personal("p"), (), NO),
        (Personal("p"), None, UNKNOWN),
        (Personal("p", allowed=frozenset({"EMAIL_ADDRESS"})), (MAIL,), NO),
        (Personal("p", threshold=0.95), (MAIL,), NO),
    ],
)
def test_personal_data_that_is_not_allowed_is_a_match(
    judge: Personal, spans: tuple[Span, ...] | None, expected: Truth
) -> None:
    assert judge.needs_last == {PII}
    assert truth(judge, said("x", seen_last=Seen(spans=spans))) is expected


def test_allowed_data_says_nothing_of_what_was_not_read() -> None:
    seen = Seen(spans=(MAIL,), spans_complete=False)

    assert truth(Personal("p", allowed=frozenset({"EMAIL_ADDRESS"})), said("x", seen_last=seen)) is UNKNOWN
    assert truth(Personal("p"), said("x", seen_last=seen)) is YES


@pytest.mark.parametrize(("text", "expected"), [("install", YES), ("install cat", NO), ("cat", NO)])
def test_an_embedding_holds_near_its_phrases(text: str, expected: Truth) -> None:
    phrases = Phrases(("install", "password"), np.stack([vector("install"), vector("password")]))
    judge = Embedding("e", phrases, threshold=0.8)

    assert truth(judge, said(text, seen=Seen(embedding=vector(text)))) is expected
    assert truth(judge, said(text)) is UNKNOWN


def test_the_mean_of_all_phrases_is_asked_for_by_name() -> None:
    phrases = Phrases(("install", "password"), np.stack([vector("install"), vector("password")]))
    known = said("install", seen=Seen(embedding=vector("install")))

    assert truth(Embedding("e", phrases, 0.5, "mean"), known) is YES
    assert truth(Embedding("e", phrases, 0.6, "mean"), known) is NO


@pytest.mark.parametrize(("text", "level"), [("proof steps", "hard"), ("quick", "easy"), ("cat", "medium")])
def test_complexity_is_one_of_three_levels(text: str, level: str) -> None:
    hard = Phrases(("proof",), np.stack([vector("proof")]))
    easy = Phrases(("quick",), np.stack([vector("quick")]))
    judge = Complexity("c", hard, easy, threshold=0.5)
    known = said(text, seen=Seen(embedding=vector(text)))

    assert {name: truth(judge, known, f"c:{name}") for name in ("easy", "medium", "hard")} == {
        name: YES if name == level else NO for name in ("easy", "medium", "hard")
    }
    assert list(judge.judge(said(text))) == []


def test_the_context_window_includes_both_ends() -> None:
    judge = Context("long", 10, 20)
    sizes = {size: truth(judge, Known(Asked(prompt_tokens=size))) for size in (9, 10, 20, 21)}

    assert sizes == {9: NO, 10: YES, 20: YES, 21: NO}


def test_a_classifier_of_ones_own_is_unknown_until_it_answers() -> None:
    judge = OwnClassifier("facts", "m", "fact_check", "FACT", threshold=0.6)
    sure = Seen({"m": answer("FACT", 0.9, rest="NONE")})

    assert judge.own == {"m"}
    assert truth(judge, said("x")) is UNKNOWN
    assert truth(judge, said("x", own={"m": sure})) is YES
    assert truth(judge, said("x", own={"m": Seen({"m": answer("NONE", 0.9, rest="FACT")})})) is NO


BODY = {
    "messages": [
        {"role": "developer", "content": "x"},
        {"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": "hi"}]},
        {"role": "assistant", "tool_calls": [{}]},
        {"role": "tool", "content": "42"},
    ],
    "tools": [{}, {}],
    "metadata": {"consent": "denied"},
}


@pytest.mark.parametrize(
    ("judge", "expected"),
    [
        (Conversation("c", "message", "user"), YES),
        (Conversation("c", "message", "user", Bounds(gte=2)), NO),
        (Conversation("c", "message", "non_user", Bounds(gte=3)), YES),
        (Conversation("c", "message", "", Bounds(gt=3, lte=4)), YES),
        (Conversation("c", "tool_definition", bounds=Bounds(gte=2)), YES),
        (Conversation("c", "image_content"), YES),
        (Conversation("c", "active_tool_loop"), YES),
        (Metadata("m", "consent", "denied"), YES),
        (Metadata("m", "consent", "given"), NO),
        (Metadata("m", "other", "denied"), NO),
    ],
)
def test_the_shape_of_a_conversation(judge: Conversation | Metadata, expected: Truth) -> None:
    turns = [("developer", "x"), ("user", "hi"), ("tool", "42")]

    assert truth(judge, Known(Asked(turns=turns, body=BODY))) is expected
