"""Prometheus text of a model server -> Load, reading only the lines it needs.

Must stay true: one native pass over the text for the engine it is from, and the text is never split into lines;
whatever the bytes are, the result is a reading or `BadMetrics`. A line without its newline may be cut off in the middle
of a number and is not believed.

Several series of one family (data parallel ranks, several model names) become one number for the endpoint: requests,
tokens and cache blocks add up, and the cache usage is that of the fullest rank, because a request sent to a full rank
waits however empty its neighbours are. LoRA adapters are those of the series with the largest value, which is the time
it was written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from epp.datastore.engines import OPTIONAL, Engine, Engines, Spec
from epp.domain import Load, Lora, Probe

ENGINES = Engines()


class BadMetrics(Exception):
    """The text is not the metrics of a model server we know; the message says what it looks like instead."""


@dataclass(slots=True, frozen=True)
class Reading:
    """One text, understood: whose it is, what it says, and which series that came from (signal -> family)."""

    engine: Engine
    load: Load
    series: tuple[tuple[str, str], ...]

    def probe(self) -> Probe:
        """What of the engine's signals there is, and what should be and is not."""
        found = dict(self.series)
        missing = {
            signal: " or ".join(map(str, spellings))
            for signal, spellings in self.engine.series.items()
            if signal not in found and signal not in OPTIONAL
        }
        return Probe(self.engine.name, found, missing)


def parse(text: bytes, at: float) -> Load:
    """The load sampled at the monotonic second `at`; a family that is missing or not finite is None in it."""
    return read(text, at).load


def read(text: bytes, at: float, likely: Engine | None = None, engines: Engines = ENGINES) -> Reading:
    """The text of whichever engine it is, of `likely` if it can be. Raises BadMetrics."""
    order = engines.known if likely is None else (likely, *(e for e in engines.known if e is not likely))
    framed = b"\n" + text
    for engine in order:
        if (reading := _reader(engine)(framed, at)) is not None:
            return reading
    raise BadMetrics(_what_it_is_instead(text, order))


# Quoted values may hold braces, quotes and backslashes; every repeat is possessive, so no text makes it slow.
_LABELS = rb'\{[^"}\n]*+(?:"[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+"[^"}\n]*+)*+\}'
# The leading newline instead of `^` lets the regex engine search for the families' common start: five times faster.
_SAMPLE = rb"\n(%b)(?=[ \t{])[ \t]*+(%b)?[ \t]*+([^ \t\r\n]++)[^\n]*+(?=\n)"

_Rows = Sequence[tuple[bytes, bytes]]  # labels and value
_Samples = dict[bytes, list[tuple[bytes, bytes]]]
_Signal = Callable[["_Spelling", _Rows], Any]


class _Spelling:
    """A spec, ready to be looked for."""

    __slots__ = ("family", "number", "spec", "wanted")

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.family = spec.family.encode()
        # Inside a quoted value a quote is escaped, so `name="..."` after a comma or brace can only be a label.
        self.wanted = [_label(name, re.escape(_escaped(value))) for name, value in spec.labels]
        self.number = None if spec.value_of is None else _label(spec.value_of, b"([0-9]{1,12})")

    def rows(self, found: _Samples) -> _Rows:
        """The series that are meant."""
        rows = found.get(self.family, ())
        if not self.wanted:
            return rows
        return [row for row in rows if all(label.search(row[0]) for label in self.wanted)]

    def values(self, rows: _Rows) -> list[float]:
        """The usable values; NaN, infinite and negative ones say nothing, and engines write `None` into labels."""
        if self.number is not None:
            return [float(match[1]) for labels, _ in rows if (match := self.number.search(labels))]
        values = [_number(self.family, raw) for _, raw in rows]
        return [value for value in values if math.isfinite(value) and value >= 0]


class _Reader:
    """Reads the texts of one engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.sample = re.compile(_SAMPLE % (_any_of(engine.families), _LABELS))
        self.signals = [(s, _HOW[s], [_Spelling(one) for one in spellings]) for s, spellings in engine.series.items()]
        self.custom = [(key, _Spelling(one)) for key, one in engine.custom.items()]
        self.telling = {family.encode() for family in engine.telling}

    def __call__(self, framed: bytes, at: float) -> Reading | None:
        """None where nothing in the text tells the load of this engine."""
        found: _Samples = {}
        for family, labels, value in self.sample.findall(framed):
            found.setdefault(family, []).append((labels, value))
        if self.telling.isdisjoint(found):
            return None
        values: dict[str, Any] = {}
        series = []
        for signal, figure, spellings in self.signals:
            for spelling in spellings:
                rows = spelling.rows(found)
                if not rows:
                    continue
                value = figure(spelling, rows)
                if value is not None or spelling.number is None:
                    series.append((signal, spelling.spec.family))
                if value is not None:
                    values[signal] = value
                    break
        if self.custom:
            values["custom"] = self._custom(found)
        return Reading(self.engine, Load(at=at, **values), tuple(dict(series).items()))

    def _custom(self, found: _Samples) -> dict[str, float]:
        sums = {key: _sum(spelling, spelling.rows(found)) for key, spelling in self.custom}
        return {key: value for key, value in sums.items() if value is not None}


def _any_of(families: Iterable[str]) -> bytes:
    """A pattern for one of these, with what they begin with in common written once: twice as fast as `a|b|c`."""
    by_first: dict[bytes, list[str]] = {}
    for family in sorted(set(families)):
        by_first.setdefault(family[:1].encode(), []).append(family[1:])
    branches = [re.escape(first) + (_any_of(rest) if first else b"") for first, rest in by_first.items()]
    return branches[0] if len(branches) == 1 else b"(?:%b)" % b"|".join(reversed(branches))


@cache
def _reader(engine: Engine) -> _Reader:
    return _Reader(engine)


def _sum(spelling: _Spelling, rows: _Rows) -> float | None:
    values = spelling.values(rows)
    total = sum(values)
    return total if values and math.isfinite(total) else None


def _fullest(spelling: _Spelling, rows: _Rows) -> float | None:
    # Rounding in the engine may end a little above 1.
    return min(1.0, max(spelling.values(rows))) if spelling.values(rows) else None


def _largest(spelling: _Spelling, rows: _Rows) -> int | None:
    return int(max(spelling.values(rows), default=0.0)) or None


def _total(spelling: _Spelling, rows: _Rows) -> int | None:
    total = sum(spelling.values(rows))
    return int(total) or None if math.isfinite(total) else None


def _lora(spelling: _Spelling, rows: _Rows) -> Lora | None:
    dated = [(value, labels) for labels, raw in rows if not math.isnan(value := _number(spelling.family, raw))]
    if not dated:
        return None
    _, labels = max(dated)
    most = _MAX_LORA.search(labels)
    return Lora(int(most[1]) if most else None, _names(_RUNNING, labels), _names(_WAITING, labels))


_HOW: dict[str, _Signal] = {
    "waiting": _sum,
    "running": _sum,
    "kv_usage": _fullest,
    "block_size": _largest,
    "num_blocks": _total,
    "prompt_tokens": _sum,
    "generated_tokens": _sum,
    "cache_queries": _sum,
    "cache_hits": _sum,
    "decode_seconds": _sum,
    "decode_tokens": _sum,
    "first_tokens": _sum,
    "first_token_seconds": _sum,
    "lora": _lora,
}


def _label(name: str, value: bytes) -> re.Pattern[bytes]:
    return re.compile(rb'[{,][ \t]*+%b[ \t]*+=[ \t]*+"%b"' % (re.escape(name.encode()), value))


_MAX_LORA = _label("max_lora", b"([0-9]{1,9})")
_RUNNING = _label("running_lora_adapters", rb'([^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+)')
_WAITING = _label("waiting_lora_adapters", rb'([^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+)')


def _names(label: re.Pattern[bytes], labels: bytes) -> frozenset[str]:
    """The names of a list with commas."""
    found = label.search(labels)
    text = found[1].decode("utf-8", "replace") if found else ""
    return frozenset(name for part in text.split(",") if (name := part.strip()))


def _escaped(value: str) -> bytes:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n").encode()


def _number(family: bytes, raw: bytes) -> float:
    try:
        # Python also reads `1_000`, which is no number here.
        return float(raw.replace(b"_", b"?"))
    except ValueError:
        shown = raw[:40].decode("ascii", "backslashreplace")
        raise BadMetrics(f"{family.decode()}: {shown!r} is not a number") from None


def _what_it_is_instead(text: bytes, engines: Iterable[Engine]) -> str:
    start = text[:512].lstrip()
    if not start:
        return "the answer is empty"
    if start.startswith(b"<"):
        return "the answer is a web page, not metrics; is this the port of a model server?"
    families = text.count(b"# TYPE ")
    if not families:
        return f"no metrics in {len(text)} bytes; is this the port of a model server?"
    for engine in engines:
        if engine.prefix and b"\n" + engine.prefix.encode() in b"\n" + text:
            wanted = ", ".join(engine.telling)
            return f"none of {wanted} among {families} families; is this version of the model server known to us?"
    known = ", ".join(engine.name for engine in engines)
    return f"no series of {known} among {families} families; is this a model server?"
