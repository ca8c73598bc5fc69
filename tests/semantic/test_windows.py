"""Pieces and windows cover all of a text."""

import pytest

from semantic.windows import OVERLAP_CHARACTERS, PIECE_CHARACTERS, PIECES_MAX, WINDOW_TOKENS, pieces_of, windows_of


@pytest.mark.parametrize("tokens", [0, 1, WINDOW_TOKENS, WINDOW_TOKENS + 1, 700, 5000])
def test_windows_cover_every_token_and_none_is_too_long(tokens: int) -> None:
    windows = windows_of(tokens)

    assert {n for low, high in windows for n in range(low, high)} == set(range(tokens))
    assert max(high - low for low, high in windows) <= WINDOW_TOKENS


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


def test_pieces_of_one_text_are_bounded() -> None:
    assert len(pieces_of("word " * 1_000_000)) == PIECES_MAX
