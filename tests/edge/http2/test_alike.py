"""The `h2` library as a client of both transports, over sockets: whatever it asks, however it cuts that into frames and
whatever its settings are, our server answers each call as gRPC's own does."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from random import Random
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
import pytest_asyncio

from tests.edge.http2.peer import HEADERS, PATH, message
from tests.edge.http2.test_interop import LIMITS, odd
from tests.edge.transports import served

CALLS = 12
SIZES = (0, 1, 100, 5_000, 16_379, 16_384, 70_000)
WINDOWS = (100, 20_000, 65_535, 1 << 20)
CUTS = (1, 5, 9, 1_000, 16_384)
ENDS = (b"", b"", b"", b"fail", b"end", b"surprise", bytes(LIMITS.receive_bytes_max + 1))

Answer = tuple[list[bytes], str, str]


@dataclass
class Plan:
    """What a client does, all of it from one seed."""

    rng: Random
    path: list[str] = field(default_factory=list)
    said: list[list[bytes]] = field(default_factory=list)

    @classmethod
    def of(cls, seed: int) -> Plan:
        plan = cls(Random(seed))
        for _ in range(CALLS):
            plan.path.append(plan.rng.choices([PATH, "/a.Service/Unknown"], [9, 1])[0])
            messages = [plan.rng.randbytes(plan.rng.choice(SIZES)) for _ in range(plan.rng.randrange(5))]
            end = plan.rng.choice(ENDS)
            plan.said.append([*messages, end] if end else messages)
        return plan


class Client:
    """An `h2` connection on a socket; it `pads` but where gRPC's own server listens, which takes no padding."""

    def __init__(self, plan: Plan, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pads: bool) -> None:
        self._plan = plan
        self._pads = pads
        self._reader, self._writer = reader, writer
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self._h2 = h2.connection.H2Connection(config)
        codes, rng = h2.settings.SettingCodes, plan.rng
        first = {
            codes.INITIAL_WINDOW_SIZE: rng.choice(WINDOWS),
            codes.MAX_FRAME_SIZE: rng.choice((16_384, 1 << 20)),
            codes.HEADER_TABLE_SIZE: rng.choice((0, 100, 4096)),
            codes.ENABLE_PUSH: 0,
        }
        self._h2.local_settings = h2.settings.Settings(client=True, initial_values=first)
        self._h2.max_inbound_frame_size = first[codes.MAX_FRAME_SIZE]
        self._data: dict[int, bytes] = defaultdict(bytes)
        self._told: dict[int, dict[str, str]] = defaultdict(dict)
        self._over: set[int] = set()
        self._acked = False

    async def run(self) -> list[Answer]:
        """Every call's messages, status and words."""
        self._h2.initiate_connection()
        while not self._acked:  # both sides keep to the settings from here on
            await self._turn()
        left = {}
        for number, path in enumerate(self._plan.path):
            self._h2.send_headers(2 * number + 1, [*{**HEADERS, ":path": path}.items()])
            left[2 * number + 1] = b"".join(map(message, self._plan.said[number]))
        while len(self._over) < CALLS:
            self._send_some(left)
            await self._turn()
        return [self._answer(2 * number + 1) for number in range(CALLS)]

    def _send_some(self, left: dict[int, bytes]) -> None:
        rng = self._plan.rng
        for stream_id in rng.sample([*left], len(left)):
            if stream_id in self._over:
                del left[stream_id]
                continue
            for _ in range(rng.randrange(1, 4)):
                room = self._h2.local_flow_control_window(stream_id)
                size = min(rng.choice(CUTS), room, len(left[stream_id]), self._h2.max_outbound_frame_size)
                padding = rng.choice((None, None, 7)) if self._pads and room > size + 8 and size < 16_000 else None
                piece, left[stream_id] = left[stream_id][:size], left[stream_id][size:]
                self._h2.send_data(stream_id, piece, end_stream=not left[stream_id], pad_length=padding)
                if not left[stream_id]:
                    del left[stream_id]
                    break

    async def _turn(self) -> None:
        self._writer.write(self._h2.data_to_send())
        try:
            async with asyncio.timeout(0.001):
                data = await self._reader.read(1 << 16)
        except TimeoutError:
            return
        assert data, "the server closed"
        for event in self._h2.receive_data(data):
            self._on(event)

    def _on(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.DataReceived):
            self._data[event.stream_id] += event.data
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            self._told[event.stream_id] |= dict(event.headers)  # type: ignore[arg-type]  # both are text
        elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
            self._over.add(event.stream_id)
        elif isinstance(event, h2.events.SettingsAcknowledged):
            self._acked = True
        assert not isinstance(event, h2.events.ConnectionTerminated)

    def _answer(self, stream_id: int) -> Answer:
        told = self._told[stream_id]
        return [*_messages(self._data[stream_id])], told["grpc-status"], unquote(told.get("grpc-message", ""))


def _messages(data: bytes) -> Iterator[bytes]:
    while data:
        size = int.from_bytes(data[1:5], "big")
        assert len(data) >= 5 + size
        yield data[5 : 5 + size]
        data = data[5 + size :]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ports() -> AsyncIterator[dict[str, int]]:
    async with (
        served("native", {PATH: odd}, limits=LIMITS) as ours,
        served("grpc", {PATH: odd}, limits=LIMITS) as theirs,
    ):
        yield {"native": ours, "grpc": theirs}


async def answered(transport: str, port: int, seed: int) -> list[Answer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(60):
            return await Client(Plan.of(seed), reader, writer, transport == "native").run()
    finally:
        writer.close()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("seed", range(10))
async def test_each_call_is_answered_as_by_grpcio(ports: dict[str, int], seed: int) -> None:
    ours, theirs = [await answered(transport, ports[transport], seed) for transport in ("native", "grpc")]
    said = Plan.of(seed).said

    assert [status for _, status, _ in ours] == [status for _, status, _ in theirs]
    for asked, (heard, status, words), (heard_there, _, words_there) in zip(said, ours, theirs, strict=True):
        if status == "0":
            assert heard == heard_there == [m for m in asked if m != b"end"]
        if status == "3":  # who fails says why; what came before arrives
            assert (heard, words) == (heard_there, words_there) == (asked[:-1], "as asked: \u00fc %")
