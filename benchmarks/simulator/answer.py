"""The answer that a replica pretends to have generated: its length, its text, and its bytes on the wire."""

import json
from math import log
from random import Random
from typing import Any

from xxhash import xxh3_64_intdigest

from benchmarks.simulator.openai import Ask
from benchmarks.simulator.prompt import TOKEN_BYTES

FILLER = b"these words are filler and stand where a model would have written an answer of its own, and "
OUTPUT_TOKENS_MEDIAN = 150.0
OUTPUT_TOKENS_SIGMA = 0.8
"""With that median the mean is 207 tokens; the Azure 2023 conversation trace has 211."""


def draw_output_tokens(ask: Ask, context_left: int, median: float, seed: int) -> tuple[int, str]:
    """Return how many tokens the answer has, and its finish reason.

    The length at which the model would stop is log-normal and depends on prompt and seed only, so that the same prompt
    gets the same answer on every replica of a seed.
    """
    limit = context_left if ask.output_tokens_max is None else ask.output_tokens_max
    if ask.ignore_eos:
        return limit, "length"
    rng = Random(xxh3_64_intdigest(ask.prompt, seed=seed))
    wanted = max(round(rng.lognormvariate(log(median), OUTPUT_TOKENS_SIGMA)), ask.output_tokens_min)
    return (wanted, "stop") if wanted <= limit else (limit, "length")


def write_text(model: str, tokens: int) -> bytes:
    """Return readable ASCII filler of exactly `tokens` tokens that names the model."""
    intro = f"Simulated answer of {model}: ".encode("ascii")
    length = tokens * TOKEN_BYTES
    repeats = max(length - len(intro), 0) // len(FILLER) + 1
    return (intro + FILLER * repeats)[:length]


class Answer:
    """An answer, and how to write it: whole, or as server-sent events of one token each."""

    def __init__(self, ask: Ask, text: bytes, *, answer_id: str, created: int, model: str, finish_reason: str) -> None:
        self.tokens = len(text) // TOKEN_BYTES
        self._ask = ask
        self._text = text
        self._finish_reason = finish_reason
        # `model` is the name that the request asked for, as in vLLM; `created` is in Unix seconds.
        self._head = {"id": answer_id, "object": "", "created": created, "model": model}
        # Every chunk but the last is these two with a token in between; encoding JSON per token costs more.
        self._before, self._after = self._chunk(self._delta("\0"), None).split(rb"\u0000")

    def whole(self, cached_tokens: int) -> bytes:
        """Return the JSON of an answer that is not streamed."""
        text = self._text.decode()
        content = {"message": {"role": "assistant", "content": text}} if self._ask.chat else {"text": text}
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": self._finish_reason}
        head = {**self._head, "object": "chat.completion" if self._ask.chat else "text_completion"}
        return json.dumps({**head, "choices": [choice], "usage": self._usage(cached_tokens)}).encode()

    def events(self, begin: int, end: int, cached_tokens: int) -> bytes:
        """Return the events of tokens `begin` to `end`; the first brings the role, the last usage and `[DONE]`."""
        last = self.tokens - 1
        events = []
        if self._ask.chat and begin == 0:
            events.append(self._chunk({"role": "assistant", "content": ""}, None))
        events += [self._before + self._token(i) + self._after for i in range(begin, min(end, last))]
        if end > last:
            events.append(self._chunk(self._delta(self._token(last).decode()), self._finish_reason))
            if self._ask.include_usage:
                events.append(self._event({"choices": [], "usage": self._usage(cached_tokens)}))
            events.append(b"data: [DONE]\n\n")
        return b"".join(events)

    def _token(self, i: int) -> bytes:
        return self._text[i * TOKEN_BYTES : (i + 1) * TOKEN_BYTES]

    def _delta(self, text: str) -> Any:
        return {"content": text} if self._ask.chat else text

    def _chunk(self, content: Any, finish_reason: str | None) -> bytes:
        key = "delta" if self._ask.chat else "text"
        choice = {"index": 0, key: content, "logprobs": None, "finish_reason": finish_reason}
        return self._event({"choices": [choice]})

    def _event(self, content: dict[str, Any]) -> bytes:
        kind = "chat.completion.chunk" if self._ask.chat else "text_completion"
        value = {**self._head, "object": kind, **content}
        return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"

    def _usage(self, cached_tokens: int) -> dict[str, Any]:
        return {
            "prompt_tokens": self._ask.prompt_tokens,
            "total_tokens": self._ask.prompt_tokens + self.tokens,
            "completion_tokens": self.tokens,
            "prompt_tokens_details": {"cached_tokens": cached_tokens},
        }
