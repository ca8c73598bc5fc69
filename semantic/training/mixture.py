"""What one epoch of the multi-head training sees: a balanced draw of every task, as token windows with labels.

A row has labels for one task only; the others are NOTHING, and their heads do not learn from it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from semantic.shapes import shape_codes
from semantic.training import code_style, pii_style, user_style
from semantic.training.rows import Row
from semantic.training.safety_style import BENIGN, HARMFUL, INJECTION, Composer, Prompt
from semantic.training.tasks import LABELS, PII_TAGS, Example, family

Array = npt.NDArray[Any]
NOTHING = -100
TASKS = (*LABELS, "pii")
MAX_TOKENS = 256
_CLS, _SEP = 101, 102

# XSafety marks questions about prompts, and role play of any kind, as attacks: little of it, so that it does not rule.
NOISY = ("xsafety/",)
NOISY_WEIGHT = 0.25


@dataclass(frozen=True, slots=True)
class Shares:
    """How many rows of each task an epoch draws, and how they are made."""

    domain: int = 46_000
    domain_prompts: int = 14_000
    safety: int = 10_000
    safety_composed: int = 16_000
    safety_foreign: int = 1_500
    """Harmless texts in other languages as they are: another script is no sign of an attack."""
    difficulty: int = 7_000
    reasoning: int = 3_500
    code: int = 5_000
    code_composed: int = 4_000
    pii: int = 8_000
    pii_composed: int = 4_000
    as_it_is: bool = False
    """Rows drawn alike and left alone: what a plain fine-tune sees."""

    @property
    def counts(self) -> dict[str, int]:
        """How many rows of each kind."""
        return {name: int(value) for name, value in asdict(self).items() if name != "as_it_is"}

    @property
    def rows(self) -> int:
        """The rows of an epoch."""
        return sum(self.counts.values())

    def shrunk(self, by: float) -> "Shares":
        """The same in proportion, with fewer rows."""
        fewer = {name: int(value * by) for name, value in self.counts.items()}
        return Shares(**fewer, as_it_is=self.as_it_is)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One row of an epoch."""

    task: str
    text: str
    label: int
    spans: tuple[tuple[int, int, str], ...] = ()
    focus: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded arrays of one step: ids, mask and shape codes by token, one label column per task, tags by token."""

    ids: Array
    mask: Array
    shapes: Array
    labels: Array
    tags: Array


class Mixture:
    """Draws epochs from the training rows of one fold."""

    def __init__(self, examples: Sequence[Example], tokenizer: Tokenizer, seed: int, shares: Shares) -> None:
        """Sorts the rows by task and prepares the sampling weights."""
        self._rng = Random(seed)
        self._chance = np.random.default_rng(seed)
        self._tokenizer = tokenizer
        self._shares = shares
        self._by_task = {task: [e for e in examples if e.task == task] for task in TASKS}
        self._likely = {task: _sampling(rows, even=shares.as_it_is) for task, rows in self._by_task.items()}
        self._foreign: list[str] = []
        if shares.as_it_is:
            return
        safety = self._by_task["safety"]
        benign = [e.text for e in safety if e.label == BENIGN]
        questions = [e.text for e in self._by_task["domain"] if len(e.text) < 400]
        harmful = [e.text for e in safety if e.label == HARMFUL and not e.source.startswith(NOISY)]
        foreign: dict[str, list[str]] = {}
        for e in examples:
            if e.task == "foreign":
                self._foreign.append(e.text)
                foreign.setdefault(e.source.rsplit("#", maxsplit=1)[-1], []).append(e.text)
        self._composer = Composer(benign + questions[::4], questions, harmful, foreign)
        self._requests = code_style.Requests()
        self._filler = pii_style.Filler(self._by_task["pii"])

    def epoch(self) -> list[Drawn]:
        """The rows of one epoch, in no order."""
        s = self._shares
        drawn = [self._domain(e) for e in self._pick("domain", s.domain)]
        prompts = user_style.prompts(s.domain_prompts, self._rng)
        drawn += [Drawn("domain", row.text, row.label) for row in prompts]
        drawn += [self._safety(e) for e in self._pick("safety", s.safety)]
        drawn += [self._composed(self._composer.draw(self._rng)) for _ in range(s.safety_composed)]
        if self._foreign:
            texts = self._rng.choices(self._foreign, k=s.safety_foreign)
            drawn += [Drawn("safety", self._scuffed(text), BENIGN) for text in texts]
        for task, count in (("difficulty", s.difficulty), ("reasoning", s.reasoning), ("code", s.code)):
            drawn += [Drawn(task, self._scuffed(e.text), e.label) for e in self._pick(task, count)]
        drawn += [self._code(*self._requests.draw(self._rng)) for _ in range(s.code_composed)]
        drawn += [self._pii(e) for e in self._pick("pii", s.pii)]
        drawn += [self._pii(self._filler.draw(self._rng)) for _ in range(s.pii_composed)]
        return drawn

    def batches(self, size: int) -> Iterator[Batch]:
        """The epoch as batches from the shortest rows to the longest; the rest of a batch is dropped."""
        drawn = self.epoch()
        encodings = self._tokenizer.encode_batch_fast([d.text for d in drawn], add_special_tokens=False)
        if any(d.task == "pii" for d in drawn):
            where = [n for n, d in enumerate(drawn) if d.task == "pii"]
            exact = self._tokenizer.encode_batch([drawn[n].text for n in where], add_special_tokens=False)
            for n, encoding in zip(where, exact, strict=True):
                encodings[n] = encoding
        rows = [self._row(d, e) for d, e in zip(drawn, encodings, strict=True)]
        order = sorted(range(len(rows)), key=lambda n: (len(rows[n][0]), self._rng.random()))
        for at in range(0, len(order) - size + 1, size):
            chosen = order[at : at + size]
            yield _padded([drawn[n] for n in chosen], [rows[n] for n in chosen])

    def _pick(self, task: str, count: int) -> list[Example]:
        rows = self._by_task[task]
        if not rows or not count:
            return []
        places = self._chance.choice(len(rows), count, p=self._likely[task], replace=True)
        return [rows[n] for n in places]

    def _domain(self, example: Example) -> Drawn:
        row = Row(example.text, example.label, example.source)
        return Drawn(
            "domain", row.text if self._shares.as_it_is else user_style.roughen(row, self._rng).text, row.label
        )

    def _safety(self, example: Example) -> Drawn:
        draw = self._rng.random()
        if self._shares.as_it_is:
            return Drawn("safety", example.text, example.label)
        if example.label == INJECTION and not example.source.startswith(NOISY):
            if "\n|" in example.text:
                return Drawn("safety", example.text, example.label, focus=_stranger(example.text))
            if draw < 0.3 and len(example.text) < 300:
                return self._composed(self._composer.embed(example.text, example.label, self._rng))
        return Drawn("safety", self._scuffed(example.text), example.label)

    def _composed(self, prompt: Prompt) -> Drawn:
        if self._rng.random() < 0.8:
            return Drawn("safety", prompt.text, prompt.label, focus=prompt.focus)
        return Drawn("safety", self._scuffed(prompt.text), prompt.label)

    def _code(self, text: str, label: int) -> Drawn:
        return Drawn("code", self._scuffed(text), label)

    def _pii(self, example: Example) -> Drawn:
        if self._shares.as_it_is:
            return Drawn("pii", example.text, NOTHING, spans=example.spans)
        if example.spans and self._rng.random() < 0.5 and example.source != "wikigold":
            example = self._filler.exchanged(example, self._rng)
        if self._rng.random() < 0.15:
            example = pii_style.lowered(example)
        return Drawn("pii", example.text, NOTHING, spans=example.spans)

    def _scuffed(self, text: str) -> str:
        if not self._shares.as_it_is and self._rng.random() < 0.4:
            return user_style.scuff(text, self._rng)
        return text

    def _row(self, drawn: Drawn, encoding: Any) -> tuple[list[int], Array | None, Array | None]:
        """(ids, shape codes, tags) of the window of the row that is learned from."""
        first, last = self._window(drawn, encoding)
        ids = [_CLS, *encoding.ids[first:last], _SEP]
        if drawn.task != "pii":
            return ids, None, None
        offsets = encoding.offsets[first:last]
        shapes = np.concatenate([[0], shape_codes(drawn.text, offsets), [0]])
        tags = np.concatenate([[NOTHING], tags_of(offsets, drawn.spans), [NOTHING]])
        return ids, shapes, tags

    def _window(self, drawn: Drawn, encoding: Any) -> tuple[int, int]:
        room = MAX_TOKENS - 2
        count = len(encoding.ids)
        if count <= room:
            return 0, count
        if drawn.focus is not None:
            encoding = self._tokenizer.encode(drawn.text, add_special_tokens=False)
            inside = [
                n for n, (start, end) in enumerate(encoding.offsets) if end > drawn.focus[0] and start < drawn.focus[1]
            ]
            if inside:
                low, high = max(0, inside[-1] + 1 - room), min(inside[0], count - room)
                first = self._rng.randint(low, high) if low <= high else max(0, min(inside[0], count - room))
                return first, first + room
        first = 0 if self._rng.random() < 0.6 else self._rng.randint(0, count - room)
        return first, first + room


def tags_of(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int, str]]) -> Array:
    """The tag of each token: B for the first of a span, I for the others, O outside."""
    tags = np.zeros(len(offsets), dtype=np.int64)
    for start, end, kind in spans:
        begun = False
        for n, (low, high) in enumerate(offsets):
            if low < end and high > start:
                tags[n] = PII_TAGS.index(f"{'I' if begun else 'B'}-{kind}")
                begun = True
    return tags


def _stranger(text: str) -> tuple[int, int] | None:
    """Where in a question with a table the line is that is neither (BIPIA puts its attacks there)."""
    at = text.find("\n") + 1
    while 0 < at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        if text[at:end].strip() and not text[at:end].lstrip().startswith("|"):
            return at, end
        at = end + 1
    return None


def _sampling(rows: Sequence[Example], *, even: bool) -> Array:
    """Probability of each row: labels alike, and inside a label big sources held back by a square root."""
    if not rows or even:
        return np.full(len(rows), 1 / max(len(rows), 1))
    pairs = [(row.label, family(row.source)) for row in rows]
    sizes = Counter(pairs)
    per_label: Counter[int] = Counter()
    for (label, name), size in sizes.items():
        per_label[label] += size**0.5 * _trust(name)
    weight = np.array([sizes[p] ** -0.5 * _trust(p[1]) / per_label[p[0]] for p in pairs])
    if rows[0].task == "safety":
        weight *= np.array([{BENIGN: 1.8, HARMFUL: 0.8}.get(row.label, 1.0) for row in rows])
    return np.asarray(weight / weight.sum())


def _trust(name: str) -> float:
    return NOISY_WEIGHT if name.startswith("xsafety") else 1.0


def _padded(drawn: Sequence[Drawn], rows: Sequence[tuple[list[int], Array | None, Array | None]]) -> Batch:
    longest = -(-max(len(ids) for ids, _, _ in rows) // 8) * 8
    shape = (len(rows), longest)
    batch = Batch(
        np.zeros(shape, np.int32),
        np.zeros(shape, np.int8),
        np.zeros(shape, np.int8),
        np.full((len(rows), len(LABELS)), NOTHING, np.int16),
        np.full(shape, NOTHING, np.int16),
    )
    for n, (d, (ids, shapes, tags)) in enumerate(zip(drawn, rows, strict=True)):
        batch.ids[n, : len(ids)] = ids
        batch.mask[n, : len(ids)] = 1
        if shapes is not None and tags is not None:
            batch.shapes[n, : len(ids)] = shapes
            batch.tags[n, : len(ids)] = tags
        else:
            batch.labels[n, TASKS.index(d.task)] = d.label
    return batch


def plain(task: str, rows: int) -> Shares:
    """Only one task, as it is: what a plain fine-tune sees."""
    nothing = dict.fromkeys(Shares().counts, 0)
    return Shares(**{**nothing, task: rows}, as_it_is=True)
