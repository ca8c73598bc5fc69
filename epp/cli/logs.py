"""Logging as the flags ask for it: how much, and as text or as one JSON object a line; and never a flood.

What a line is about beside its words (a reason, a receipt, a count) is in `told` of the record: members of the JSON
object, `name=value` at the end of a line of text.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from epp.settings import Settings

LEVELS = (logging.ERROR, logging.WARNING, logging.INFO, logging.INFO)
BURST, EVERY_S = 20, 10.0  # lines of one kind that are written in so many seconds
KINDS_MAX = 1000
NAMED = {"debug": logging.DEBUG, "info": logging.INFO, "error": logging.ERROR, "panic": logging.CRITICAL}


def configure(settings: Settings) -> None:
    """Set up the root logger, on standard error."""
    handler = Bounded()
    handler.setFormatter(JsonLines() if settings.zap_encoder == "json" else Text())
    logging.basicConfig(level=level(settings), handlers=[handler], force=True)
    logging.getLogger("httpx2").setLevel(max(level(settings), logging.WARNING))  # it tells of every request at INFO
    logging.captureWarnings(True)


def level(settings: Settings) -> int:
    """The level that `--zap-log-level`, or else `-v`, asks for."""
    asked = settings.zap_log_level
    if asked in NAMED:
        return NAMED[asked]
    verbosity = settings.v if asked is None else int(asked)
    return LEVELS[verbosity] if verbosity < len(LEVELS) else logging.DEBUG


@dataclass(slots=True)
class _Kind:
    since: float
    written: int = 0
    left_out: int = 0


class Bounded(logging.StreamHandler[Any]):
    """On standard error; of lines that differ only in what is filled in, `BURST` in `EVERY_S` seconds.

    How many others there were is said when these are over, or when the process ends.
    """

    def __init__(self, stream: Any = None, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._now = now
        self._kinds: dict[tuple[str, int, str], _Kind] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write it, or count it. The caller holds the handler's lock."""
        key, now = (record.name, record.levelno, str(record.msg)), self._now()
        kind = self._kinds.get(key)
        if kind is None or now - kind.since >= EVERY_S:
            self._tell(key)
            if len(self._kinds) >= KINDS_MAX:
                self._kinds.pop(next(iter(self._kinds)))
            kind = self._kinds[key] = _Kind(now)
        if kind.written < BURST:
            kind.written += 1
            super().emit(record)
            return
        kind.left_out += 1
        if kind.left_out == 1:
            timer = threading.Timer(max(0.0, kind.since + EVERY_S - now), self._over, (key,))
            timer.daemon = True
            timer.start()

    def close(self) -> None:
        """The process ends: nothing stays untold."""
        with self.lock or threading.Lock():
            for key in [*self._kinds]:
                self._tell(key)
        super().close()

    def _over(self, key: tuple[str, int, str]) -> None:
        with self.lock or threading.Lock():
            self._tell(key)

    def _tell(self, key: tuple[str, int, str]) -> None:
        kind = self._kinds.pop(key, None)
        if kind is not None and kind.left_out:
            name, level, words = key
            more = logging.LogRecord(
                name, level, "", 0, "%d more lines like this were left out: %s", (kind.left_out, words), None
            )
            more.told = {"suppressed": kind.left_out}
            super().emit(more)


class JsonLines(logging.Formatter):
    """zap's keys: `level`, `ts`, `logger`, `msg`, what the line is about, and `stacktrace` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """One object, without line breaks whatever the message holds."""
        line = {
            "level": record.levelname.lower(),
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "logger": record.name,
            "msg": record.getMessage(),
            **_told(record),
        }
        if record.exc_info:
            line["stacktrace"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


class Text(logging.Formatter):
    """A line for people, with the time in UTC."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """With what the line is about at its end."""
        about = " ".join(f"{name}={value}" for name, value in _told(record).items())
        return super().formatMessage(record) + (f" ({about})" if about else "")


def _told(record: logging.LogRecord) -> dict[str, Any]:
    told: dict[str, Any] = getattr(record, "told", {})
    return told
