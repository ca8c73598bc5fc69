"""The users' own models of one configuration: loaded aside, asked off the event loop, with a deadline. Never raises.

Must stay true: until a model is loaded, and where it could not be, its answers are missing; the event loop waits for
neither loading nor inference longer than the deadline.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from semantic.own.declared import OwnModel
from semantic.own.model import LoadedModel
from semantic.own.spans import type_of
from semantic.reading import ConfigError
from semantic.signals.api import Seen

WAITING_TEXTS_MAX = 64
NO_LABELS: Mapping[str, Sequence[frozenset[str]]] = {}


class OwnModels:
    """Starts without any; `load` brings them in.

    `errors` says by name why a model is not there; `unanswered` counts texts that got no answer in time.
    """

    def __init__(self, declared: Mapping[str, OwnModel], base: Path) -> None:
        self.errors: dict[str, str] = {}
        self.unanswered = 0
        self._declared = declared
        self._base = base
        self._loaded: dict[str, LoadedModel] = {}
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="own-models")
        self._waiting = 0
        self._closed = False

    @property
    def loading(self) -> list[str]:
        """Those that are neither there nor given up on."""
        return [name for name in self._declared if name not in self._loaded and name not in self.errors]

    def load(self, wanted: Mapping[str, Sequence[frozenset[str]]] = NO_LABELS) -> None:
        """Loads them one by one. Blocking, for a thread of its own. Raises the first ConfigError after trying all.

        A model that knows none of a set of labels that are `wanted` of it is a mistake: it would never say yes.
        """
        first: ConfigError | None = None
        for name, own in self._declared.items():
            if self._closed:
                return
            try:
                model = LoadedModel(self._base, own)
                _check_labels(own, model.labels, wanted.get(name, ()))
                self._loaded[name] = model
            except ConfigError as mistake:
                self.errors[name] = str(mistake)
                first = first or mistake
        if first is not None:
            raise first

    async def see(self, names: Iterable[str], text: str, deadline: float) -> dict[str, Seen]:
        """What each of these models sees, as far as they are there and in time (`deadline` on the loop's clock)."""
        return {name: seen for name in names if (seen := await self._see(name, text, deadline)) is not None}

    async def _see(self, name: str, text: str, deadline: float) -> Seen | None:
        model = self._loaded.get(name)
        loop = asyncio.get_running_loop()
        if model is None or self._closed or self._waiting >= WAITING_TEXTS_MAX or loop.time() >= deadline:
            self.unanswered += 1
            return None
        self._waiting += 1

        def ask() -> Seen | None:
            # Nobody waits for it any more: the model must not either.
            return model.see(text) if loop.time() < deadline else None

        asked = self._worker.submit(ask)
        asked.add_done_callback(lambda _: loop.call_soon_threadsafe(self._left) if not loop.is_closed() else None)
        try:
            async with asyncio.timeout_at(deadline):
                found = await asyncio.wrap_future(asked)
        except Exception:  # late, or failed: onnxruntime's errors come straight from Exception
            found = None
        if found is None:
            self.unanswered += 1
        return found

    def _left(self) -> None:
        self._waiting -= 1

    def close(self) -> None:
        """Lets the worker go. Closing twice is harmless."""
        self._closed = True
        self._worker.shutdown(wait=False, cancel_futures=True)


def _check_labels(own: OwnModel, labels: Sequence[str], wanted: Sequence[frozenset[str]]) -> None:
    known = {*labels, *map(type_of, labels)}
    for some in wanted:
        if not some & known:
            raise ConfigError(own.path, f"the model knows {', '.join(labels)}, and none of {', '.join(sorted(some))}")
