"""ServeGen's rates (github.com/alibaba/ServeGen): a day of production, its rate rising and falling as recorded.

The rate of the day's windows modulates the arrivals, compressed so that the run has the requests it should; lengths and
clients are drawn from the recorded sample. The day chosen is the one with the most requests.
"""

from __future__ import annotations

import csv
import gzip
import io
from bisect import bisect_left
from collections import Counter
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from random import Random

from benchmarks.workloads.read import GZIP, UNSHARED_TOKENS, table_asks
from benchmarks.workloads.workload import PLAIN, Arrival, Ask, Shape

DAY_S = 86_400.0
REQUESTS = 20_000


class RateModulated:
    """Arrivals whose rate follows a day of windows."""

    block_tokens = UNSHARED_TOKENS
    natural_rate = 10.0

    def __init__(self, name: str, identity: str, windows: dict[float, float], asks: list[Ask]) -> None:
        self.name = name
        self.identity = identity
        self.shape: Shape = PLAIN
        self._starts, self._rates = busiest_day(windows)
        self._asks = asks

    def arrivals(self, rate: float, rng: Random, limit: int | None = None) -> list[Arrival]:
        """So many requests as the day's shape says, in a span that gives the mean rate."""
        number = min(limit or REQUESTS, REQUESTS)
        span_s = number / rate
        reached = list(accumulate(self._rates, initial=0.0))
        found = []
        for share in sorted(rng.random() for _ in range(number)):
            at = share * reached[-1]
            window = max(0, bisect_left(reached, at) - 1)
            inside = (at - reached[window]) / self._rates[window]
            found.append(Arrival((window + inside) / len(self._rates) * span_s, rng.choice(self._asks)))
        return found


def busiest_day(windows: dict[float, float]) -> tuple[list[float], list[float]]:
    """Starts and rates of the windows of the day with the most requests; windows are equally long."""
    days: Counter[int] = Counter()
    for start, rate in windows.items():
        days[int(start // DAY_S)] += rate  # type: ignore[assignment]  # a Counter of floats adds up as well
    day = max(days, key=lambda each: (days[each], -each))
    chosen = sorted((start, rate) for start, rate in windows.items() if start // DAY_S == day and rate > 0)
    return [start for start, _ in chosen], [rate for _, rate in chosen]


def servegen(name: str, rates: Path, sample: Path) -> RateModulated:
    """From the two files, plain or gzipped."""
    windows: dict[float, float] = {}
    for row in csv.DictReader(io.StringIO(_text(rates))):
        start = float(row["window_start_s"])
        windows[start] = windows.get(start, 0.0) + float(row["rate_rps"])
    asks = [ask for _, ask in table_asks(csv.DictReader(io.StringIO(_text(sample))))]
    return RateModulated(name, sha256(rates.read_bytes() + sample.read_bytes()).hexdigest(), windows, asks)


def _text(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if data[:2] == GZIP else data).decode()
