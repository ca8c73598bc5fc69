"""How a coroutine waits for `Drive.go_on`. Apart, not compiled: only an interpreted generator is awaited by all."""

from __future__ import annotations

from collections.abc import Generator
from types import coroutine


class Parked:
    """What a coroutine yields that waits for `Drive.go_on`."""


PARKED = Parked()


@coroutine
def parked() -> Generator[Parked, None, None]:
    """Wait until somebody says `go_on`. Only in a coroutine that a `Drive` runs."""
    yield PARKED
