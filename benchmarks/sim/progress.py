"""How far runs have come: a bar on a terminal, a line for each run that is over elsewhere.

The runs count requests that are over in one number that all processes share; it says nothing to the runs themselves.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from threading import Event, Thread
from typing import Any, TextIO

EVERY = 256
"""Requests that a process counts before it tells."""
REFRESH_S = 0.5


class Counter:
    """Requests that are over, in all processes."""

    def __init__(self) -> None:
        self.shared: Any = get_context("spawn").Value("L", 0)
        self._untold = 0

    def __getstate__(self) -> Any:
        return self.shared

    def __setstate__(self, shared: Any) -> None:
        self.shared, self._untold = shared, 0

    def one(self) -> None:
        """One more."""
        self._untold += 1
        if self._untold >= EVERY:
            self.flush()

    def flush(self) -> None:
        """Tell what has not been told."""
        with self.shared.get_lock():
            self.shared.value += self._untold
        self._untold = 0


Done = Callable[[str], None]


@contextmanager
def shown(runs: int, requests: Callable[[], int], file: TextIO | None = None) -> Iterator[tuple[Counter | None, Done]]:
    """A counter for that many runs, and what to call with the label of each that is over.

    On a terminal a bar over the `requests` of all runs, asked for only there; elsewhere a line a run, and no counter.
    """
    file = file or sys.stderr
    bar = _bar(requests, file)
    if bar is None:
        numbers = iter(range(1, runs + 1))
        yield None, lambda label: print(f"{next(numbers)} of {runs}: {label}", file=file)
        return
    counter, over = Counter(), Event()

    def refresh() -> None:
        while not over.wait(REFRESH_S):
            bar.update(counter.shared.value - bar.n)

    thread = Thread(target=refresh, name="progress", daemon=True)
    thread.start()
    try:
        yield counter, bar.set_postfix_str
    finally:
        over.set()
        thread.join()
        bar.update(counter.shared.value - bar.n)
        bar.close()


def _bar(requests: Callable[[], int], file: TextIO) -> Any:
    """None where there is no terminal, or nothing to draw it with."""
    if not file.isatty():
        return None
    try:
        from tqdm import tqdm  # noqa: PLC0415  # an extra; runs go on without
    except ImportError:
        return None
    return tqdm(total=requests(), unit=" requests", unit_scale=True, file=file, smoothing=0.05)
