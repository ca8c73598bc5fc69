"""`python -m benchmarks.live.inside [--against CHECKOUT]`: CPU of one request within the process, without sockets.

The bytes that an Envoy sends go into one connection of our HTTP/2, and everything from there on is the service's own:
stream, director, gate, default policy, receipts, metrics. `deciding` is the director alone, from a request read by the
gateway's filter to the end of its answer; `choice` the endpoint alone, once the request is through the gate, and what
receipts keep of it. `--against` measures another checkout in turn with this one,
so that what else the machine does falls on both; the least of many rounds is told, and the ratio of the two.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import uvloop
from hpack import Encoder

from epp.admission import gate_of
from epp.chooser import DefaultModelChooser
from epp.cli.serve import COLLECTOR_THRESHOLDS
from epp.datastore.fleet import Fleet
from epp.datastore.pool import Listed
from epp.datastore.receipts import Keeping, Receipts
from epp.director import Director
from epp.domain import Candidate, Choice, Load, Receipt
from epp.edge.http2 import frames
from epp.edge.http2.limits import Http2Limits
from epp.edge.http2.link import Link, Served
from epp.edge.http2.tally import NoTally
from epp.edge.methods import Methods
from epp.edge.otel import Tracing
from epp.edge.processor import Processor
from epp.edge.stream import Shared, Stream
from epp.leaving import Leaving, outlook_of
from epp.outcome import Routed
from epp.picking import Picking
from epp.protocol import openai
from epp.protocol.exchange import Buffers
from epp.protocol.messages import Decide
from epp.scheduling.default import default_profile
from epp.scheduling.spill import Spill, SpillRules
from epp.settings import parse
from epp.telemetry import Telemetry
from protos.gen import ext_proc_pb2 as pb

ROOT = Path(__file__).parents[2]
STREAMED = ("buffered", "buffered, 220 KB", "duplex", "chunk")
CASES = (*STREAMED, "deciding", "choice")
ROUNDS, WARM = 8, 300
CHUNKS, CHUNKED_MIN = 100, 30
MODEL = "bench-model"
CHOICE = Choice((Candidate(MODEL),))
_DESTINATION = re.compile(rb"10\.0\.0\.\d\d:8000")
_PLACE = b"10.0.0.00:8000"  # where the endpoint chosen belongs, of the same length
_ID = "00000000-2f6e-420b-85ff-48dd20ea9145"
_EVENT = b'data: {"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" token"}}]}\n\n'
# Windows that hold nothing back, as an Envoy's of 256 MiB do not.
_GREETING = b"".join(
    (
        frames.PREFACE,
        frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 28}),
        frames.window_update(0, frames.WINDOW_LARGEST - frames.WINDOW_DEFAULT),
    )
)
_CALL = [
    (":method", "POST"),
    (":path", "/envoy.service.ext_proc.v3.ExternalProcessor/Process"),
    (":authority", "onehop"),
    (":scheme", "http"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]


class _Socket:
    """Takes what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def set_write_buffer_limits(self, high: int) -> None: ...

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Service:
    """The service as it runs with no flag but the endpoints'; the rest is for who measures what it costs to be seen."""

    def __init__(
        self,
        endpoints: int,
        *,
        telemetry: type[Telemetry] = Telemetry,
        keeping: Keeping | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.picking, self.director, self.telemetry = _parts(endpoints, telemetry, keeping)
        self.tracing = tracing

    def processor(self) -> Processor:
        """What a transport serves."""
        shared = Shared(Buffers(1 << 26, 1 << 29), tracer=self.tracing)
        director, telemetry = self.director, self.telemetry
        return Processor(lambda: Stream(director, telemetry, time.monotonic, shared), telemetry)


def _parts(endpoints: int, kind: type[Telemetry], keeping: Keeping | None) -> tuple[Picking, Director, Telemetry]:
    fleet = Fleet("bench")
    pool = fleet.pool("bench")
    pool.relist([Listed(f"pod-{n}", f"10.0.{n // 90}.{10 + n % 90}:8000") for n in range(endpoints)])
    fleet.unite()
    for endpoint in fleet.all.endpoints:
        endpoint.models, endpoint.limited = {MODEL: MODEL}, False
        endpoint.load = Load(time.monotonic() + 1e6, 0.0, 1.0, 0.25, 16, 10_000)
    telemetry, profile, rng, settings = kind(fleet), default_profile(), Random(1), parse(["--discovery-file=none"])
    telemetry.measure(profile)
    leaving = Leaving(Spill(SpillRules()), outlook_of(profile))
    picking = Picking(fleet.all, profile, rng, leaving=leaving)
    director = Director(
        picking=picking,
        chooser=DefaultModelChooser(fleet.all, None),
        receipts=Receipts(keeping=keeping, on_fate=telemetry.receipt),
        telemetry=telemetry,
        now=time.monotonic,
        wall=time.time,
        rng=rng,
        gate=gate_of(settings, picking, time.monotonic, telemetry),
    )
    return picking, director, telemetry


def _prompt(count: int) -> bytes:
    said = {"model": MODEL, "messages": [{"role": "user", "content": "The quick brown fox jumps. " * count}]}
    return json.dumps(said).encode()


def messages(case: str) -> list[list[bytes]]:
    """The ext_proc messages of one request, by the read that brings them."""
    count = 8200 if "220 KB" in case else 36
    body = _prompt(count)
    head, more, answer = pb.ProcessingRequest(), pb.ProcessingRequest(), pb.ProcessingRequest()
    names = {":authority": "bench", ":path": "/v1/chat/completions", ":method": "POST", ":scheme": "http"}
    names |= {"content-type": "application/json", "content-length": str(len(body)), "x-request-id": _ID}
    for name, value in names.items():
        head.request_headers.headers.headers.add(key=name, raw_value=value.encode())
    duplex = not case.startswith("buffered")
    modes = pb.ProcessingMode
    head.protocol_config.request_body_mode = modes.FULL_DUPLEX_STREAMED if duplex else modes.BUFFERED
    head.protocol_config.response_body_mode = modes.FULL_DUPLEX_STREAMED if duplex else modes.NONE
    more.request_body.body, more.request_body.end_of_stream = body, True
    kind = "text/event-stream" if case == "chunk" else "application/json"
    for name, value in {":status": "200", "content-type": kind}.items():
        answer.response_headers.headers.headers.add(key=name, raw_value=value.encode())
    fields = answer.metadata_context.filter_metadata["envoy.lb"].fields
    fields["x-gateway-destination-endpoint-served"].string_value = _PLACE.decode()
    for message in (head, more, answer):
        message.metadata_context.SetInParent()
    first, second, third = (message.SerializeToString() for message in (head, more, answer))
    reads = [[first, second], [third]] if duplex else [[first], [second], [third]]
    if duplex:
        pieces = [_EVENT] * (CHUNKS if case == "chunk" else 1)
        for place, piece in enumerate(pieces, 1):
            part = pb.ProcessingRequest()
            part.response_body.body, part.response_body.end_of_stream = piece, place == len(pieces)
            reads.append([part.SerializeToString()])
    return reads


class Run:
    """Requests of one kind, one after the other; `methods` answer them, or the service."""

    def __init__(
        self, case: str, endpoints: int, methods: Methods | None = None, limits: Http2Limits | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        methods = methods or Service(endpoints).processor().methods()
        self._link = Link(Served(methods, limits or Http2Limits(), NoTally()), self._loop, lambda link: None)
        self._socket: Any = _Socket()
        self._link.connection_made(self._socket)
        self._encoder = Encoder()
        self._reads = messages(case)
        self._count = 0

    @property
    def written(self) -> list[bytes]:
        """What the socket was given for the last request."""
        written: list[bytes] = self._socket.written
        return written

    async def round(self, count: int) -> float:
        """CPU seconds of so many requests."""
        asked = [self._bytes() for _ in range(count)]
        done, left = self._loop.create_future(), iter(asked)

        def ask() -> None:  # from the loop, as a socket would
            reads = next(left, None)
            if reads is None:
                done.set_result(None)
                return
            self._one(reads, self._link.data_received)
            self._loop.call_soon(ask)

        gc.collect()
        began = time.process_time()
        self._loop.call_soon(ask)
        await done
        return time.process_time() - began

    def _one(self, reads: list[bytes], feed: Callable[[bytes], None]) -> None:
        self._socket.written.clear()
        chosen = None
        for data in reads:
            if chosen is None and self._socket.written:
                chosen = _DESTINATION.search(b"".join(self._socket.written))
            feed(data.replace(_PLACE, chosen[0]) if chosen is not None else data)

    def _bytes(self) -> list[bytes]:
        """What the socket would bring of one request, its reset at the end as Envoy sends it."""
        stream_id, self._count = 2 * self._count + 1, self._count + 1
        own = b"%08d" % self._count + _ID[8:].encode()
        block = self._encoder.encode(_CALL)
        start = b"" if stream_id > 1 else _GREETING
        start += frames.frame(frames.HEADERS, frames.END_HEADERS, stream_id, block)
        reads = []
        for read in self._reads:
            sent = [b"\0" + len(message).to_bytes(4, "big") + message.replace(_ID.encode(), own) for message in read]
            reads.append(start + b"".join(_frames(stream_id, data) for data in sent))
            start = b""
        return [*reads, frames.reset(stream_id, frames.ErrorCode.NO_ERROR)]


def _frames(stream_id: int, data: bytes) -> bytes:
    """As many DATA frames as it takes."""
    starts = range(0, len(data), frames.FRAME_BYTES_DEFAULT)
    pieces = [data[at : at + frames.FRAME_BYTES_DEFAULT] for at in starts]
    return b"".join([frames.frame(frames.DATA, 0, stream_id, piece) for piece in pieces])


class Deciding:
    """The director alone, or of it the choice of an endpoint alone, for one request after the other."""

    def __init__(self, case: str, endpoints: int) -> None:
        self._service = Service(endpoints)
        self._one = self._decide if case == "deciding" else self._choose
        self._body, self._count = _prompt(36), 0
        self._headers = {":path": "/v1/chat/completions", ":method": "POST", "content-type": "application/json"}
        self._request = openai.read(_ID, self._headers, self._body)

    async def round(self, count: int) -> float:
        """CPU seconds of so many requests."""
        gc.collect()
        began = time.process_time()
        for _ in range(count):
            self._count += 1
            await self._one(f"{self._count:08d}{_ID[8:]}")
        return time.process_time() - began

    async def _decide(self, request_id: str) -> None:
        director, now = self._service.director, time.monotonic
        routed = await director.decide(Decide({**self._headers, "x-request-id": request_id}, self._body, None))
        assert isinstance(routed, Routed)
        assert routed.lease is not None
        receipt, routed.receipt.status = routed.receipt, 200
        director.heads(routed, receipt.picked)
        routed.lease.prefilled(now())
        receipt.first_answer_s = receipt.ended_s = now() - receipt.time
        receipt.outcome = "completed"
        director.ended(routed)
        self._service.telemetry.ended(receipt)

    async def _choose(self, request_id: str) -> None:
        request = self._request
        request.memo.clear()  # a prompt that nobody has looked at
        receipt = Receipt(request_id, request_id, time.monotonic(), request.path, MODEL)
        choice = self._service.picking.choose(
            request, CHOICE, receipt, receipt.time, prefer=None, tried=set(), aliases=frozenset()
        )
        choice.pick.best(100).remember(choice.query)


async def measured(case: str, count: int, endpoints: int) -> list[float]:
    """Microseconds of CPU a request, or a chunk, round by round."""
    count = max(CHUNKED_MIN, count // CHUNKS) if case == "chunk" else count
    run = Run(case, endpoints) if case in STREAMED else Deciding(case, endpoints)
    await run.round(min(WARM, count))
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)  # as the service does
    each = CHUNKS * count if case == "chunk" else count
    return [1e6 * await run.round(count) / each for _ in range(ROUNDS)]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.live.inside", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--against", type=Path, help="another checkout of this project, measured in turn with this one")
    parser.add_argument("--requests", type=int, default=400, help="in each round")
    parser.add_argument("--endpoints", type=int, default=16, help="16; at most 90, but for the last two cases")
    parser.add_argument("--turns", type=int, default=3, help="of each checkout")
    parser.add_argument("--case", choices=CASES, help="this one alone, and print its rounds as JSON")
    parser.add_argument("--only", choices=CASES, help="of the cases; all")
    args = parser.parse_args()
    if args.case is not None:
        sys.stdout.write(json.dumps(uvloop.run(measured(args.case, args.requests, args.endpoints))) + "\n")
        return
    for case in CASES if args.only is None else [args.only]:
        found = {root: [0.0] for root in (ROOT, args.against) if root is not None}
        for _ in range(args.turns):
            for root in found:
                found[root] += _child(root, case, args)
        least = [min(rounds[1:]) for rounds in found.values()]
        against = f", {least[0] / least[1]:.2f} of {least[1]:.1f}" if len(least) > 1 else ""
        sys.stdout.write(f"{case}: {least[0]:.1f} us{against}\n")
        sys.stdout.flush()


def _child(root: Path, case: str, args: argparse.Namespace) -> list[float]:
    """This very file, with that checkout's code."""
    command = [sys.executable, __file__, f"--case={case}"]
    command += [f"--requests={args.requests}", f"--endpoints={args.endpoints}"]
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    out = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, cwd=root, stdout=subprocess.PIPE, check=True
    ).stdout
    rounds: list[float] = json.loads(out)
    return rounds


if __name__ == "__main__":
    main()
