"""Personal data from both tiers: tags of the encoder become spans, and detected spans go before them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from semantic.signals.values import PiiSpan, touching

Array = npt.NDArray[Any]
_CAPITAL_INSIDE = re.compile(r"(?<=[a-z,;'\"(] )[^\W\d_a-z][^\W\d_A-Z]+")
_KINDS = bytes(
    ord("A") if c.isupper() else ord("a") if c.islower() else ord(",") if c in ",;'\"(" else ord(" ") if c == " " else 0
    for c in map(chr, range(128))
).ljust(256, b"\0")
"""What `_CAPITAL_INSIDE` tells apart, in ASCII."""


@dataclass(frozen=True, slots=True)
class PiiSettings:
    """The tags in the order of the encoder, and how sure a span has to be."""

    tags: tuple[str, ...]
    threshold: float
    left_to_detectors: frozenset[str]
    """Types whose form a detector knows: the encoder's guesses of them are dropped."""


def has_capital_inside(text: str) -> bool:
    """Whether a word in the middle of a sentence has a capital first letter, as names do."""
    if text.isascii():
        kinds = text.encode().translate(_KINDS)
        return b"a Aa" in kinds or b", Aa" in kinds
    return any(match[0][0].isupper() for match in _CAPITAL_INSIDE.finditer(text))


def decode(logits: Array, offsets: Sequence[tuple[int, int]], text: str, settings: PiiSettings) -> tuple[PiiSpan, ...]:
    """The spans that the tags of one window draw, in characters of the text; O is tag 0, then B and I of each type."""
    if not len(logits):
        return ()
    best = logits.argmax(axis=1)
    tagged = np.flatnonzero(best)
    if not len(tagged):
        return ()
    powers = np.exp(logits[tagged] - logits[tagged].max(axis=1, keepdims=True))
    sure = powers.max(axis=1) / powers.sum(axis=1)
    spans: list[PiiSpan] = []
    open_at, last, kind = 0, -2, ""
    scores: list[float] = []
    for token, score in zip(tagged.tolist(), sure.tolist(), strict=True):
        mark, found = settings.tags[best[token]].split("-", maxsplit=1)
        start, end = offsets[token]
        goes_on = found == kind and token == last + 1 and (mark == "I" or text[start - 1 : start].isalnum())
        if goes_on:
            spans[-1] = PiiSpan(open_at, end, kind, spans[-1].score)
            scores.append(score)
        else:
            open_at, kind, scores = start, found, [score]
        span = PiiSpan(open_at, end, kind, sum(scores) / len(scores))
        spans = [*spans[:-1], span] if goes_on else [*spans, span]
        last = token
    return _kept(spans, text, settings)


def _kept(spans: Sequence[PiiSpan], text: str, settings: PiiSettings) -> tuple[PiiSpan, ...]:
    """The sure ones, with the parts of one value joined: a name goes on after a hyphen, an address after a comma."""
    joined: list[PiiSpan] = []
    for span in _whole(spans, text):
        last = joined[-1] if joined else None
        if last and last.type == span.type and text[last.end : span.start] in _JOINTS.get(span.type, ()):
            score = max(last.score, span.score)
            joined[-1] = PiiSpan(last.start, span.end, span.type, score)
        else:
            joined.append(span)
    return tuple(s for s in joined if s.score >= settings.threshold and s.type not in settings.left_to_detectors)


def _whole(spans: Sequence[PiiSpan], text: str) -> Iterator[PiiSpan]:
    """Spans of names to the ends of their words: a rare name is many pieces, of which some are passed over.

    Only in scripts with capitals, where a word ends at what is no letter.
    """
    last: PiiSpan | None = None
    for span in spans:
        start, end = span.start, span.end
        if span.type in _NAMES:
            while start > 0 and _is_cased(text[start]) and _is_cased(text[start - 1]):
                start -= 1
            while end < len(text) and _is_cased(text[end - 1]) and _is_cased(text[end]):
                end += 1
        if last is not None and start < last.end:
            if last.type == span.type:
                last = PiiSpan(last.start, max(last.end, end), span.type, max(last.score, span.score))
                continue
            start = max(start, last.end)
        if last is not None:
            yield last
        last = PiiSpan(start, max(start, end), span.type, span.score)
    if last is not None:
        yield last


def _is_cased(character: str) -> bool:
    return character.isupper() or character.islower()


_NAMES = frozenset(("PERSON", "ORGANIZATION", "GPE", "LOCATION", "NRP", "TITLE"))
_NAME_JOINTS = (" ", "-", ". ", ".", "'", " & ", "")
_JOINTS = {
    "PERSON": _NAME_JOINTS,
    "ORGANIZATION": _NAME_JOINTS,
    "GPE": (" ", "-", ""),
    "LOCATION": (" ", "-", ""),
    "STREET_ADDRESS": (" ", "-", ", ", ",", ". ", ".", "/", "\n", ""),
    "PASSWORD": ("",),
    "USERNAME": ("", "_", "."),
    "DATE_TIME": ("", "-", "/", ".", ":", " ", ", "),
}


def shifted(spans: Sequence[PiiSpan], by: int) -> list[PiiSpan]:
    """The spans of a piece, in places of the whole text."""
    return [PiiSpan(span.start + by, span.end + by, span.type, round(span.score, 4)) for span in spans]


def merged(detected: Sequence[PiiSpan], tagged: Sequence[PiiSpan]) -> tuple[PiiSpan, ...]:
    """Detected spans, and tagged ones that touch none of them and no longer tagged one."""
    if not tagged:
        return tuple(detected)
    out = sorted(detected, key=lambda span: span.start)
    for span in sorted(tagged, key=lambda span: (span.start - span.end, span.start)):
        clash = touching(out, span.start, span.end)
        is_address = span.type == "STREET_ADDRESS"
        if all(is_address and other.type == "PHONE_NUMBER" and other.score < 1 for other in out[clash]):
            out[clash] = [span]
    return tuple(out)
