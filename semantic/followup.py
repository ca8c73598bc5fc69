"""Whether a user's turn says nothing of its own ("and why?", "what about France?"), so that it belongs to the last one.

English, and nine other languages by their commonest words, each by itself; a few phrases of those that put no spaces
between words, and of some more. A turn it does not know counts as saying something.
"""

import re

from semantic.followup_words import OTHERS, PHRASES

# ruff: noqa: RUF001  # marks of other scripts look like Latin ones
CHARACTERS_MAX = 80
"""A longer turn says something of its own, whatever its words."""
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_EMPTY = frozenset(
    """
    a about again ah all also alright an and any anything are as at bit but by can clarify could cool detail details
    did do does doing don't else elaborate example examples explain far fine first for from further give go going
    good got great had has have he hmm how i i'm if in instead into is isn't it it's its just keep know last less
    let let's like longer look make maybe me mean meaning means more my next no not now of off oh ok okay on once
    one only or other our out over part please point previous really right same saw say says second see she shorter
    should show simpler so some sorry still stop sure tell than thank thanks that that's the their them then there
    these they thing things this those thought to too understand up us version very wait was way we well what what's
    when where which who why will with would wrong yeah yep yes yet you your continue briefly shortly step steps
    """.split()  # noqa: SIM905  # words read best as words
)
_OPENERS = ("and ", "but ", "or ", "then ", "also ", "what about ", "how about ", "what if ", "same for ", "now for ")
_OTHERS = tuple(frozenset(words.split()) for words in OTHERS.values())


def is_follow_up(turn: str) -> bool:
    """No word of its own; or one, after an opener that points back."""
    text = turn.strip().lower()
    if not text or len(text) > CHARACTERS_MAX:
        return False
    bare = text.strip(" ?!.,;:…¿¡？！。，")
    if bare in PHRASES:
        return True
    words = _WORD.findall(text)
    if not words or any(word.isdigit() for word in words):
        return False
    if any(language.issuperset(words) for language in _OTHERS):
        return True
    own = [word for word in words if word not in _EMPTY]
    return not own or (len(own) == 1 and text.startswith(_OPENERS))
