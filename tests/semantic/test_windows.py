"""Pieces and windows cover all of a text."""

from itertools import pairwise

import pytest

from semantic.windows import (
    OVERLAP_CHARACTERS,
    OVERLAP_TOKENS,
    PIECE_CHARACTERS,
    PIECES_MAX,
    WINDOW_TOKENS,
    pieces_of,
    windows_of,
)


@pytest.mark.parametrize("tokens", [0, 1, WINDOW_TOKENS, WINDOW_TOKENS + 1, 700, 5000])
def test_windows_cover_every_token_and_none_is_too_long(tokens: int) -> None:
    windows = windows_of(tokens)

    assert {n for low, high in windows for n in range(low, high)} == set(range(tokens))
    assert max(high - low for low, high in windows) <= WINDOW_TOKENS


def test_windows_step_by_all_that_they_do_not_share_and_the_last_one_ends_with_the_text() -> None:
    starts = [low for low, _ in windows_of(3 * WINDOW_TOKENS)]

    assert [after - before for before, after in pairwise(starts[:-1])] == [WINDOW_TOKENS - OVERLAP_TOKENS] * 2
    assert windows_of(WINDOW_TOKENS) == [(0, WINDOW_TOKENS)]
    assert windows_of(WINDOW_TOKENS + 1) == [(0, WINDOW_TOKENS), (1, WINDOW_TOKENS + 1)]


@pytest.mark.parametrize("text", ["", "short", "x" * 5000, "some words in a row " * 400])
def test_pieces_cover_every_character_ends_first(text: str) -> None:
    pieces = pieces_of(text)

    assert {n for low, high in pieces for n in range(low, high)} == set(range(len(text)))
    assert pieces[0][0] == 0
    assert pieces[min(1, len(pieces) - 1)][1] == len(text)
    assert max(high - low for low, high in pieces) <= PIECE_CHARACTERS


def test_neighbouring_pieces_share_enough_to_hold_a_name() -> None:
    first, _, second, *_ = pieces_of("some words in a row " * 400)

    assert first[1] - second[0] == OVERLAP_CHARACTERS


@pytest.mark.parametrize(("space_at", "end"), [(999, 1000), (950, 951), (940, 941), (939, 1000), (1000, 1000)])
def test_a_piece_ends_with_a_word_if_one_ends_within_half_of_what_pieces_share(space_at: int, end: int) -> None:
    text = "x" * space_at + " " + "x" * 3000

    assert pieces_of(text)[0] == (0, end)


def test_as_few_pieces_as_a_text_takes() -> None:
    whole, longer, two = ("x" * length for length in (1000, 1001, 2 * 1000 - OVERLAP_CHARACTERS))

    assert pieces_of(whole) == [(0, 1000)]
    assert pieces_of(longer) == [(0, 1000), (1, 1001)]
    assert pieces_of(two) == [(0, 1000), (1000 - OVERLAP_CHARACTERS, len(two))]


@pytest.mark.parametrize("most", [1, 2, 3, 7])
def test_a_bound_on_pieces_takes_from_the_middle_and_leaves_the_ends(most: int) -> None:
    text = "word " * 10_000

    assert pieces_of(text, most) == pieces_of(text)[:most]


def test_pieces_of_one_text_are_bounded() -> None:
    assert len(pieces_of("word " * 1_000_000)) == PIECES_MAX
