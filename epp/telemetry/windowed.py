"""vSR's windowed names: what happened in the last minutes, by model, for those who read them without a Prometheus.

Worked out of counts that are there anyway, from what they were at scrapes before: a window reaches back to the oldest
scrape within it, so it says nothing before the second scrape, and is as exact as scrapes are close. Must stay true:
requests pay nothing; what is remembered is bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from epp.telemetry.families import AnswerFamilies, RequestFamilies
from epp.telemetry.series import Gauge, Rows

WINDOWS_S = {"1m": 60.0, "5m": 300.0, "15m": 900.0}
APART_S = 5.0  # of what is remembered
_MODEL = "target_model_name"
_LABELS = ("model", "time_window")
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass(slots=True)
class _Counts:
    """Of a model: ended requests by their seconds, and those seconds; errors; tokens by type."""

    buckets: list[int] = field(default_factory=list)
    seconds: float = 0.0
    errors: float = 0.0
    tokens: dict[str, float] = field(default_factory=dict)

    def less(self, other: _Counts) -> _Counts:
        """What came on top of the other."""
        before = other.buckets or [0] * len(self.buckets)
        return _Counts(
            [now - then for now, then in zip(self.buckets, before, strict=True)],
            self.seconds - other.seconds,
            self.errors - other.errors,
            {kind: count - other.tokens.get(kind, 0.0) for kind, count in self.tokens.items()},
        )


class WindowedFamilies:
    """Read when they are scraped."""

    def __init__(self, requests: RequestFamilies, answers: AnswerFamilies, now: Callable[[], float]) -> None:
        self._requests, self._answers, self._now = requests, answers, now
        self._seen: deque[tuple[float, dict[str, _Counts]]] = deque()
        name, text = "llm_model_latency_windowed_seconds", "Mean seconds to the end of requests, of the last minutes."
        self.latency = Gauge(name, text, _LABELS, read=lambda: self._rows(_mean))
        self.quantiles = [self._quantile(name, part) for name, part in _QUANTILES.items()]
        text = "Requests that ended in the last minutes."
        self.ended = Gauge("llm_model_requests_windowed_total", text, _LABELS, read=lambda: self._rows(_ended))
        text = "Of these, the part that was answered with an error."
        self.errors = Gauge("llm_model_error_rate_windowed", text, _LABELS, read=lambda: self._rows(_error_rate))
        text, labels = "Their tokens, by the server's own count.", ("model", "token_type", "time_window")
        self.tokens = Gauge("llm_model_tokens_windowed_total", text, labels, read=self._tokens)

    def families(self) -> Iterator[Gauge]:
        """All of them."""
        yield from (self.latency, *self.quantiles, self.ended, self.errors, self.tokens)

    def _quantile(self, name: str, part: float) -> Gauge:
        text = f"The {name} of seconds to the end of requests, of the last minutes; within a bucket, straight on."
        bounds = self._answers.seconds.bounds
        return Gauge(
            f"llm_model_latency_{name}_windowed_seconds",
            text,
            _LABELS,
            read=lambda: self._rows(lambda counts: _quantile(counts.buckets, bounds, part)),
        )

    def _rows(self, figure: Callable[[_Counts], float | None]) -> Rows:
        for window, model, counts in self._windows():
            if (value := figure(counts)) is not None:
                yield (model, window), value

    def _tokens(self) -> Rows:
        for window, model, counts in self._windows():
            yield from (((model, kind, window), count) for kind, count in counts.tokens.items())

    def _windows(self) -> Iterator[tuple[str, str, _Counts]]:
        now, current = self._now(), self._current()
        if not self._seen or now - self._seen[-1][0] >= APART_S:
            self._seen.append((now, current))
        while len(self._seen) > 1 and now - self._seen[1][0] > WINDOWS_S["15m"]:
            self._seen.popleft()
        for window, length_s in WINDOWS_S.items():
            then = next((seen for at, seen in self._seen if now - at <= length_s), current)
            for model, counts in current.items():
                yield window, model, counts.less(then.get(model) or _Counts())

    def _current(self) -> dict[str, _Counts]:
        found = {
            model: _Counts(list(one.counts), one.sum)
            for model, one in self._answers.seconds.by(_MODEL).items()
            if model
        }
        for model, errors in self._requests.errors.by(_MODEL).items():
            if model in found:
                found[model].errors = errors.value
        for kind, family in (("prompt", self._answers.input), ("completion", self._answers.output)):
            for model, total in family.totals(_MODEL).items():
                if model in found:
                    found[model].tokens[kind] = total
        return found


def _ended(counts: _Counts) -> float:
    return float(sum(counts.buckets))


def _mean(counts: _Counts) -> float | None:
    ended = sum(counts.buckets)
    return counts.seconds / ended if ended else None


def _error_rate(counts: _Counts) -> float | None:
    ended = sum(counts.buckets)
    return min(1.0, counts.errors / ended) if ended else None


def _quantile(buckets: Sequence[int], bounds: Sequence[float], part: float) -> float | None:
    """As `histogram_quantile` of Prometheus has it: the last bound for what lies beyond it."""
    wanted, below = part * sum(buckets), 0
    if not wanted:
        return None
    for place, count in enumerate(buckets[:-1]):
        if count and below + count >= wanted:
            lower = bounds[place - 1] if place else 0.0
            return lower + (bounds[place] - lower) * (wanted - below) / count
        below += count
    return bounds[-1]
