"""From a text to its signals: a glance of tier 0, what it leaves open, and the encoder's answer put in its place.

Synchronous. A head whose answer is missing is left out: unknown is not negative. A head that tier 0 is sure of keeps
its answer when the encoder runs for another head, so that a label does not depend on what else was asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from semantic.onnx import read_tokenizer
from semantic.reading import ConfigError
from semantic.signals.api import Coverage
from semantic.signals.detectors import detect
from semantic.signals.encoder import MODEL, THREADS, Encoded, Encoder, pooled
from semantic.signals.late import LateEncoder
from semantic.signals.ngrams import bytes_of, kept_bytes
from semantic.signals.pii import has_capital_inside, merged, shifted
from semantic.signals.script import hedged, is_latin
from semantic.signals.settings import SHIPPED, Settings, read_settings
from semantic.signals.tier0 import NAMES, Tier0
from semantic.signals.values import Head, Level, PiiSpan, TextSignals, Tier
from semantic.windows import pieces_of

Ask = Literal["auto", "0", "1"]
ENCODED = ("domain", "safety", "difficulty", "code")
ENGLISH = "en"
CODE_BY_DOMAIN = 0.3
"""How much the category says of whether a prompt is about code: titles without a word of code are known by it."""
LETTERS_MIN = 12
"""Fewer letters do not tell a language."""
Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Glance:
    """What tier 0 says, and which heads (or `pii`) it leaves to the encoder."""

    heads: Mapping[str, Head]
    detected: tuple[PiiSpan, ...]
    open: frozenset[str]
    is_english: bool
    coverage: Coverage
    words: Array
    """Logits of tier 0 over all its heads, which count beside the encoder's."""
    is_latin: bool = True
    looked_through: bool = True
    """Whether the detectors have come to the end of the text, where anybody asked for personal data."""


class Engine:
    """Both tiers of a model folder."""

    def __init__(self, folder: Path = SHIPPED, threads: int = THREADS, *, late: bool = False) -> None:
        """Loads everything; some hundred milliseconds, so not on the event loop. ConfigError for a wrong folder.

        `late` leaves the encoder to `encoder.prepare()` or to the first text that asks it.
        """
        self.settings: Settings = read_settings(folder)
        tokenizer = read_tokenizer(folder / "tokenizer.json")
        self.tier0 = Tier0(folder / "tier0.npz", self.settings.tier0_temperatures, tokenizer)
        self._mix = _Mix.of(self.tier0.parts, self.settings.computer_science)
        if not (folder / MODEL).is_file():
            raise ConfigError(str(folder / MODEL), "the model folder has no model.onnx")
        self.encoder = LateEncoder(lambda: Encoder(folder, self.settings, tokenizer, threads))
        if not late:
            self.encoder.prepare()

    def glance(self, text: str, *, personal: bool = True) -> Glance:
        """Tier 0 alone: rules, words and letters. Without `personal`, nobody looks for personal data."""
        words, likely = self.tier0.words(text)
        latin = is_latin(text)
        if not latin:
            part, heat = self.tier0.parts["safety"], self.settings.tier0_temperatures["safety"]
            likely[part] = hedged(likely[part], self.settings.attacks, heat)
        languages = self.tier0.language(text).tolist()
        spoken = dict(zip(self.tier0.languages, languages, strict=True))
        is_english = spoken[ENGLISH] >= self.settings.english_min or _is_too_short_to_tell(text)
        heads = {n: self._head(n, values, is_english, 0) for n, values in self._mix.heads(likely).items()}
        surest = max(languages)
        best = self.tier0.languages[languages.index(surest)]
        heads["language"] = Head(best, spoken, surest < self.settings.language_threshold, 0)
        total = bytes_of(text)
        scanned = min(total, kept_bytes(text))
        left = {name for name in ENCODED if not self._is_sure(name, heads[name], is_english)}
        if "\n" in text.strip():
            left.add("safety")  # an attack inside a document is not to be seen from words alone
        if scanned < total:
            left |= {*ENCODED, "pii"}
        elif not personal or likely[self.tier0.parts[NAMES]][1] >= self.settings.names_sure or has_capital_inside(text):
            left.add("pii")
        found = tuple(detect(text)) if personal else ()
        return Glance(heads, found, frozenset(left), is_english, Coverage(scanned, total), words, latin)

    def signals(
        self,
        text: str,
        glance: Glance,
        pieces: Sequence[tuple[int, int]],
        encoded: Sequence[Encoded | None],
        *,
        everything: bool = False,
    ) -> TextSignals:
        """The glance with the encoder's answers to pieces of the text; None is a piece that was not had in time.

        `everything` takes the encoder's answer for every head it has.
        """
        had = [(piece, answer) for piece, answer in zip(pieces, encoded, strict=True) if answer is not None]
        if not had or had[0][0] != pieces[0]:
            return self._unknown(glance, frozenset({*ENCODED, "pii"}) if everything else glance.open)
        whole = pooled([answer for _, answer in had], self.settings)
        likely = {
            name: joined(whole.likely[name], glance.words[self.tier0.parts[name]], head.blend, head.temperature)
            for name, head in self.settings.encoder.items()
        }
        if not glance.is_latin:
            heat = self.settings.encoder["safety"].temperature
            likely["safety"] = hedged(likely["safety"], self.settings.attacks, heat)
        heads = dict(glance.heads)
        for name in ENCODED if everything else sorted(glance.open.intersection(ENCODED)):
            values = likely_of(name, likely, self.settings.computer_science).tolist()
            heads[name] = self._head(name, values, glance.is_english, 1)
        tagged = {span for (start, _), answer in had for span in shifted(answer.spans, start)}
        coverage = Coverage(_bytes_of(text, [piece for piece, _ in had]), glance.coverage.total_bytes)
        complete = coverage.scanned_bytes == coverage.total_bytes and glance.looked_through
        spans = merged(glance.detected, tuple(tagged))
        return TextSignals(heads, spans, coverage, "full" if complete else "degraded", 1, complete, whole.embedding)

    def at_tier0(self, glance: Glance, left: frozenset[str]) -> TextSignals:
        """The glance alone; `full` when it left open nothing that is wanted."""
        level: Level = "degraded" if left else "full"
        return TextSignals(glance.heads, glance.detected, glance.coverage, level, 0, "pii" not in glance.open)

    def read(self, texts: Sequence[str], tier: Ask = "auto") -> list[TextSignals]:
        """Signals of each text, in order; blocking, for offline use."""
        glances = [self.glance(text) for text in texts]
        out = [self.at_tier0(glance, glance.open) for glance in glances]
        asked = [n for n, glance in enumerate(glances) if tier == "1" or (tier == "auto" and glance.open)]
        pieces = {n: pieces_of(texts[n]) for n in asked}
        flat = [texts[n][start:end] for n in asked for start, end in pieces[n]]
        answers = iter(self.encoder.classify(flat))
        for n in asked:
            had = [next(answers) for _ in pieces[n]]
            out[n] = self.signals(texts[n], glances[n], pieces[n], had, everything=tier == "1")
        return out

    def _unknown(self, glance: Glance, left: frozenset[str]) -> TextSignals:
        """The glance without the heads left open: the encoder was wanted and did not answer."""
        known = {name: head for name, head in glance.heads.items() if name not in left}
        return TextSignals(known, glance.detected, glance.coverage, "degraded", 0, "pii" not in (left | glance.open))

    def _head(self, name: str, values: list[float], is_english: bool, tier: Tier) -> Head:
        head = self.settings.encoder[name]
        named = dict(zip(head.labels, values, strict=True))
        label = head.labels[values.index(max(values))]
        if name == "safety":
            risk = named["injection"] + named["jailbreak"]
            # A look-alike is acted upon only where one benign text in twenty would be.
            abstained = label in ("injection", "jailbreak") and risk < self.settings.risk_threshold
        else:
            abstained = named[label] < head.threshold or (name != "code" and not is_english)
        return Head(label, named, abstained, tier)

    def _is_sure(self, name: str, head: Head, is_english: bool) -> bool:
        if not is_english and name in ("domain", "difficulty"):
            return True  # the encoder reads English only: it would abstain as well
        if name == "safety" and head.label != "benign":
            return False
        return head.confidence >= self.settings.encoder[name].sure


@dataclass(frozen=True, slots=True)
class _Mix:
    """`likely_of` for every head at once, of a row of tier 0: a matrix and what it adds to."""

    matrix: Array
    base: Array
    places: Mapping[str, slice]

    @classmethod
    def of(cls, parts: Mapping[str, slice], computer_science: int) -> "_Mix":
        """Told by what `likely_of` makes of zeros, and of a one in each place."""
        width = max(part.stop for part in parts.values())
        given = np.concatenate([np.zeros((1, width), np.float32), np.eye(width, dtype=np.float32)])
        likely = {name: given[:, part] for name, part in parts.items()}
        made = [likely_of(name, likely, computer_science) for name in ENCODED]
        ends = np.cumsum([values.shape[1] for values in made]).tolist()
        whole = np.concatenate(made, axis=1)
        return cls(whole[1:] - whole[0], whole[0], dict(zip(ENCODED, map(slice, [0, *ends], ends), strict=True)))

    def heads(self, row: Array) -> dict[str, list[float]]:
        """The probabilities of each head, in the order of its labels."""
        values = (row @ self.matrix + self.base).tolist()
        return {name: values[place] for name, place in self.places.items()}


def joined(encoded: Array, words: Array, blend: float, temperature: float) -> Array:
    """Calibrated probabilities of a head from the encoder's and, raised to `blend`, those of tier 0.

    A product of experts (Hinton, 1999): words that the training rows had speak where the encoder is torn.
    """
    logits = np.log(np.maximum(encoded, 1e-9))
    if blend:
        logits = logits + blend * (words - np.logaddexp.reduce(words))
    powers = np.exp((logits - logits.max()) / temperature)
    return np.asarray(powers / powers.sum(), dtype=np.float32)


def likely_of(name: str, likely: Mapping[str, Array], computer_science: int) -> Array:
    """A head's probabilities, for one text or for rows; `computer_science` is that category's place.

    Hard is what small models fail at or what takes steps: the mean of the two heads. Code is in part the category.
    """
    if name == "difficulty":
        return np.asarray((likely["difficulty"] + likely["reasoning"]) / 2, dtype=np.float32)
    if name == "code":
        by_domain = likely["domain"][..., computer_science, None]
        both = np.concatenate([1 - by_domain, by_domain], axis=-1)
        return np.asarray((1 - CODE_BY_DOMAIN) * likely["code"] + CODE_BY_DOMAIN * both, dtype=np.float32)
    return likely[name]


def _is_too_short_to_tell(text: str) -> bool:
    """A word or two of Latin letters are no sign of another language."""
    return text.isascii() and sum(map(str.isalpha, text[:LETTERS_MIN])) + max(0, len(text) - LETTERS_MIN) < LETTERS_MIN


def _bytes_of(text: str, pieces: Sequence[tuple[int, int]]) -> int:
    """Bytes in the union of the pieces."""
    count = at = 0
    for start, end in sorted(pieces):
        if end > at:
            count += bytes_of(text[max(start, at) : end])
            at = end
    return count
