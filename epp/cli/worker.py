"""What `--workers` starts: `python -m epp.cli.worker PIPE DOOR`, two sockets that are inherited. Not for people."""

from __future__ import annotations

import asyncio
import socket
import sys

import uvloop

from epp.cli import logs
from epp.cli.serve import calm_collector
from epp.workers import front


def main() -> None:
    """Serve connections that are handed to us, until whoever started us says so or is gone."""
    pipe, door = (socket.socket(fileno=int(argument)) for argument in sys.argv[1:3])
    try:
        setup = front.begin(pipe)
    except EOFError:
        return  # whoever started us is gone
    logs.configure(setup.settings)
    calm_collector()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(front.work(setup, pipe, door))


if __name__ == "__main__":
    main()
