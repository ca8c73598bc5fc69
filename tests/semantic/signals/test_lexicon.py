"""Reading a text's words at once gives what reading them one after another gives."""

import numpy as np
import pytest

from semantic.onnx import read_tokenizer
from semantic.signals.lexicon import Lexicon
from semantic.signals.ngrams import WORDS_MAX, word_buckets
from semantic.signals.settings import SHIPPED

TEXTS = (
    "",
    "What is the capital of France?",
    "don't use snake_case or camelCase in FooBarBazQuux, ok?",
    "In 2019 it cost 1234567 dollars (about 3.5%)!",
    "Weißwürste à la carte: naïve Übergrößenträger",
    "机器学习是什么 какой сегодня день ￿ \ud800",
    "word " * (3 * WORDS_MAX),
)


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return Lexicon(read_tokenizer(SHIPPED / "tokenizer.json"))


@pytest.mark.parametrize("text", TEXTS)
def test_known_and_strange_words_together_are_all_features(lexicon: Lexicon, text: str) -> None:
    read = lexicon.read(text)
    words = len(lexicon.words)
    known = read.rows[(read.rows >= 0) & (read.rows < words)]
    stems = lexicon.stems[known]
    buckets = np.concatenate([lexicon.words[known], stems[stems >= 0], read.buckets])
    pieces = np.concatenate([lexicon.pieces[known], read.rows[read.rows >= words] - words])

    assert sorted(buckets) == sorted(word_buckets(text))
    assert sorted(pieces) == sorted(lexicon.word_pieces(text))


@pytest.mark.parametrize("word", ["unbelievability", "x" * 101, "qqzzqq", "antidisestablishmentarianism", "a1b2c3"])
def test_a_word_falls_into_the_pieces_that_the_tokenizer_finds(lexicon: Lexicon, word: str) -> None:
    tokenizer = read_tokenizer(SHIPPED / "tokenizer.json")

    assert list(lexicon.word_pieces(word)) == tokenizer.encode(word, add_special_tokens=False).ids
