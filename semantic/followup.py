"""Whether a user's turn says nothing of its own ("and why?", "what about France?"), so that it belongs to the last one.

English, and the commonest such turns of a few other languages; a turn it does not know counts as saying something.
"""

import re

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
# ruff: noqa: RUF001  # other scripts have letters and signs that look like Latin ones
_ELSEWHERE = frozenset(
    {
        *("por qué", "y por qué", "continúa", "más", "sigue", "gracias", "pourquoi", "et pourquoi", "encore", "merci"),
        *("warum", "und warum", "weiter", "mehr", "danke", "genauer", "perché", "continua", "grazie", "por quê"),
        *("mais", "obrigado", "почему", "а почему", "продолжай", "ещё", "为什么", "为什么呢", "继续", "然后呢"),
        *("还有呢", "谢谢", "なぜ", "続けて", "もっと", "왜", "계속"),
    }
)


def is_follow_up(turn: str) -> bool:
    """No word of its own; or one, after an opener that points back."""
    text = turn.strip().lower()
    if not text or len(text) > CHARACTERS_MAX:
        return False
    bare = text.strip(" ?!.,;:…¿¡？！。，")
    if bare in _ELSEWHERE:
        return True
    words = _WORD.findall(text)
    if not words or any(word.isdigit() for word in words):
        return False
    own = [word for word in words if word not in _EMPTY]
    return not own or (len(own) == 1 and text.startswith(_OPENERS))
