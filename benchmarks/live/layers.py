"""`python -m benchmarks.live.layers`: where the CPU of one request within the process goes, layer by layer.

The request of `benchmarks.live.inside`, answered with the same bytes from one layer deeper each time: by the transport
alone, which knows them; after its messages were read and the replies written; by a stream that asks a director who
always says the same; by the service. The difference of two is what a layer adds, and that is more than what it takes
alone: the same code is slower among other code. All in turn, the least of many rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import time
from dataclasses import replace
from typing import Any

import uvloop

from benchmarks.live.inside import MODEL, STREAMED, WARM, Run, Service, messages
from epp.cli.serve import COLLECTOR_THRESHOLDS
from epp.domain import Receipt
from epp.edge.health import EXT_PROC
from epp.edge.methods import Methods, Read, Reading, Write
from epp.edge.processor import Processor
from epp.edge.stream import Shared, Stream
from epp.outcome import Routed, plain_route
from epp.protocol.codec import decode, encode, is_of_response
from epp.protocol.exchange import Buffers, Exchange
from epp.protocol.messages import Decide, Reply

CASES = tuple(case for case in STREAMED if case != "chunk")
ROUNDS = 12
LAYERS = ("transport", "messages", "stream", "all")


class Same:
    """A director that always decides the same, and remembers nothing; and what counts nothing."""

    reporting = False

    def __init__(self) -> None:
        self.streams = self

    async def decide(self, ask: Decide, *_: object) -> Routed:
        """To the first endpoint."""
        receipt = Receipt("0" * 16, ask.headers["x-request-id"], 0.0, ask.headers[":path"], MODEL, model=MODEL)
        way = plain_route(ask.headers, "10.0.0.10:8000", receipt)
        way.model_changed, way.set_headers = True, [("x-selected-model", MODEL)]
        return Routed(way, None, receipt)

    def __getattr__(self, name: str) -> Any:
        return _nothing


def _nothing(*_: object) -> None:
    """Whatever is told."""


class Known:
    """Answers each message with what an exchange said to it once; `reads` also makes events of messages and back."""

    def __init__(self, case: str, *, reads: bool) -> None:
        exchange, same = Exchange(Buffers(1 << 26, 1 << 29)), Same()
        self._replies: list[list[Reply]] = []
        for message in [message for read in messages(case) for message in read]:
            said: list[Reply] = []
            for action in exchange.receive(decode(message)):
                if isinstance(action, Decide):
                    said += exchange.routed(asyncio.run(same.decide(action)).route)
                else:
                    said.append(action)
            self._replies.append(said)
        self._bytes = [[encode(reply) for reply in said] for said in self._replies]
        self._reads = reads

    async def process(self, read: Read, write: Write) -> None:
        """One stream."""
        place = 0

        def passing(data: bytes) -> list[bytes] | None:
            nonlocal place
            if not is_of_response(data):
                return None
            place += 1
            return self._answers(data, place - 1)

        assert isinstance(read, Reading)
        read.passing = passing
        while (data := await read()) is not None:
            place += 1
            for reply in self._answers(data, place - 1):
                await write(reply)

    def _answers(self, data: bytes, place: int) -> list[bytes]:
        if not self._reads:
            return self._bytes[place]
        decode(data)
        return [encode(reply) for reply in self._replies[place]]


def methods(layer: str, case: str, endpoints: int) -> Methods:
    """What answers from that deep."""
    path = f"/{EXT_PROC}/Process"
    if layer in ("transport", "messages"):
        return {path: Known(case, reads=layer == "messages").process}
    if layer == "stream":
        same: Any = Same()
        shared = Shared(Buffers(1 << 26, 1 << 29))
        return Processor(lambda: Stream(same, same, time.monotonic, replace(shared)), same).methods()
    return Service(endpoints).processor().methods()


async def measured(case: str, count: int, endpoints: int, served: dict[str, Methods]) -> dict[str, float]:
    """Microseconds of CPU a request, by layer."""
    runs = {layer: Run(case, endpoints, what) for layer, what in served.items()}
    for run in runs.values():
        await run.round(WARM)
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)  # as the service does
    found = {layer: [1e6 * await run.round(count) / count] for layer, run in runs.items()}
    for _ in range(ROUNDS):
        for layer, run in runs.items():
            found[layer].append(1e6 * await run.round(count) / count)
    return {layer: min(times) for layer, times in found.items()}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.live.layers", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--requests", type=int, default=300, help="in each round")
    parser.add_argument("--endpoints", type=int, default=16, help="16; at most 90")
    args = parser.parse_args()
    for case in CASES:
        served = {layer: methods(layer, case, args.endpoints) for layer in LAYERS}
        least = uvloop.run(measured(case, args.requests, args.endpoints, served))
        told, before = [], 0.0
        for layer, us in least.items():
            told.append(f"{layer} {us - before:.0f} us ({(us - before) / least['all']:.2f})")
            before = us
        sys.stdout.write(f"{case}: {least['all']:.0f} us, of which {', '.join(told)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
