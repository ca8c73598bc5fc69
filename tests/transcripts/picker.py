"""A picker behind a real gRPC server, and one gateway's stream to it.

Which reply belongs to which message is known without waiting: the stream has answered a message when it asks for the
next one.
"""

from __future__ import annotations

from typing import Any

import grpc
from envoy.service.ext_proc.v3 import external_processor_pb2 as envoy
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc as envoy_grpc

from epp.datastore.pool import Listed, Pool
from epp.datastore.receipts import Receipts
from epp.domain import Receipt
from epp.edge.stream import Read, Shared, Stream, Write
from epp.protocol.exchange import Buffers
from epp.scheduling.default import default_profile
from epp.telemetry import Telemetry
from tests.edge.until import until
from tests.make import director, fleet
from tests.transcripts.wire import Message, P, Reply, expect

Row = tuple[Message, *tuple[Reply, ...]]


class Picker:
    """The picker under test; `serves` gives it endpoints and what else a row asks for."""

    def __init__(self) -> None:
        self.pool = Pool()
        self.receipts = _Receipts()
        self.telemetry = Telemetry(fleet(self.pool))
        self.streams: list[_Watched] = []
        self.channel: grpc.aio.Channel | None = None
        self.serves()

    def serves(
        self,
        *pods: P,
        request_bytes_max: int = 20 << 20,
        restore_model: bool = False,
        sample_every: int = 0,
        first_of_two: bool = False,
        **parts: Any,
    ) -> Picker:
        """These endpoints and no others. Parts are the director's."""
        self.lists(*pods)
        settled = {
            "profile": default_profile(),
            "receipts": self.receipts,
            "telemetry": self.telemetry,
            "first_of_two": first_of_two,
            **parts,
        }
        self._director = director(self.pool, **settled)
        self.shared = Shared(
            Buffers(request_bytes_max, 1 << 30),
            restore_model=restore_model,
            sample_every=sample_every,
            first_of_two=first_of_two,
        )
        return self

    def lists(self, *pods: P) -> None:
        """The endpoints change, as discovery would change them."""
        self.pool.relist(Listed(f"pod{pod.number}", pod.address) for pod in pods)
        for endpoint, pod in zip(self.pool.endpoints, pods, strict=True):
            endpoint.load = pod.load
            endpoint.models = None if pod.models is None else {name: name for name in pod.models}

    async def transcript(self, *rows: Row) -> Receipt | None:
        """A whole stream: each row's message, its replies, then the gateway's end; gives the last receipt."""
        call = self.open()
        await call.says(*rows)
        await call.finish()
        return self.receipt

    @property
    def receipt(self) -> Receipt | None:
        """Why the last request went where it went."""
        return self.receipts.last

    @property
    def inflight(self) -> list[int]:
        """Requests in the ledger, endpoint by endpoint."""
        return [e.inflight_requests for e in self.pool.endpoints]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        samples = [s for family in self.telemetry.registry.collect() for s in family.samples if s.name == name]
        return sum(s.value for s in samples if labels.items() <= s.labels.items())

    def open(self) -> Call:
        """A gateway opens a stream; it says something before the next is opened."""
        assert self.channel is not None
        stub = envoy_grpc.ExternalProcessorStub(self.channel)  # type: ignore[no-untyped-call]  # generated
        return Call(self, len(self.streams), stub.Process())

    def stream(self) -> Any:
        """What the server runs for a new stream."""
        watched = _Watched(Stream(self._director, self.telemetry, lambda: 0.0, self.shared))
        self.streams.append(watched)
        return watched


class Call:
    """One stream, from the gateway's side."""

    def __init__(self, picker: Picker, number: int, call: Any) -> None:
        self._picker = picker
        self._number = number
        self._call = call
        self._watched: _Watched | None = None
        self._sent = self._heard = 0

    async def says(self, *rows: Row) -> None:
        """Each message gets these replies, before the next is sent."""
        for message, *replies in rows:
            expect(await self.tell(message), replies)

    async def tell(self, message: Message) -> list[envoy.ProcessingResponse]:
        """Send a message; the replies to it."""
        await self._call.write(message.message())
        self._sent += 1
        if self._watched is None:
            await until(lambda: len(self._picker.streams) > self._number)
            self._watched = self._picker.streams[self._number]
        watched = self._watched
        replies = []
        while True:
            await until(lambda: watched.asked > self._sent or watched.ended or watched.written > self._heard)
            if watched.written == self._heard:
                return replies
            replies.append(await self._call.read())
            self._heard += 1

    async def hears(self) -> list[envoy.ProcessingResponse]:
        """All that comes unasked for, until the stream ends."""
        watched = self._watched
        assert watched is not None
        await until(lambda: watched.ended)
        replies = []
        while self._heard < watched.written:
            replies.append(await self._call.read())
            self._heard += 1
        return replies

    async def shot(self, *messages: Message) -> list[envoy.ProcessingResponse]:
        """Say everything at once and close; all that comes until the end, which must be a good one."""
        for message in messages:
            await self._call.write(message.message())
        await self._call.done_writing()
        replies = [reply async for reply in self._call]

        assert await self._call.code() is grpc.StatusCode.OK
        return replies

    async def finish(self) -> None:
        """The gateway closes its side; nothing more may come, and the stream ends well."""
        await self._call.done_writing()

        assert await self._call.read() is grpc.aio.EOF
        assert await self._call.code() is grpc.StatusCode.OK

    async def reset(self) -> None:
        """The gateway gives up."""
        self._call.cancel()
        watched = self._watched
        assert watched is not None
        await until(lambda: watched.ended)


class _Receipts(Receipts):
    """Receipts whose last is at hand as a value."""

    last: Receipt | None = None

    def add(self, receipt: Receipt) -> None:
        super().add(receipt)
        self.last = receipt


class _Watched:
    """A stream that counts what it asked for and what it wrote."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.asked = self.written = 0
        self.ended = False

    async def run(self, read: Read, write: Write) -> None:
        async def reading() -> bytes | None:
            self.asked += 1
            return await read()

        async def writing(data: bytes) -> None:
            self.written += 1
            await write(data)

        try:
            await self._stream.run(reading, writing)
        finally:
            self.ended = True
