"""What of a long text the encoder reads: its head and its tail, in characters first and in tokens after.

The cut in characters bounds the tokeniser's work, so that a prompt of a megabyte costs no more than a page.
"""

from collections.abc import Sequence

HEAD_SHARE = 0.5
"""Half of the room for the head, half for the tail: a long prompt names its task at one end or the other."""
CHARACTERS_PER_TOKEN_MAX = 12
"""Characters kept for each token of room. English has about 4; the rest is margin for white space and long words."""


def characters_within(text: str, max_tokens: int) -> str:
    """The text, or its head and tail when it is longer than the encoder could read."""
    limit = max_tokens * CHARACTERS_PER_TOKEN_MAX
    if len(text) <= limit:
        return text
    head = int(limit * HEAD_SHARE)
    return f"{text[:head]} {text[len(text) - (limit - head) :]}"


def ids_within(ids: Sequence[int], max_tokens: int) -> Sequence[int]:
    """The token ids, or their head and tail when they are too many; the first and last (special) ones stay."""
    if len(ids) <= max_tokens:
        return ids
    head = int(max_tokens * HEAD_SHARE)
    return [*ids[:head], *ids[len(ids) - (max_tokens - head) :]]
