"""Keyword signals: literal words and patterns, BM25, character n-grams, Levenshtein.

Patterns are RE2's, as vSR's are: they take time in proportion to the text, whatever they say (Cox, 2007).
Sources: vSR's keyword methods and their defaults (bm25 0.1, n-grams 0.4 over 3 characters, fuzzy in percent); BM25 as
in Robertson and Zaragoza (2009), k1 1.2 and b 0.75, each keyword a document and the prompt the query.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import re2

from semantic.judges.known import Declared, Known
from semantic.rules import NO, UNKNOWN, Key, Verdict, yes

Method = Literal["regex", "bm25", "ngram", "fuzzy"]
Operator = Literal["AND", "OR", "NOR"]
K1, B = 1.2, 0.75
WORDS_MAX = 20_000
"""Distinct groups of words that are compared one by one; a longer text counts as unknown, not as without a match."""
COMPARED_CHARACTERS_MAX = 400_000
"""Likewise of characters."""
SLICE_CHARACTERS = 8_000
_WORD = re.compile(r"\w+")
_PATTERN = re.compile(r"[\\\[(|^${]")
_SUFFIXES = ("ing", "ed", "es", "s")
STEM_MIN = 3
ROUNDING = 1e-9  # 1 - 0.9 is a little less than 0.1
SPACELESS = 0x2E80
"""From here on in Unicode: Chinese, Japanese and their neighbours."""


@dataclass(frozen=True)
class Keywords(Declared):
    """Words in the last turn; compiled once."""

    operator: Operator
    keywords: tuple[str, ...]
    method: Method = "regex"
    case_sensitive: bool = False
    threshold: float = 0.0
    arity: int = 3

    @property
    def key(self) -> Key:
        """As conditions name it."""
        return ("keyword", self.name)

    def judge(self, known: Known) -> Iterator[tuple[Key, Verdict]]:
        """Over what the user said last."""
        yield self.key, self._judge(known.last)

    def _judge(self, text: str) -> Verdict:
        if not self.case_sensitive:
            text = text.lower()
        if self.method == "regex":
            raw = text.encode(errors="replace") if self.has_patterns else b""
            return self._combined([float(self._found(n, word, text, raw)) for n, word in enumerate(self._given)])
        if self.method == "bm25":
            return self._combined(self._bm25.scores(text))
        windows = _windows(text, {len(words) for words in self._split})
        if windows is None:
            return UNKNOWN
        alike = _fuzzy if self.method == "fuzzy" else self._ngrams
        probed = zip(self._split, self._probes, strict=True)
        return self._combined(
            [alike(" ".join(words), _lines(windows[len(words)], probe), self.threshold) for words, probe in probed]
        )

    def _found(self, place: int, word: str, text: str, raw: bytes) -> bool:
        """As a whole word, or as the pattern that it may be."""
        pattern = self._patterns[place]
        return is_within(word, text) or (pattern is not None and pattern.search(raw) is not None)

    def _combined(self, scores: Sequence[float]) -> Verdict:
        """A score counts from the threshold on; one of 0 never does."""
        hits = [score for score in scores if score > 0 and score >= self.threshold]
        if self.operator == "NOR":
            return NO if hits else yes()
        holds = len(hits) == len(scores) if self.operator == "AND" else bool(hits)
        return yes(min(1.0, max(hits))) if holds and hits else NO

    def _ngrams(self, word: str, windows: Iterable[str], threshold: float) -> float:
        own = _grams(word, self.arity)
        return max((_overlap(own, _grams(window, self.arity)) for window in windows), default=0.0)

    @cached_property
    def _given(self) -> tuple[str, ...]:
        return self.keywords if self.case_sensitive else tuple(word.lower() for word in self.keywords)

    @cached_property
    def _split(self) -> list[list[str]]:
        return [_WORD.findall(word) or [word] for word in self._given]

    @cached_property
    def has_patterns(self) -> bool:
        """Whether some keyword is more than a word."""
        return any(self._patterns)

    @cached_property
    def _patterns(self) -> list["re2._Regexp | None"]:
        return [pattern_of(word, case_sensitive=self.case_sensitive) for word in self.keywords]

    @cached_property
    def _probes(self) -> list[re.Pattern[str]]:
        """What a group of words must have in it to be worth comparing with each keyword."""
        words = [" ".join(words) for words in self._split]
        if self.method == "fuzzy":
            return [_any_of(map(re.escape, _pieces(word, self.threshold))) for word in words]
        return [_any_of(_shared(word, self.arity, self.threshold)) for word in words]

    @cached_property
    def _bm25(self) -> "_Bm25":
        return _Bm25([[_stem(word) for word in words] for words in self._split])


def pattern_of(keyword: str, *, case_sensitive: bool = True) -> "re2._Regexp | None":
    """The pattern, for UTF-8, that a keyword with the signs of one is; None for a plain word, and for what is none."""
    if not _PATTERN.search(keyword):
        return None
    options = re2.Options()
    options.case_sensitive, options.log_errors = case_sensitive, False
    try:
        return re2.compile(keyword.encode(errors="replace"), options)
    except re2.error:
        return None


def is_too_much(keyword: str) -> bool:
    """Whether it is a pattern of Python and other languages, but not of RE2: one that may take endless time."""
    if not _PATTERN.search(keyword) or pattern_of(keyword) is not None:
        return False
    try:
        re.compile(keyword)
    except (re.error, OverflowError, RecursionError):
        return False
    return True


def is_within(word: str, text: str) -> bool:
    """Whether a text has this very word, with no letter or digit at either end where the word itself has one.

    Scripts that put no spaces between words have no ends to look at.
    """
    joined = any(ord(character) >= SPACELESS for character in word)
    before, after = not joined and _is_letter(word[:1]), not joined and _is_letter(word[-1:])
    at = text.find(word) if word else -1
    while at >= 0:
        end = at + len(word)
        if not (before and _is_letter(text[at - 1 : at])) and not (after and _is_letter(text[end : end + 1])):
            return True
        at = text.find(word, at + 1)
    return False


def _is_letter(character: str) -> bool:
    return character.isalnum() or character == "_"


class _Bm25:
    """Each keyword a document; the prompt's words are the query."""

    def __init__(self, documents: Sequence[Sequence[str]]) -> None:
        self._documents = [Counter(document) for document in documents]
        self._lengths = [len(document) for document in documents]
        self._mean = sum(self._lengths) / max(1, len(self._lengths))
        seen = Counter(word for document in self._documents for word in document)
        count = len(documents)
        self._idf = {word: math.log(1 + (count - n + 0.5) / (n + 0.5)) for word, n in seen.items()}

    def scores(self, text: str) -> list[float]:
        asked = {_stem(word) for word in set(_words(text))} & self._idf.keys()
        return [
            self._score(document, length, asked)
            for document, length in zip(self._documents, self._lengths, strict=True)
        ]

    def _score(self, document: Counter[str], length: int, asked: set[str]) -> float:
        norm = K1 * (1 - B + B * length / self._mean)
        return sum(
            self._idf[word] * document[word] * (K1 + 1) / (document[word] + norm) for word in asked if word in document
        )


def _stem(word: str) -> str:
    """Plurals and the commonest verb endings, so that `debugging` finds `debug`."""
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= STEM_MIN:
            stem = word[: -len(suffix)]
            return stem[:-1] if suffix in ("ing", "ed") and len(stem) > STEM_MIN and stem[-1] == stem[-2] else stem
    return word


def _words(text: str) -> list[str]:
    """In slices: one call over a long text would hold the interpreter, in whatever thread."""
    found: list[str] = []
    at = 0
    while at < len(text):
        past = at + SLICE_CHARACTERS
        while past < len(text) and _is_letter(text[past]):
            past += 1
        found += _WORD.findall(text, at, past)
        at = past
    return found


def _windows(text: str, sizes: set[int]) -> dict[int, str] | None:
    """The distinct groups of so many words that follow each other, a line each; None where they are too many."""
    if len(text) > COMPARED_CHARACTERS_MAX:
        return None
    words = _words(text)
    out = {size: {" ".join(words[at : at + size]) for at in range(len(words) - size + 1)} for size in sizes}
    return None if sum(map(len, out.values())) > WORDS_MAX else {size: "\n".join(lines) for size, lines in out.items()}


def _lines(lines: str, probe: re.Pattern[str]) -> Iterator[str]:
    """Those with the probe in them: found natively, as nearly all lines have nothing of a keyword in them."""
    at = 0
    while (found := probe.search(lines, at)) is not None:
        start = lines.rfind("\n", 0, found.start()) + 1
        end = lines.find("\n", found.end())
        yield lines[start:] if end < 0 else lines[start:end]
        if end < 0:
            return
        at = end + 1


def _any_of(parts: Iterable[str]) -> re.Pattern[str]:
    """Any of these patterns; anything where one of them is empty."""
    return re.compile("|".join(sorted(set(parts))), re.MULTILINE)


def _shared(word: str, arity: int, threshold: float) -> list[str]:
    """What a group of words (a line) with enough of the word's n-grams has in it.

    An n-gram from inside of the word, or the word's first and last letters together: with less, it shares at most the
    2 n - 3 n-grams of one end and most of the other. Where that may be enough already, any n-gram at all.
    """
    inner = [re.escape(word[at : at + arity]) for at in range(len(word) - arity + 1)]
    first, last = re.escape(word[: arity - 1]), re.escape(word[len(word) - arity + 1 :])
    grams = len(word) + arity - 1
    if arity > 1 and len(word) >= arity and 2 * arity - 3 < threshold * (grams + arity) / (1 + threshold):
        return [*inner, f"^{first}[^\n]*{last}$"]
    return [*inner, f"^{re.escape(word[:1])}", f"{re.escape(word[-1:])}$"]


def _pieces(word: str, threshold: float) -> list[str]:
    """One piece more than there may be edits: of what is similar enough, one piece is untouched (pigeonholes)."""
    edits = int(len(word) / threshold * (1 - threshold) + ROUNDING) if threshold > 0 else len(word)
    size = len(word) // (edits + 1)
    if size == 0:
        return [""]
    return [word[at * size : (at + 1) * size] for at in range(edits + 1)]


def _grams(word: str, arity: int) -> Counter[str]:
    around = " " * (arity - 1)  # the first and last letters count as often as those between
    padded = f"{around}{word}{around}"
    return Counter(padded[at : at + arity] for at in range(max(1, len(padded) - arity + 1)))


def _overlap(one: Counter[str], other: Counter[str]) -> float:
    """Shared n-grams of all n-grams (Jaccard over multisets)."""
    shared = (one & other).total()
    return shared / (one.total() + other.total() - shared)


def _fuzzy(word: str, windows: Iterable[str], threshold: float) -> float:
    """The best similarity 1 - distance / length; what cannot reach the threshold is not computed."""
    letters = Counter(word)
    best = 0.0
    for window in windows:
        longest = max(len(word), len(window))
        allowed = int(longest * (1 - threshold) + ROUNDING)
        if abs(len(word) - len(window)) > allowed:
            continue
        # Each edit changes at most one letter on either side: a lower bound that costs little.
        if max((letters - Counter(window)).total(), (Counter(window) - letters).total()) > allowed:
            continue
        distance = _distance(word, window)
        if distance <= allowed:
            best = max(best, 1 - distance / longest)
    return best


def _distance(one: str, other: str) -> int:
    """Levenshtein's."""
    row = list(range(len(other) + 1))
    for n, left in enumerate(one, start=1):
        before, row[0] = row[0], n
        for m, right in enumerate(other, start=1):
            before, row[m] = row[m], min(row[m] + 1, row[m - 1] + 1, before + (left != right))
    return row[-1]
