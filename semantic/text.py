"""What of a conversation is classified: the last thing the user said, with earlier turns when that is short."""

from collections.abc import Sequence

SHORT_CHARACTERS = 32
"""A last message shorter than this ("and why?", "what about France?") says little without what came before it."""
CONTEXT_CHARACTERS_MAX = 600
"""At most this much of the earlier user messages goes before a short one; the nearest are kept."""


def to_classify(messages: Sequence[tuple[str, str]]) -> str | None:
    """The text to classify, or None when the user wrote none (only an image, say). Input is (role, text) in order."""
    said = [text.strip() for role, text in messages if role == "user" and text.strip()]
    if not said:
        return None
    last = said.pop()
    if len(last) >= SHORT_CHARACTERS:
        return last
    room = CONTEXT_CHARACTERS_MAX
    turns = [last]
    while said and room > 0:
        # The end of a long earlier turn is nearest to the follow-up.
        earlier = said.pop()[-room:]
        room -= len(earlier)
        turns.append(earlier)
    return "\n".join(reversed(turns))
