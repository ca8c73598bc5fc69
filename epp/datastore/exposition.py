"""Prometheus text of a model server -> Load, reading only the lines it needs.

Must stay true: one native pass over the text, which is never split into lines; whatever the bytes are, the result is
a `Load` or `BadMetrics`. A line without its newline may be cut off in the middle of a number and is not believed.

Several series of one family (data parallel ranks, several model names) become one number for the endpoint: waiting
and running requests, tokens and cache blocks add up, and the cache usage is that of the fullest rank, because a
request sent to a full rank waits however empty its neighbours are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from epp.domain import Load


class BadMetrics(Exception):
    """The text is not the metrics of a model server we know; the message says what it looks like instead."""


@dataclass(slots=True, frozen=True)
class Engine:
    """What one kind of model server calls its numbers; several spellings of one family, the newest first."""

    prefix: bytes
    waiting: tuple[bytes, ...]
    running: tuple[bytes, ...]
    kv_usage: tuple[bytes, ...]
    prompt_tokens: tuple[bytes, ...]
    generated_tokens: tuple[bytes, ...]
    cache_info: bytes
    block_size: bytes
    num_blocks: bytes

    @property
    def needed(self) -> tuple[bytes, ...]:
        """The families that tell the engine's load."""
        return (*self.waiting, *self.running, *self.kv_usage, self.cache_info)

    @property
    def families(self) -> tuple[bytes, ...]:
        """Every family name we read."""
        return (*self.needed, *self.prompt_tokens, *self.generated_tokens)


VLLM = Engine(
    prefix=b"vllm:",
    waiting=(b"vllm:num_requests_waiting",),
    running=(b"vllm:num_requests_running",),
    kv_usage=(b"vllm:kv_cache_usage_perc", b"vllm:gpu_cache_usage_perc"),
    prompt_tokens=(b"vllm:prompt_tokens_total",),
    generated_tokens=(b"vllm:generation_tokens_total",),
    cache_info=b"vllm:cache_config_info",
    block_size=b"block_size",
    num_blocks=b"num_gpu_blocks",
)
ENGINES = (VLLM,)


def parse(text: bytes, at: float) -> Load:
    """The load sampled at the monotonic second `at`; a family that is missing or not finite is None in it."""
    found = _find(text)
    for engine in ENGINES:
        if any(family in found for family in engine.needed):
            return _load(engine, found, at)
    raise BadMetrics(_what_it_is_instead(text))


# Quoted values may hold braces, quotes and backslashes; every repeat is possessive, so no text makes it slow.
_LABELS = rb'\{[^"}\n]*+(?:"[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+"[^"}\n]*+)*+\}'
# The leading newline instead of `^` lets the regex engine search for the literal prefix: five times faster.
_SAMPLE = re.compile(
    rb"\n(%b)(?=[ \t{])[ \t]*+(%b)?[ \t]*+([^ \t\r\n]++)[^\n]*+(?=\n)"
    % (b"|".join(re.escape(family) for engine in ENGINES for family in engine.families), _LABELS)
)
# Inside a quoted value a quote is escaped, so `name="digits"` after a comma or brace can only be a label.
_COUNT = {
    name: re.compile(rb'[{,][ \t]*+%b[ \t]*+=[ \t]*+"([0-9]{1,12})"' % re.escape(name))
    for engine in ENGINES
    for name in (engine.block_size, engine.num_blocks)
}

_Samples = dict[bytes, list[tuple[bytes, bytes]]]


def _find(text: bytes) -> _Samples:
    """Family -> its (labels, value) pairs, for the families in the table only."""
    found: _Samples = {}
    for family, labels, value in _SAMPLE.findall(b"\n" + text):
        found.setdefault(family, []).append((labels, value))
    return found


def _load(engine: Engine, found: _Samples, at: float) -> Load:
    waiting, running = _values(engine.waiting, found), _values(engine.running, found)
    kv_usage = _values(engine.kv_usage, found)
    prompt, generated = _values(engine.prompt_tokens, found), _values(engine.generated_tokens, found)
    cache_info = [labels for labels, _ in found.get(engine.cache_info, ())]
    return Load(
        at=at,
        waiting=_finite(sum(waiting)) if waiting else None,
        running=_finite(sum(running)) if running else None,
        # Rounding in the engine may end a little above 1.
        kv_usage=min(1.0, max(kv_usage)) if kv_usage else None,
        prompt_tokens=_finite(sum(prompt)) if prompt else None,
        generated_tokens=_finite(sum(generated)) if generated else None,
        block_size=max(_counts(engine.block_size, cache_info), default=0) or None,
        num_blocks=sum(_counts(engine.num_blocks, cache_info)) or None,
    )


def _values(spellings: Iterable[bytes], found: _Samples) -> list[float]:
    """The usable values of the newest spelling that has any; NaN, infinite and negative gauges say nothing."""
    for family in spellings:
        values = [_number(family, raw) for _, raw in found.get(family, ())]
        usable = [value for value in values if math.isfinite(value) and value >= 0]
        if usable:
            return usable
    return []


def _number(family: bytes, raw: bytes) -> float:
    try:
        # Python also reads `1_000`, which is no number here.
        return float(raw.replace(b"_", b"?"))
    except ValueError:
        shown = raw[:40].decode("ascii", "backslashreplace")
        raise BadMetrics(f"{family.decode()}: {shown!r} is not a number") from None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _counts(label: bytes, cache_info: Iterable[bytes]) -> list[int]:
    """The label's value in each series that has it as a number (engines write `None` before they know)."""
    return [int(match[1]) for labels in cache_info if (match := _COUNT[label].search(labels))]


def _what_it_is_instead(text: bytes) -> str:
    start = text[:512].lstrip()
    if not start:
        return "the answer is empty"
    if start.startswith(b"<"):
        return "the answer is a web page, not metrics; is this the port of a model server?"
    families = text.count(b"# TYPE ")
    if not families:
        return f"no metrics in {len(text)} bytes; is this the port of a model server?"
    for engine in ENGINES:
        if b"\n" + engine.prefix in b"\n" + text:
            wanted = ", ".join(family.decode() for family in engine.needed)
            return f"none of {wanted} among {families} families; is this version of the model server known to us?"
    prefixes = " or ".join(engine.prefix.decode() for engine in ENGINES)
    return f"no {prefixes} series among {families} families; is this a model server?"
