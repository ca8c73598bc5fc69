"""`onehop serve`: settings, logging, the event loop."""

from __future__ import annotations

import asyncio
import gc
import os
import sys

import uvloop

from epp.cli import logs
from epp.settings import Settings, parse

COLLECTOR_THRESHOLDS = (20_000, 20, 20)  # new objects; then how many passes over the younger before one over the older
NO_TLS12_SUITE = "TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA"


def run(arguments: list[str]) -> int:
    """Serve until a signal; 0 after a clean drain."""
    settings = parse(arguments)
    logs.configure(settings)
    _instruct_grpc(settings)
    from epp import app  # noqa: PLC0415  # grpc reads its environment when it is first imported

    calm_collector()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(app.serve(settings))
    return 0


def calm_collector() -> None:
    """What is imported by now stays: the collector need not look through it for as long as we serve.

    Requests leave next to no cycles, but thousands of receipts, each of which the collector would go through again and
    again at its usual thresholds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


def _instruct_grpc(settings: Settings) -> None:
    """What gRPC takes from its environment only.

    It never speaks less than TLS 1.2 and has no option to leave 1.2 out. For 1.3 alone, all that is left to 1.2 is a
    suite that needs a key shared beforehand, which nobody has: such handshakes end with `no shared cipher`. What 1.3
    uses is not affected.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # else every failed handshake is two lines beside our log
    tls13_only = settings.tls_min_version == "VersionTLS13"
    suites = NO_TLS12_SUITE if tls13_only else (settings.tls_cipher_suites or "").replace(",", ":")
    if suites:
        assert "grpc" not in sys.modules, "too late: grpc has read its environment"
        os.environ["GRPC_SSL_CIPHER_SUITES"] = suites
