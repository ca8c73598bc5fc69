"""What an operator must know of Kubernetes objects, said once each time it becomes true."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from epp.edge.kube.client import Resource

log = logging.getLogger(__name__)

AT_ONCE_MAX = 50  # two rewrites that share their names have a conflict for each


@dataclass(frozen=True, slots=True)
class Notice:
    """Something about one object; becomes a Kubernetes Event where we may write some."""

    about: Resource
    namespace: str
    name: str
    uid: str
    reason: str
    message: str
    kind: Literal["Normal", "Warning"] = "Warning"

    def __str__(self) -> str:
        return f"{self.about.kind} {self.namespace}/{self.name}: {self.message}"


class Notices:
    """Tells what is new among the things that are so now: to the log, and to who listens."""

    def __init__(self, tell: Callable[[Notice], None]) -> None:
        self.tell = tell
        self._told: frozenset[Notice] = frozenset()

    def now(self, found: Iterable[Notice]) -> None:
        """All that is so at this moment; what was told before and is still so is not told again."""
        current = frozenset(found)
        for notice in sorted(current - self._told, key=str)[:AT_ONCE_MAX]:
            log.warning("%s", notice)
            self.tell(notice)
        self._told = current
