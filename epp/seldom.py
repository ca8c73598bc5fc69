"""Which of many alike defects are worth a line in the log."""

from __future__ import annotations

from collections import Counter
from traceback import walk_tb


class Seldom:
    """Of a kind and place the first, the tenth, the hundredth: one that every request meets would else fill the log."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[type[BaseException], tuple[str, int]]] = Counter()

    def worth_telling(self, error: BaseException) -> bool:
        """Count it; whether to log this one."""
        place = next(((f.f_code.co_filename, line) for f, line in reversed([*walk_tb(error.__traceback__)])), ("", 0))
        self._seen[type(error), place] += 1
        return str(self._seen[type(error), place]).rstrip("0") == "1"
