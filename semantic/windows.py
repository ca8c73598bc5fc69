"""A long text as pieces and a piece as windows, so that the whole is read: neighbours overlap, nothing is cut out.

Pieces are cut by characters, so that a prompt of a megabyte can be spread over batches without tokenising it first;
windows are cut by tokens, inside a piece that has more of them than the encoder takes.
"""

WINDOW_TOKENS = 254
"""Tokens of one window, without the two special ones around them."""
OVERLAP_TOKENS = 32
"""What two neighbouring windows share, so that nothing is only seen cut in half."""
PIECE_CHARACTERS = 1000
"""Characters of a piece: about 254 tokens of English."""
OVERLAP_CHARACTERS = 120
PIECES_MAX = 512
"""Pieces of one text that are read at most; `Coverage` says what of a longer text was not."""


def windows_of(tokens: int) -> list[tuple[int, int]]:
    """(first, past the last) of each window over so many tokens; no tokens make one empty window."""
    if tokens <= WINDOW_TOKENS:
        return [(0, tokens)]
    step = WINDOW_TOKENS - OVERLAP_TOKENS
    starts = [*range(0, tokens - WINDOW_TOKENS, step), tokens - WINDOW_TOKENS]
    return [(start, start + WINDOW_TOKENS) for start in starts]


def pieces_of(text: str, most: int = PIECES_MAX) -> list[tuple[int, int]]:
    """(first, past the last) of each piece in characters: the first piece, the last, then the others in order.

    The ends of a long prompt say most about it, so they come first when there is no time for all, but for `most`.
    """
    if len(text) <= PIECE_CHARACTERS:
        return [(0, len(text))]
    pieces: list[tuple[int, int]] = []
    start = 0
    while start + PIECE_CHARACTERS < len(text) and len(pieces) < most:
        end = _word_end(text, start + PIECE_CHARACTERS)
        pieces.append((start, end))
        start = end - OVERLAP_CHARACTERS
    last = (max(0, len(text) - PIECE_CHARACTERS), len(text))
    return [pieces[0], last, *pieces[1:]][:most]


def _word_end(text: str, at: int) -> int:
    """The place after the last white space in the overlap before `at`, or `at` itself."""
    for place in range(at, at - OVERLAP_CHARACTERS // 2, -1):
        if text[place - 1].isspace():
            return place
    return at
