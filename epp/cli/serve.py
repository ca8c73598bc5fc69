"""`onehop serve`: settings, logging, the event loop."""

from __future__ import annotations

import asyncio
import logging

import uvloop

from epp import app
from epp.settings import parse

LEVELS = (logging.ERROR, logging.WARNING, logging.INFO, logging.INFO)


def run(arguments: list[str]) -> int:
    """Serve until a signal; 0 after a clean drain."""
    settings = parse(arguments)
    level = LEVELS[settings.v] if settings.v < len(LEVELS) else logging.DEBUG
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(app.serve(settings))
    return 0
