"""What a replica says of itself: load as of the last step, counters, histograms with vLLM's buckets."""

from bisect import bisect_left
from dataclasses import dataclass, field

# vllm/v1/metrics/loggers.py; upper bounds in seconds.
TTFT_BUCKETS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
ITL_BUCKETS = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
E2E_BUCKETS = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0),
    *(50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)


class Histogram:
    """Counts of values by upper bound; the last count is for values above every bound.

    `unit` is what a value of 1 counts as: the real seconds of one of the replica's, as who reads metrics has a clock.
    """

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.unit = 1.0

    @property
    def count(self) -> int:
        """Values observed."""
        return sum(self.counts)

    def observe(self, value: float, times: int = 1) -> None:
        """Count `value` as seen `times` times."""
        value *= self.unit
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times


@dataclass(frozen=True, slots=True)
class Load:
    """Gauges as vLLM exports them: true at the end of a step, and old until the next one ends."""

    running: int = 0
    waiting: int = 0
    kv_usage: float = 0.0
    """Fraction of blocks held, 0 to 1; blocks that are only cached count as free."""
    running_adapters: tuple[str, ...] = ()
    waiting_adapters: tuple[str, ...] = ()


@dataclass(slots=True)
class Stats:
    """Counters since the start; tokens unless named otherwise."""

    prefix_queries: int = 0
    prefix_hits: int = 0
    preemptions: int = 0
    """Sequences preempted."""
    prompt_tokens: int = 0
    """Prompt tokens of requests that had their first token, cached ones included."""
    generation_tokens: int = 0
    finished: int = 0
    """Requests finished."""
    aborted: int = 0
    """Requests aborted."""
    ttft: Histogram = field(default_factory=lambda: Histogram(TTFT_BUCKETS))
    itl: Histogram = field(default_factory=lambda: Histogram(ITL_BUCKETS))
    e2e: Histogram = field(default_factory=lambda: Histogram(E2E_BUCKETS))
