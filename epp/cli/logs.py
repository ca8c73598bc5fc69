"""Logging as the flags ask for it: how much, and as text or as one JSON object a line."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime

import msgspec

from epp.settings import Settings

LEVELS = (logging.ERROR, logging.WARNING, logging.INFO, logging.INFO)
NAMED = {"debug": logging.DEBUG, "info": logging.INFO, "error": logging.ERROR, "panic": logging.CRITICAL}


def configure(settings: Settings) -> None:
    """Set up the root logger, on standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if settings.zap_encoder == "json" else _text())
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


class JsonLines(logging.Formatter):
    """zap's keys: `level`, `ts`, `logger`, `msg`, and `stacktrace` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """One object, without line breaks whatever the message holds."""
        line = {
            "level": record.levelname.lower(),
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        if record.exc_info:
            line["stacktrace"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def _text() -> logging.Formatter:
    text = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    text.converter = time.gmtime
    return text
