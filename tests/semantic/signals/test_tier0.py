"""Tier 0 by its shortcuts says what it says by its definitions."""

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import reduce

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from semantic.onnx import read_tokenizer
from semantic.signals import detectors
from semantic.signals.api import Span
from semantic.signals.detectors import DETECTORS, detect
from semantic.signals.lexicon import Lexicon
from semantic.signals.ngrams import WORDS_MAX, character_buckets, kept_text, kept_words, word_buckets
from semantic.signals.pii import has_capital_inside
from semantic.signals.script import LAST_LATIN, LOOKED_AT, SHARE, is_latin
from semantic.signals.settings import SHIPPED, read_settings
from semantic.signals.tier0 import PIECES, Tier0

ASCII = "".join(map(chr, range(128)))
MARKS = "aZ .,_" + "".join(map(chr, (0xE9, 0xA1, 0xAB, 0xB0, 0xB7, 0xBB, 0xBF, 0x307, 0x2014, 0x2019, 0x2026, 0x2028)))
TEXTS = (
    "What is the capital of France?",
    "Explain unbelievability, in 3 steps: don't use snake_case or qqzzqq!",
    "Weißwürste à la carte, 机器学习 и Übergrößenträger",
    "word unknowable " * (2 * WORDS_MAX),
)
ARABIC = "".join(map(chr, range(0x660, 0x669)))  # digits of another script
FORMS = (
    *("a@b.co", " call 555-0100-22 ", "10.0.0.1", "::1", "00:1B:44:11:3A:B7", "SSN 123-45-6789", "x.org", "\n"),
    *("4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "https://a.example/b", ARABIC, f" tel {ARABIC}"),
    *("sk-abcdefghij0123456789", "ghp_" + "a" * 24, "AKIA" + "A" * 16, "eyJ" + ".".join(["a" * 12] * 3)),
    *("SG." + "a" * 20 + "." + "b" * 20, "xoxb-0123456789", "AIza" + "b" * 35, "glpat-" + "a" * 20),
)
PARTS = st.sampled_from(FORMS) | st.text(alphabet=ASCII, max_size=8) | st.text(max_size=4)
MIXED = st.lists(PARTS, max_size=12).map("".join)


def examples(texts: Iterable[str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Each of these texts alone, besides what hypothesis thinks of."""

    def with_all(test: Callable[..., None]) -> Callable[..., None]:
        return reduce(lambda made, text: example(text)(made), texts, test)

    return with_all


@examples(TEXTS)
@given(st.text(alphabet=ASCII, max_size=400) | st.text(alphabet=MARKS, max_size=80) | st.text())
def test_the_words_of_a_text_are_what_the_pattern_finds(text: str) -> None:
    found = re.findall(r"[^\W_]+|[^\w\s]", kept_text(text).lower())
    half = WORDS_MAX // 2

    assert kept_words(text) == (found if len(found) <= WORDS_MAX else found[:half] + found[-half:])


@example("you said, Ann")
@given(st.text(alphabet="aZ bY,;'\"(.\n1_", max_size=40) | st.text(alphabet=ASCII, max_size=60))
def test_a_capital_inside_is_found_where_the_pattern_finds_it(text: str) -> None:
    found = re.finditer(r"(?<=[a-z,;'\"(] )[^\W\d_a-z][^\W\d_A-Z]+", text)

    assert has_capital_inside(text) == any(match[0][0].isupper() for match in found)


@given(st.text(alphabet="abé ǅЖ語1²", max_size=80) | st.text(max_size=80))
def test_the_script_is_told_letter_by_letter(text: str) -> None:
    letters = [ord(character) for character in text[:LOOKED_AT] if character.isalpha()]

    assert is_latin(text) == (sum(point > LAST_LATIN for point in letters) <= SHARE * len(letters))


@examples(FORMS)
@given(MIXED)
def test_what_spares_a_detector_its_work_hides_nothing_from_it(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detectors, "DETECTORS", tuple(replace(one, hint=_always) for one in DETECTORS))
        patch.setattr(detectors, "_HINTS", (_always,))
        found = detect(text)

    assert detect(text) == found


SHORT = tuple(form for form in FORMS if len(form) < 30)


@given(st.lists(st.sampled_from(SHORT), max_size=30).map(" and then ".join))
def test_slices_are_cut_where_no_form_is(text: str) -> None:
    assert sliced(text, cut=50) == detect(text)


@given(st.lists(st.sampled_from([form for form in SHORT if " " not in form]), max_size=30).map("-and-then- ".join))
def test_what_a_cut_goes_through_is_found_whole_and_once(text: str) -> None:
    assert sliced(text, cut=2) == detect(text)


@given(st.lists(st.sampled_from(["the", "price", "7", "2019", "qqzzqq", "unknowable", "é", "?", "naïve"]), max_size=40))
def test_pairs_of_words_are_hashed_as_they_stand(words: list[str]) -> None:
    text = " ".join(words)
    read = LEXICON.read(text)
    known = read.rows[(read.rows >= 0) & (read.rows < len(LEXICON.words))]
    stems = LEXICON.stems[known]
    buckets = np.concatenate([LEXICON.words[known], stems[stems >= 0], read.buckets])

    assert sorted(buckets) == sorted(word_buckets(text))


@pytest.mark.parametrize("text", TEXTS)
def test_logits_are_the_sums_that_the_tables_stand_for(text: str) -> None:
    tables = {name: table for name, table in np.load(SHIPPED / "tier0.npz").items() if "language" not in name}
    stored = {name: table.astype(np.float64) for name, table in tables.items()}
    tier0 = Tier0(SHIPPED / "tier0.npz", read_settings(SHIPPED).tier0_temperatures, TOKENIZER)
    row, likely = tier0.words(text)
    logits = {name: row[part] for name, part in tier0.parts.items()}
    buckets, pieces = word_buckets(text), LEXICON.word_pieces(text)

    for name, said in logits.items():
        rows = stored[f"{name}.weight"][buckets].sum(axis=0) * stored[f"{name}.scale"]
        expected = rows / len(buckets) ** 0.5 + stored[f"{name}.bias"]
        for table in PIECES:
            out = stored.get(f"{name}.vectors{table.removeprefix(PIECES[0])}")
            if out is not None:
                mean = stored[f"{table}.weight"][pieces].mean(axis=0) * stored[f"{table}.scale"]
                expected = expected + np.maximum(mean @ stored[f"{table}.hidden"] + stored[f"{table}.bias"], 0) @ out
        powers = np.exp(expected / read_settings(SHIPPED).tier0_temperatures.get(name, 1.0))
        assert said == pytest.approx(expected, abs=1e-4)
        assert likely[tier0.parts[name]] == pytest.approx(powers / powers.sum(), abs=1e-5)


@given(st.text(max_size=30))
def test_runs_of_characters_are_hashed_one_by_one(text: str) -> None:
    cleaned = " " + re.sub("[0-9]+", " ", text).lower() + " "
    points = [ord(c) for c in cleaned.encode("utf-32-le", errors="replace").decode("utf-32-le")]
    expected = []
    for length in range(1, 5):
        for at in range(len(points) - length + 1):
            value = 2166136261
            for point in points[at : at + length]:
                value = (value ^ point) * 16777619 % (1 << 32)
            expected.append((value ^ (value >> 15)) % (1 << 15))

    assert character_buckets(text).tolist() == expected


def sliced(text: str, cut: int) -> list[Span]:
    """What is found in slices of 100 characters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detectors, "SLICE_CHARACTERS", 100)
        patch.setattr(detectors, "CUT_CHARACTERS", cut)
        return detect(text)


def _always(text: str, kinds: bytes) -> bool:
    return True


TOKENIZER = read_tokenizer(SHIPPED / "tokenizer.json")
LEXICON = Lexicon(TOKENIZER)
