"""Questions with known answers: MMLU-Pro as 29 models have answered it, with the length of each answer.

A file has a question a line, `correct` with a character a model (1 right, 0 wrong, x none given, - not asked) and
`out_chars`, the characters of each model's reasoning; the models' order is in the `.meta.json` beside it. The
questions are halved by a digest of their text: one half is what an operator knows of the models (`studied`), the
other is what users ask (`asked`). The outcomes were measured with five worked examples in front of each question,
whose text is not in the file: a system prompt that all requests share stands for them.

Must stay true: no question that is asked has been studied.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random

from benchmarks.workloads.generated import BLOCKS_PER_REQUEST, OWN, Poisson
from benchmarks.workloads.text import BYTES_PER_TOKEN, prompt
from benchmarks.workloads.workload import Answer, Arrival, Ask, Question, Shape

FILE = "mmlu_pro_29models.jsonl.gz"
OUTCOMES: Mapping[str, str] = {
    "llama3-70b": "Meta-Llama-3_1-70B-Instruct",
    "llama3-8b": "Meta-Llama-3_1-8B-Instruct",
    "phi3-mini": "Phi-3-mini-4k-instruct",
}
"""By the name of the simulator's constants, whose answers a model gives."""
FLEET = "llama3-70b@h100x4:2,llama3-8b@h100:2,phi3-mini@h100:1"
SYSTEM_TOKENS = 1_024
RIGHT, NOT_ASKED = "1", "-"


@dataclass(slots=True, frozen=True)
class Topic:
    """From a part of the run to another, this share of the questions is about one category."""

    category: str
    share: float = 0.8
    begin: float = 0.4
    end: float = 0.7


NO_TOPIC = Topic("", begin=1.0, end=1.0)


class ModelMix:
    """Poisson arrivals of questions for whichever model, each drawn from all that are asked."""

    block_tokens = 64
    natural_rate = 100.0

    def __init__(self, name: str, identity: str, questions: Sequence[Question], topic: Topic | None = None) -> None:
        self.name = name
        self.identity = sha256(f"{identity} {topic} {SYSTEM_TOKENS}".encode()).hexdigest()
        self.shape = Shape(gpus=FLEET)
        self.models = tuple(OUTCOMES)
        once = {question.text: question for question in questions}.values()
        self.studied = [question for question in once if _studied(question)]
        self.asked = [question for question in once if not _studied(question)]
        self.requests = 12_000
        self._topic = topic
        if not self.studied or not self.asked:
            raise ValueError("too few questions to study some and ask others")
        if topic is not None and not any(question.category == topic.category for question in self.asked):
            raise ValueError(f"nobody asks about {topic.category}")

    def arrivals(self, rate: float, rng: Random, limit: int | None = None) -> list[Arrival]:
        """Questions at random moments; where there is a topic, most of a stretch are of its category."""
        number = limit or self.requests
        times, content = Random(rng.getrandbits(64)), Random(rng.getrandbits(64))
        every = [ask(n, question) for n, question in enumerate(self.asked)]
        topic = self._topic or NO_TOPIC
        topical = [every[n] for n, question in enumerate(self.asked) if question.category == topic.category]
        found = []
        for place, at in zip(range(number), Poisson()(rate, times), strict=False):
            narrow = topic.begin <= place / number < topic.end and content.random() < topic.share
            found.append(Arrival(at, content.choice(topical if narrow else every)))
        return found


def model_mix(name: str, folder: Path, topic: Topic | None = None) -> ModelMix:
    """From the folder of outcome tables. Raises ValueError."""
    path = folder / FILE
    meta = path.with_name(FILE.removesuffix(".jsonl.gz") + ".meta.json")
    try:
        data, models = path.read_bytes(), json.loads(meta.read_bytes())["models"]
        questions = list(_questions(gzip.decompress(data).decode(), models))
    except OSError as unreadable:
        raise ValueError(f"{unreadable.filename}: {unreadable.strerror}") from unreadable
    except (KeyError, IndexError, TypeError, ValueError) as wrong:
        raise ValueError(f"{path}: no table of outcomes: {wrong!r}") from wrong
    return ModelMix(name, sha256(data).hexdigest(), questions, topic)


def _questions(text: str, models: Sequence[str]) -> Iterator[Question]:
    """Those that all of our models were asked."""
    places = {name: models.index(recorded) for name, recorded in OUTCOMES.items()}
    for line in text.splitlines():
        row = json.loads(line)
        if any(row["correct"][place] == NOT_ASKED for place in places.values()):
            continue
        answers = {
            name: Answer(max(1, row["out_chars"][place] // BYTES_PER_TOKEN), row["correct"][place] == RIGHT)
            for name, place in places.items()
        }
        yield Question(row["question"].strip(), row["category"], answers)


def _studied(question: Question) -> bool:
    return sha256(question.text.encode()).digest()[0] % 2 == 0


def ask(number: int, question: Question) -> Ask:
    """Under the shared system prompt; the mean of the answers' lengths until it is known who answers."""
    own = -(-len(question.text.encode()) // BYTES_PER_TOKEN)
    tokens = SYSTEM_TOKENS + own
    whole = SYSTEM_TOKENS // ModelMix.block_tokens
    begin = OWN + number * BLOCKS_PER_REQUEST
    blocks = (*range(whole), *range(begin, begin + -(-own // ModelMix.block_tokens)))
    mean = round(sum(answer.tokens for answer in question.answers.values()) / len(question.answers))
    return Ask(tokens, mean, blocks, blocks[: tokens // ModelMix.block_tokens], question=question)


def body(text: str) -> bytes:
    """The request of a question: the shared system prompt, then the user's turn; any model may answer."""
    said = json.dumps(text, ensure_ascii=False).encode()
    return b'{"model":"auto","stream":true,"messages":[%b,{"role":"user","content":%b}]}' % (_system(), said)


@cache
def _system() -> bytes:
    words = prompt(range(SYSTEM_TOKENS // ModelMix.block_tokens), SYSTEM_TOKENS, ModelMix.block_tokens)
    return b'{"role":"system","content":"%b"}' % words


def answered_by(asked: Ask, model: str | None) -> Ask:
    """The request once it is known who answers: the answer is as long as that model's."""
    if asked.question is None or model is None:
        return asked
    return replace(asked, output_tokens=asked.question.answers[model].tokens)
