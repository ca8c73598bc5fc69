"""The gRPC servers over real connections, with Envoy's own generated messages on the client's side."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc
import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as envoy
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc as envoy_grpc

from epp.datastore.pool import Listed, Pool
from epp.edge.methods import Disconnected, Limits, Read, Write
from epp.edge.processor import Processor
from epp.edge.server import call
from epp.edge.stream import Shared, Stream
from epp.protocol.exchange import Buffers
from epp.scheduling.default import default_profile
from epp.telemetry import Telemetry
from tests.edge.transports import TRANSPORTS, listen
from tests.edge.transports import served as serve
from tests.make import FixedChooser, chat, director, fleet, pool

STREAMS_MAX = 300


class Served:
    """A running server and a channel to it."""

    def __init__(self, over: Pool, telemetry: Telemetry, processor: Processor, channel: grpc.aio.Channel) -> None:
        self.over = over
        self.telemetry = telemetry
        self.processor = processor
        self.stub = envoy_grpc.ExternalProcessorStub(channel)  # type: ignore[no-untyped-call]  # generated

    async def say(self, messages: Sequence[envoy.ProcessingRequest]) -> list[envoy.ProcessingResponse]:
        async def sending() -> AsyncIterator[envoy.ProcessingRequest]:
            for message in messages:
                yield message

        return [answer async for answer in self.stub.Process(sending())]


@asynccontextmanager
async def serving(transport: str, streams_max: int, body_idle_s: float = 60.0) -> AsyncIterator[Served]:
    """Two endpoints, one a model, behind a real server."""
    over = pool("a", "b", models={"a": ["llama3-8b"], "b": ["phi4-mini"]})
    telemetry = Telemetry(fleet(over))
    decider = director(over, FixedChooser("phi4-mini"), telemetry=telemetry, profile=default_profile())
    processor = Processor(
        lambda: Stream(decider, telemetry, lambda: 0.0, Shared(Buffers(1 << 20, 1 << 24), body_idle_s=body_idle_s)),
        telemetry,
        streams_max,
    )

    async with (
        serve(transport, processor.methods(), limits=Limits(receive_bytes_max=1 << 19)) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield Served(over, telemetry, processor, channel)


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
async def served(transport: str) -> AsyncIterator[Served]:
    async with serving(transport, STREAMS_MAX) as one:
        yield one


def opening(**config: int) -> envoy.ProcessingRequest:
    message = envoy.ProcessingRequest()
    for name, value in config.items():
        setattr(message.protocol_config, name, value)
    for key, value in {":method": b"POST", ":path": b"/v1/chat/completions"}.items():
        message.request_headers.headers.headers.add(key=key, raw_value=value)
    return message


def body(data: bytes, end: bool = True) -> envoy.ProcessingRequest:
    message = envoy.ProcessingRequest()
    message.request_body.body, message.request_body.end_of_stream = data, end
    return message


async def test_full_duplex_over_a_real_connection(served: Served) -> None:
    first, second = await served.say([opening(request_body_mode=4, response_body_mode=4), body(chat("auto", "hi"))])
    lb = first.dynamic_metadata["envoy.lb"]
    streamed = second.request_body.response.body_mutation.streamed_response

    assert lb["x-gateway-destination-endpoint"] == "10.0.0.1:8000"
    assert (streamed.body, streamed.end_of_stream) == (chat("phi4-mini", "hi"), True)
    assert served.over.endpoints[1].inflight_requests == 0
    assert served.processor.open == 0


async def test_a_client_without_protocol_config_that_half_closes_is_answered(served: Served) -> None:
    first, _ = await served.say([opening(), body(chat("llama3-8b"))])
    values = {h.header.key: h.header.raw_value for h in first.request_headers.response.header_mutation.set_headers}

    assert values["x-gateway-destination-endpoint"] == b"10.0.0.0:8000"


async def test_a_stream_that_makes_no_sense_is_an_error_and_hurts_no_other(served: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as broken:
        await served.say([envoy.ProcessingRequest()])
    answers = await served.say([opening(), body(chat("llama3-8b"))])

    assert broken.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert len(answers) == 2


async def test_a_client_that_stalls_in_its_body_is_answered_over_a_real_connection(transport: str) -> None:
    async with serving(transport, STREAMS_MAX, body_idle_s=0.05) as served:
        stream = served.stub.Process()
        await stream.write(opening(request_body_mode=4, response_body_mode=4))
        await stream.write(body(b'{"model', end=False))
        answer = await stream.read()
        after = await stream.read()

    assert answer.immediate_response.status.code == 408
    assert after is grpc.aio.EOF


async def test_a_client_that_resets_while_it_is_written_to_is_counted_as_gone(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        stream = served.stub.Process()
        await stream.write(opening(request_body_mode=4, response_body_mode=4))
        await stream.write(body(chat("llama3-8b", "x" * 400_000)))
        await stream.read()  # the rest of the reply fills the window that nobody empties
        stream.cancel()
    async with asyncio.timeout(30):
        while served.processor.open:
            await asyncio.sleep(0.01)
    outcomes = served.telemetry.registry.get_sample_value

    assert outcomes("onehop_request_outcome_total", {"outcome": "disconnected"}) == 20
    assert outcomes("onehop_request_outcome_total", {"outcome": "error"}) is None
    assert caplog.records == []


class Gone:
    """A call whose peer is gone when it is written to, as gRPC reports a reset that it has not told us of yet."""

    def __init__(self) -> None:
        self.messages = [opening(request_body_mode=4, response_body_mode=4), body(chat("llama3-8b"))]

    async def read(self) -> bytes:
        return self.messages.pop(0).SerializeToString()

    async def write(self, _: bytes) -> None:
        raise grpc.aio.InternalError


async def test_grpc_reports_a_peer_that_is_gone_as_we_want_to_hear_it() -> None:
    async def method(_: Read, write: Write) -> None:
        with pytest.raises(Disconnected):
            await write(b"")

    await call(method, Gone())  # type: ignore[arg-type]  # the two methods it needs


async def test_a_write_that_finds_the_peer_gone_ends_the_stream_quietly(served: Served) -> None:
    gone = Gone()

    async def write(_: bytes) -> None:
        raise Disconnected

    await served.processor.process(gone.read, write)

    outcome = served.telemetry.registry.get_sample_value("onehop_request_outcome_total", {"outcome": "disconnected"})
    assert outcome == 1
    assert sum(e.inflight_requests for e in served.over.endpoints) == 0


async def test_256_requests_at_once_spread_over_8_equal_endpoints(served: Served) -> None:
    served.over.relist(Listed(f"p{n}", f"10.0.1.{n}:8000") for n in range(8))
    release = asyncio.Event()

    async def request(number: int) -> None:
        stream = served.stub.Process()
        await stream.write(opening())
        await stream.write(body(chat("llama3-8b", f"{number} asks something of its own")))
        answer = await stream.read()
        chosen.append(answer.dynamic_metadata["envoy.lb"]["x-gateway-destination-endpoint"])
        if len(chosen) == 256:
            release.set()
        await release.wait()  # so that all are in flight together
        await stream.done_writing()
        while await stream.read() is not grpc.aio.EOF:
            pass

    chosen: list[str] = []
    await asyncio.gather(*(request(number) for number in range(256)))
    counts = Counter(chosen)

    assert len(counts) == 8
    assert max(counts.values()) / 32 <= 1.2
    assert sum(e.inflight_requests for e in served.over.endpoints) == 0


async def test_one_stream_too_many_is_turned_away_and_the_others_go_on(served: Served) -> None:
    streams = [served.stub.Process() for _ in range(STREAMS_MAX)]
    for stream in streams:
        await stream.write(opening())
    async with asyncio.timeout(20):
        while served.processor.open < STREAMS_MAX:
            await asyncio.sleep(0.005)
    # HTTP/2's limit, which would make the client wait, is higher here.
    refused = await served.stub.Process().code()
    for stream in streams:
        stream.cancel()
    async with asyncio.timeout(20):
        while served.processor.open:
            await asyncio.sleep(0.005)
    answers = await served.say([opening(), body(chat("llama3-8b"))])

    assert refused is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert served.processor.turned_away == 1
    assert len(answers) == 2


async def test_a_message_larger_than_the_limit_ends_its_stream_only(served: Served) -> None:
    stream = served.stub.Process()
    await stream.write(opening())
    await stream.write(body(chat("llama3-8b", "x" * (1 << 19))))
    refused = await stream.code()
    answers = await served.say([opening(), body(chat("llama3-8b"))])

    assert refused is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(answers) == 2


async def test_a_taken_port_is_a_clear_error(transport: str) -> None:
    server = listen(transport, {})
    await server.start()

    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{server.port}"):
        listen(transport, {}, address=f"127.0.0.1:{server.port}")
    await server.stop(None)
