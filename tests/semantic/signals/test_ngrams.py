"""Hashed features: the same everywhere, bounded, and the whole of a short text."""

import numpy as np

from semantic.signals.ngrams import (
    CHARACTER_BUCKETS,
    WORD_BUCKETS,
    WORDS_MAX,
    character_buckets,
    kept_bytes,
    word_buckets,
)


def test_the_hash_is_the_one_the_shipped_tables_were_made_with() -> None:
    assert word_buckets("Hello world").tolist() == [42630, 4419, 4485]
    assert character_buckets("ab").tolist()[:4] == [17766, 24884, 25597, 17766]


def test_features_stay_in_their_tables_and_within_their_number() -> None:
    text = "every word counts, 42 times! " * 5000
    words, characters = word_buckets(text), character_buckets(text)

    assert 0 <= words.min() <= words.max() < WORD_BUCKETS
    assert 0 <= characters.min() <= characters.max() < CHARACTER_BUCKETS
    assert len(words) <= 3 * WORDS_MAX
    assert kept_bytes(text) < len(text)


def test_case_and_the_value_of_a_number_do_not_matter() -> None:
    assert np.array_equal(word_buckets("Add 17 apples"), word_buckets("add 42 APPLES"))
    assert np.array_equal(character_buckets("Ab1c"), character_buckets("ab7C"))


def test_a_short_text_is_kept_whole() -> None:
    assert kept_bytes("grüße") == 7


def test_nothing_has_no_word_features_and_half_a_character_those_of_the_mark_for_it() -> None:
    assert len(word_buckets("")) == 0
    assert word_buckets("\ud800").tolist() == word_buckets("?").tolist()
