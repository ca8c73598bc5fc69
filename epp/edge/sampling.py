"""Which requests are traced, by the SDK's own samplers' rules but without them: nine of ten requests are not, and each
would pay more for being asked about than for all that is counted of it.

Must stay true: what is drawn is what the SDK's sampler of that name draws, and what is read of a `traceparent` is what
its propagator reads (tests compare both).
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from typing import NamedTuple

log = logging.getLogger(__name__)

SAMPLE = 0.1  # of the requests whose caller has not decided: the Go picker's default
SAMPLER, ARGUMENT, DISABLED = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_SDK_DISABLED"
DEFAULT = "parentbased_always_on"
LOW = (1 << 64) - 1  # the bits of a trace's id that a part of all traces is drawn by
LENGTH_MAX = 512
# https://www.w3.org/TR/trace-context/#traceparent-header; later versions may have more behind it.
_HEADER = re.compile(r"[ \t]*([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:(-.*)|[ \t]*)")
_NO_TRACE, _NO_SPAN, _ODD = "0" * 32, "0" * 16, "13579bdf"  # the last bit of the flags is `sampled`
_PARTS = {"always_on": 1.0, "always_off": 0.0, "traceidratio": None}  # None: as the argument says


class Caller(NamedTuple):
    """What a caller says of the trace that its request is part of; ids in hexadecimal, as it says them."""

    trace: str
    span: str
    sampled: bool


@dataclass(frozen=True, slots=True)
class Sampler:
    """Traces whose id is below `bound` in its lower 64 bits; where it `follows`, a caller's own decision goes first."""

    bound: int
    follows: bool

    def takes(self, trace: int, caller: Caller | None) -> bool:
        """Whether a request of this trace is sampled."""
        return caller.sampled if caller is not None and self.follows else trace & LOW < self.bound


def caller(traceparent: str) -> Caller | None:
    """Who the header says called; None where it cannot be understood, which begins a new trace."""
    found = _HEADER.fullmatch(traceparent) if len(traceparent) <= LENGTH_MAX else None
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == "ff" or (more and version == "00"):
        return None
    if trace == _NO_TRACE or span == _NO_SPAN:
        return None
    return Caller(trace, span, flags[1] in _ODD)


def sampler(sample: float | None) -> Sampler:
    """`sample` of the traces that no caller has decided on; without one, what the specification's variables say.

    What they say wrongly is logged and passed over, as the specification wants it
    (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/).
    """
    if os.environ.get(DISABLED, "").strip().lower() == "true":
        return Sampler(0, follows=False)
    name = os.environ.get(SAMPLER, "").strip().lower()
    if sample is not None or not name:
        return _part(SAMPLE if sample is None else sample, follows=True)
    plain = name.removeprefix("parentbased_")
    if plain not in _PARTS:
        log.warning("%s: '%s' is no sampler that we have, %s is used", SAMPLER, name, DEFAULT)
        name, plain = DEFAULT, "always_on"
    part = _PARTS[plain]
    return _part(_argument() if part is None else part, follows=plain != name)


def _part(part: float, *, follows: bool) -> Sampler:
    return Sampler(round(part * (LOW + 1)), follows)


def _argument() -> float:
    text = os.environ.get(ARGUMENT, "").strip()
    try:
        part = float(text)
    except ValueError:
        part = -1.0
    if 0.0 <= part <= 1.0:
        return part
    if text:
        log.warning("%s: '%s' is no number from 0 to 1, all are sampled", ARGUMENT, text)
    return 1.0
