"""An encoder that is loaded behind serving: tier 0 answers meanwhile, and what asks the encoder waits its deadline."""

from collections.abc import Callable, Sequence
from threading import Lock

from semantic.signals.encoder import Encoded, Encoder


class LateEncoder:
    """Loaded once, by whoever needs it first; others wait for it. Calls block, and are not for the event loop."""

    def __init__(self, load: Callable[[], Encoder]) -> None:
        """Loads nothing yet."""
        self._load = load
        self._loading = Lock()
        self._loaded: Encoder | None = None

    @property
    def ready(self) -> bool:
        """Whether it is loaded."""
        return self._loaded is not None

    def prepare(self) -> None:
        """Loads it, unless it is there, and runs it once. ConfigError when the folder is none; the next tries anew."""
        with self._loading:
            if self._loaded is None:
                encoder = self._load()
                encoder.classify(["warm up"])  # the first pass allocates; no request should pay for it
                self._loaded = encoder

    def classify(self, texts: Sequence[str]) -> list[Encoded]:
        """One answer for each text, in order."""
        self.prepare()
        assert self._loaded is not None, "prepare raises or loads"
        return self._loaded.classify(texts)
