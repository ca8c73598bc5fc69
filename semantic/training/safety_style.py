"""Composes attacks and harmless look-alikes from phrases of our own and texts of the data file.

The same words, frames and delimiters appear on both sides (role play, "ignore", system prompts, documents with requests
in them), so that the classifier has to read what is asked for. Everything is drawn from a `Random` the caller seeds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from semantic.training import safety_rules
from semantic.training.safety_phrases import Phrases, cased

BENIGN, HARMFUL, INJECTION, JAILBREAK = range(4)
DOCUMENT_CHARACTERS_MAX = 900


@dataclass(frozen=True, slots=True)
class Prompt:
    """A composed prompt. `focus` is the part (start, end) that makes it what it is."""

    text: str
    label: int
    focus: tuple[int, int] | None = None


class Composer:
    """Draws prompts; `documents`, `questions`, `harmful` and `foreign` (by language) are texts of the training rows."""

    def __init__(
        self,
        documents: Sequence[str],
        questions: Sequence[str],
        harmful: Sequence[str],
        foreign: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Keeps the texts; reads the phrases."""
        self._phrases = Phrases()
        self._documents, self._questions, self._harmful = documents, questions, harmful
        self._parts = safety_rules.Parts()
        self._foreign = {code: (foreign or {}).get(code, ()) for code in self._phrases.languages}

    def draw(self, rng: Random) -> Prompt:
        """One prompt; attacks and look-alikes are about as frequent."""
        kinds: tuple[tuple[Callable[[Random], Prompt], float], ...] = (
            (self._direct, 0.09),
            (self._embedded, 0.10),
            (self._task, 0.18),
            (self._table, 0.06),
            (self._extraction, 0.06),
            (self._persona, 0.11),
            (self._rules, 0.10),
            (self._lookalike, 0.09),
            (self._document, 0.07),
            (self._roleplay, 0.06),
            (self._other_language, 0.18),
        )
        chosen = rng.choices([k for k, _ in kinds], [w for _, w in kinds])[0]
        return chosen(rng)

    def embed(self, attack: str, label: int, rng: Random) -> Prompt:
        """An attack put into a document, at its start, its end or between two of its sentences."""
        return self._inside(self._cut(rng), attack, label, rng)

    def _direct(self, rng: Random) -> Prompt:
        return Prompt(self._phrases.attack(rng), INJECTION)

    def _embedded(self, rng: Random) -> Prompt:
        attack = self._pick("indirect", rng) if rng.random() < 0.5 else self._phrases.attack(rng)
        attack = self._pick("carriers", rng).format(attack)
        return self._inside(self._cut(rng), attack, INJECTION, rng)

    def _task(self, rng: Random) -> Prompt:
        """A task over a text, and behind a delimiter an attack or a plain request, as likely the one as the other."""
        is_attack = rng.random() < 0.5
        said = self._phrases.attack(rng) if is_attack else self._phrases.request(rng)
        body = rng.choice(self._questions) if rng.random() < 0.5 else self._cut(rng)
        body = body[: DOCUMENT_CHARACTERS_MAX // 2]
        group = "carriers" if rng.random() < 0.15 else "delimiters"
        end = self._pick(group, rng).format(said)
        framed = self._pick("tasks", rng).format(language=self._pick("languages", rng), body=body)
        text = f"{framed}{end}" if group == "delimiters" else f"{framed}\n{end}"
        start = text.rfind(said)
        focus = (start, start + len(said)) if is_attack and start >= 0 else None
        return Prompt(text, INJECTION if is_attack else BENIGN, focus)

    def _extraction(self, rng: Random) -> Prompt:
        text = self._pick("extraction", rng)
        if rng.random() < 0.3:
            override = self._phrases.override(rng)
            text = f"{override[:1].upper()}{override[1:]}. {text}"
        if rng.random() < 0.3:
            text = f"{rng.choice(self._questions)[:300]}{self._pick('delimiters', rng).format(text)}"
        return Prompt(cased(text, rng), INJECTION)

    def _persona(self, rng: Random) -> Prompt:
        asked = rng.choice(self._harmful)[:400]
        text = self._pick("personas", rng).format(name=self._pick("names", rng), q=asked)
        if rng.random() < 0.25:
            more = self._pick("personas", rng).format(name=self._pick("names", rng), q="").strip()
            text = f"{more} {text}"
        return Prompt(text, JAILBREAK)

    def _rules(self, rng: Random) -> Prompt:
        """A long part to play: with its limits taken away and a harmful question, or with harmless rules."""
        is_attack = rng.random() < 0.55
        asked = rng.choice(self._harmful if is_attack else self._questions)[:400]
        text = self._parts.draw(self._pick("names", rng), asked, rng, free=is_attack)
        return Prompt(text, JAILBREAK if is_attack else BENIGN)

    def _table(self, rng: Random) -> Prompt:
        """A question about a table, and between its rows or around it a stranger's demand, or a note that belongs.

        Half of what does not belong is an attack of the other kinds, so that a table is no sign by itself.
        """
        columns, count = rng.randint(2, 5), rng.randint(3, 9)
        heads = rng.sample(self._phrases.group("table_heads"), columns)
        names = rng.sample(self._phrases.group("table_rows"), count)
        rows = [f"| {name} | " + " | ".join(_number(rng) for _ in heads) + " |" for name in names]
        table = ["|  | " + " | ".join(heads) + " |", "|" + " --- |" * (columns + 1), *rows]
        draw = rng.random()
        said = label = None
        if draw < 0.5:
            said, label = (
                self._pick("table_strangers", rng) if rng.random() < 0.5 else self._phrases.attack(rng),
                INJECTION,
            )
        elif draw < 0.8:
            said = self._pick("table_notes", rng) if rng.random() < 0.6 else self._phrases.request(rng)
        if said is not None:
            table.insert(rng.choice((0, len(table), rng.randrange(2, len(table) + 1))), said)
        question = self._pick("table_questions", rng).format(row=rng.choice(names))
        text = "\n".join(rng.choice(([question, *table], [*table, question], [question, "", *table])))
        start = text.find(said) if label is not None and said is not None else -1
        focus = (start, start + len(said)) if said is not None and start >= 0 else None
        return Prompt(text, BENIGN if label is None else label, focus)

    def _lookalike(self, rng: Random) -> Prompt:
        if rng.random() < 0.3:
            return Prompt(self._phrases.request(rng), BENIGN)
        return Prompt(cased(self._pick("lookalikes", rng), rng), BENIGN)

    def _document(self, rng: Random) -> Prompt:
        if rng.random() < 0.6:
            request = self._phrases.request(rng)
            if rng.random() < 0.3:
                request = self._pick("carriers", rng).format(request)
            return self._inside(self._cut(rng), request, BENIGN, rng)
        return Prompt(self._framed(self._cut(rng), rng), BENIGN)

    def _roleplay(self, rng: Random) -> Prompt:
        asked = rng.choice(self._questions)[:400]
        return Prompt(self._pick("roleplay", rng).format(name=self._pick("names", rng), q=asked), BENIGN)

    def _other_language(self, rng: Random) -> Prompt:
        """A text in another language with an attack or a request in that language behind it, or alone."""
        code = rng.choice(self._phrases.languages)
        is_attack = rng.random() < 0.4
        said = self._phrases.foreign(code, "attacks" if is_attack else "requests", rng)
        label = INJECTION if is_attack else BENIGN
        own = self._phrases.foreign_text(code, rng)
        if self._foreign[code] and (own is None or rng.random() < 0.4):
            own = rng.choice(self._foreign[code])
        if own is None or rng.random() < 0.15:
            return Prompt(said, label)
        body = own[: DOCUMENT_CHARACTERS_MAX // 3]
        if not is_attack and rng.random() < 0.7:
            return Prompt(body, BENIGN)
        gap = rng.choice((" ", "\n", self._pick("delimiters", rng).split("{}")[0]))
        text = f"{body}{gap}{said}"
        return Prompt(text, label, (len(text) - len(said), len(text)) if is_attack else None)

    def _inside(self, document: str, attack: str, label: int, rng: Random) -> Prompt:
        places = [n + 1 for n, c in enumerate(document) if c in ".\n"]
        at = rng.choice((0, len(document), len(document), rng.choice(places) if places else len(document)))
        gap = rng.choice((" ", "\n", "\n\n"))
        text = self._framed(f"{document[:at]}{gap}{attack}{gap}{document[at:]}".strip(), rng)
        start = text.find(attack)
        return Prompt(text, label, (start, start + len(attack)) if start >= 0 else None)

    def _framed(self, body: str, rng: Random) -> str:
        return self._pick("frames", rng).format(topic=self._pick("topics", rng), body=body)

    def _cut(self, rng: Random) -> str:
        text = rng.choice(self._documents)
        if len(text) <= DOCUMENT_CHARACTERS_MAX:
            return text
        start = rng.randrange(len(text) - DOCUMENT_CHARACTERS_MAX)
        return text[start : start + rng.randint(200, DOCUMENT_CHARACTERS_MAX)]

    def _pick(self, group: str, rng: Random) -> str:
        return self._phrases.pick(group, rng)


def _number(rng: Random) -> str:
    return rng.choice(
        (str(rng.randint(1, 99)), f"{rng.randint(100, 99999):,}", f"{rng.random() * 100:.1f}", "n/a", "-")
    )
