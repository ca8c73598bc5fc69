"""The semantic stage in a process: built once, rebuilt aside when its file changes, swapped whole, closed at the end.

The shipped models are loaded once and kept over every reload. What takes long to load at the start (the encoder, users'
own models, vectors of phrases) comes in while we serve; until then tier 0 answers what it is sure of, and the rest is
unknown.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from epp.domain import ConfigError
from epp.edge.classify_api import Call, Unanswered
from epp.edge.watched_file import WatchedFile
from semantic.config import ConfigError as SemanticConfigError
from semantic.router import Observe, SemanticRouter
from semantic.service import BadInput, ClassificationService, NotAvailable
from semantic.sessions import Sessions
from semantic.signals.api import Signals
from semantic.signals.heads import HeadSignals

log = logging.getLogger(__name__)
CLOSE_LATER_S = 10.0  # a request that began with the router before may still be at it; deadlines are shorter
FATES = ("answered", "cached", "late", "declined", "overflowed", "failed")  # of `semantic.classifier.Counts`
SHOWN_MAX = 5  # mistakes of one file in one line


class SemanticStage:
    """`router` is the one in use; hold on to none longer than a request takes."""

    def __init__(
        self,
        path: Path,
        *,
        lenient: bool = False,
        signals: Signals | None = None,
        observe: Observe = lambda signals, seconds: None,
        poll_s: float = 0.5,
        settle_s: float = 0.25,
    ) -> None:
        """Blocking: reads the file and loads tier 0. Raises ConfigError."""
        self._path = path
        self._lenient = lenient
        self._observe = observe
        self._sessions = Sessions()
        self.signals: Signals = signals or HeadSignals.load()
        self.router = self._built()
        self.file = WatchedFile(
            path,
            self._prepared,
            self._use,
            what="semantic configuration",
            poll_s=poll_s,
            settle_s=settle_s,
        )
        self.models_error: str | None = None

    async def prepare(self) -> None:
        """What takes long, off the event loop. A model that cannot be loaded is a condition, and no end of serving."""
        router = self.router
        try:
            await asyncio.to_thread(router.prepare)
        except SemanticConfigError as mistake:
            if router is self.router:
                self.models_error = f"{self._path}: {mistake}"
                log.warning("a model is not used, its signals stay unknown: %s", self.models_error)

    async def watch(self) -> None:
        """Bring in what takes long, and follow the file until cancelled."""
        preparing = asyncio.create_task(self.prepare(), name="semantic models")
        try:
            await self.file.watch()
        finally:
            preparing.cancel()

    def counts(self) -> Mapping[str, Any]:
        """Numbers to look at."""
        return {
            "own_models": {"loading": self.router.own.loading, "unanswered": self.router.own.unanswered},
            "reloads": self.file.reloads,
            "failed_reloads": self.file.failures,
        }

    def texts(self) -> Mapping[str, int]:
        """Texts for the encoder by what became of them; empty where there is no encoder."""
        counts = self.signals.counts()
        return {fate: counts[fate] for fate in FATES if fate in counts} if isinstance(counts, Mapping) else {}

    def calls(self) -> Mapping[str, Call]:
        """The classification API."""
        service = ClassificationService(lambda: self.router)
        return {name: _translated(call) for name, call in service.calls.items()}

    def close(self) -> None:
        """Let all threads go."""
        self.router.close()
        self.signals.close()

    def _built(self) -> SemanticRouter:
        try:
            router = SemanticRouter.load(
                self._path,
                lenient=self._lenient,
                signals=self.signals,
                sessions=self._sessions,
                observe=self._observe,
            )
        except SemanticConfigError as mistake:
            raise ConfigError(f"{self._path}: {mistake.path}", _message(mistake)) from mistake
        except OSError as unreadable:
            raise ConfigError(str(self._path), unreadable.strerror or "cannot be read") from unreadable
        for warning in router.warnings:
            log.warning("%s: %s", self._path, warning)
        return router

    def _prepared(self) -> SemanticRouter:
        """Aside and whole: a router whose models cannot be loaded never comes into use."""
        router = self._built()
        try:
            router.prepare()
        except SemanticConfigError as mistake:
            router.close()
            raise ConfigError(f"{self._path}: {mistake.path}", mistake.message) from mistake
        return router

    def _use(self, router: SemanticRouter) -> None:
        before, self.router = self.router, router
        self.models_error = None
        asyncio.get_running_loop().call_later(CLOSE_LATER_S, before.close)


def _message(mistake: SemanticConfigError) -> str:
    """The first mistake, and the others of the file, as far as a line can hold them."""
    more = [str(other) for other in mistake.others[:SHOWN_MAX]]
    rest = len(mistake.others) - len(more)
    return "; ".join([mistake.message, *more, *([f"and {rest} more"] if rest else [])])


def _translated(call: Call) -> Call:
    async def answer(given: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return await call(given)
        except BadInput as bad:
            raise Unanswered(400, "INVALID_INPUT", str(bad)) from bad
        except NotAvailable as missing:
            raise Unanswered(503, "NOT_AVAILABLE", str(missing)) from missing

    return answer
