"""Pulls training text towards the way people type: prompts of our own, and rough versions of exam questions.

Everything is drawn from a `Random` the caller seeds, so a training run can be repeated.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from random import Random

import yaml

from semantic.training.rows import LABELS, Row, without_choices

PHRASES = Path(__file__).with_name("user_style.yaml")
SOURCE = "onehop-user-style"

TOPIC_TEMPLATES = (
    "{}",
    "what is {}?",
    "can you explain {} to me",
    "Explain {} like I'm five.",
    "tell me about {}",
    "help me with {}",
    "I need help with {}, where do I start?",
    "give me a short overview of {}",
    "Could you give me some examples of {}?",
    "how does {} work",
    "why is {} important?",
    "I'm studying {} and I don't get it",
    "write a short essay about {}",
    "what are common mistakes people make with {}?",
    "summarize what I should know about {}",
    "I have a question about {}.",
    "make a quiz with 5 questions on {}",
    "any good books on {}?",
    "what's new in {} lately",
    "Please describe {} step by step",
)
ASK_PREFIXES = ("", "", "", "hi, ", "Hey! ", "please tell me ", "quick question: ", "I was wondering, ", "so ", "ok ")
STEM_PREFIXES = (
    "Can you help me with this? ",
    "can you explain: ",
    "Please answer this: ",
    "I have a question. ",
    "my teacher asked: ",
    "hey, ",
    "Question: ",
    "Help! ",
    "Solve this for me: ",
    "what's the answer: ",
)
CREATIVE_FORMS = (
    "haiku",
    "short story",
    "poem",
    "limerick",
    "song",
    "tweet",
    "rap",
    "fairy tale",
    "birthday card",
    "joke",
)
CREATIVE_THINGS = (
    "my grandmother",
    "the rain in spring",
    "a lonely robot",
    "winter evenings",
    "two best friends",
    "a dragon who bakes bread",
    "Monday mornings",
    "the sea",
    "my sister's wedding",
    "a talking fox",
    "falling in love",
    "coffee",
    "an old lighthouse",
    "snow",
    "a road trip",
    "summer nights",
)
ARITHMETIC_TEMPLATES = (
    "What is {}?",
    "what is {}",
    "{}",
    "{} = ?",
    "calculate {}",
    "Compute {}.",
    "how much is {}?",
    "can you work out {} for me",
    "whats {} equal to",
    "Evaluate {} and show your steps",
    "please solve {}",
)


def prompts(count: int, rng: Random) -> list[Row]:
    """`count` prompts of our own, spread evenly over the categories."""
    return [_prompt(LABELS[n % len(LABELS)], _phrases(), rng) for n in range(count)]


@cache
def _phrases() -> Mapping[str, Mapping[str, Sequence[str]]]:
    phrases: Mapping[str, Mapping[str, Sequence[str]]] = yaml.safe_load(PHRASES.read_text(encoding="utf-8"))
    return phrases


def _prompt(label: str, phrases: Mapping[str, Mapping[str, Sequence[str]]], rng: Random) -> Row:
    draw = rng.random()
    if label == "math" and draw < 0.35:
        text = rng.choice(ARITHMETIC_TEMPLATES).format(_arithmetic(rng))
    elif label == "other" and draw < 0.25:
        form, thing = rng.choice(CREATIVE_FORMS), rng.choice(CREATIVE_THINGS)
        text = f"{rng.choice(('write', 'Write me', 'compose', 'can you make'))} a {form} about {thing}"
    elif draw < 0.6:
        text = rng.choice(TOPIC_TEMPLATES).format(rng.choice(phrases[label]["topics"]))
    else:
        text = rng.choice(ASK_PREFIXES) + rng.choice(phrases[label]["asks"])
    return Row(scuff(text, rng), LABELS.index(label), SOURCE)


def _arithmetic(rng: Random) -> str:
    """An expression or a small equation with random numbers."""
    a, b, c, d = (rng.randint(2, 99) for _ in range(4))
    op = rng.choice("+-*/")
    return rng.choice(
        (
            f"{a}{op}{b}",
            f"{a} {op} {b}",
            f"{a} + {b} * ({c} - {d})",
            f"({a}-{b})*{c}",
            f"{a}x {rng.choice('+-')} {b} = {c}",
            f"x^2 - {a}x + {b} = 0",
            f"{a}% of {b}{c}",
            f"{a}/{b} + {c}/{d}",
            f"sqrt({a * a}) + {b}",
            f"{a} times {b} minus {c}",
            f"{a}^{rng.randint(2, 4)}",
            f"the derivative of {a}x^{rng.randint(2, 5)} + {b}x",
        )
    )


def roughen(row: Row, rng: Random) -> Row:
    """The same question as a person might type it: no choices, a lead-in, lower case, a typo. Often unchanged."""
    draw = rng.random()
    if draw < 0.35:
        return row
    text = without_choices(row.text) if rng.random() < 0.7 else row.text
    if len(text) < 12:
        text = row.text
    if draw > 0.75 and len(text) < 600:
        text = rng.choice(STEM_PREFIXES) + text
    return Row(scuff(text, rng), row.label, row.source)


def scuff(text: str, rng: Random) -> str:
    """Lower case, missing end mark, a typo; each only sometimes."""
    if rng.random() < 0.3:
        text = text.lower()
    if rng.random() < 0.25:
        text = text.rstrip(" ?.!")
    if rng.random() < 0.2:
        text = _typo(text, rng)
    return text


def _typo(text: str, rng: Random) -> str:
    """Two neighbouring characters swapped, one dropped or one doubled."""
    if len(text) < 10:
        return text
    at = rng.randrange(1, len(text) - 2)
    return rng.choice(
        (
            text[:at] + text[at + 1] + text[at] + text[at + 2 :],
            text[:at] + text[at + 1 :],
            text[:at] + text[at] + text[at:],
        )
    )
