"""From labelled tokens to spans: BIO tags, or bare labels, of neighbours put together. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from semantic.signals.api import Span

OUTSIDE = "O"
GAP_CHARACTERS_MAX = 1
"""Between two tokens of one thing there is a space at most."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """A token's place in the text, its likeliest label, and how likely."""

    start: int
    end: int
    label: str
    score: float


def type_of(label: str) -> str:
    """`B-PERSON` and `I-PERSON` are PERSON."""
    return label[2:] if label[:2] in ("B-", "I-", "E-", "S-", "L-", "U-") else label


def spans_of(tagged: Sequence[Tagged]) -> tuple[Span, ...]:
    """Runs of tokens of one type, each with its best token's score. Windows overlap: what is seen twice counts once."""
    spans: list[Span] = []
    for token in sorted(tagged, key=lambda t: (t.start, t.end)):
        kind = type_of(token.label)
        if kind == OUTSIDE:
            continue
        last = spans[-1] if spans else None
        inside = last is not None and token.start < last.end
        follows = last is not None and token.start - last.end <= GAP_CHARACTERS_MAX and not token.label.startswith("B-")
        if last is not None and last.type == kind and (inside or follows):
            spans[-1] = Span(last.start, max(last.end, token.end), kind, max(last.score, token.score))
        else:
            spans.append(Span(token.start, token.end, kind, token.score))
    return tuple(spans)
