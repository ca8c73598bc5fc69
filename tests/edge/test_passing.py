"""What is answered in the call that brings it is answered as what is read: same bytes, same receipt, same counts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from epp.datastore.receipts import Receipts
from epp.edge.methods import Reading
from epp.edge.stream import Shared, Stream
from epp.protocol.exchange import CHUNK_BYTES_MAX, Buffers
from epp.telemetry import Telemetry
from protos.gen import ext_proc_pb2 as pb
from tests.edge.test_stream import answer_head, opening, part, piece
from tests.make import FixedChooser, chat, director, fleet, pool

LIMIT = 1_000_000
EVENT = b'data: {"model":"m","choices":[{"delta":{"content":"t"}}]}\n\n'
USAGE = b'data: {"model":"m","usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}\n\n'
HEADS = [{"content_type": "text/event-stream"}, {"content_type": "application/json"}, {"content_encoding": "br"}]
TEXTS = st.sampled_from([EVENT, USAGE, USAGE[:40], USAGE[40:], b"", b"x" * 130, b"y" * (CHUNK_BYTES_MAX + 1)])


def with_more(message: bytes) -> bytes:
    """As gateways write beside a piece what they were configured to tell."""
    more = pb.ProcessingRequest()
    more.metadata_context.SetInParent()
    return message + more.SerializeToString()


PIECES = st.builds(piece, TEXTS, st.sampled_from([False] * 7 + [True]), st.just("response_body"))
SAID = st.lists(PIECES | PIECES.map(with_more) | st.just(part("response_trailers")), max_size=12)


class Offering(Reading):
    """Offers each message to `passing` before anybody reads it, as a transport may; `passed` counts those it took."""

    def __init__(self, write: Any, offers: bool) -> None:
        super().__init__()
        self._write, self._offers = write, offers
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.passed = 0

    async def __call__(self) -> bytes | None:
        return await self._queue.get()

    async def come(self, message: bytes | None) -> None:
        replies = None
        if self._offers and message is not None and self.passing is not None:
            replies = self.passing(message)
        if replies is None:
            self._queue.put_nowait(message)
        else:
            self.passed += 1
            for reply in replies:
                await self._write(reply)
        for _ in range(12):
            await asyncio.sleep(0)


@dataclass
class Told:
    """What the gateway hears, and what is kept and counted of it."""

    sent: list[bytes]
    receipt: tuple[Any, ...]
    counted: list[bytes]


async def told(head: dict[str, str], said: list[bytes], *, restores: bool, mode: str, offers: bool) -> Told:
    over, sent, receipts = pool("a"), [], Receipts()
    telemetry, now = Telemetry(fleet(over)), lambda: 1.0

    async def write(data: bytes) -> None:
        sent.append(data)

    read = Offering(write, offers)
    decides = director(over, FixedChooser("m"), telemetry=telemetry, receipts=receipts, now=now)
    shared = Shared(Buffers(LIMIT, LIMIT), restore_model=restores)
    task = asyncio.get_running_loop().create_task(Stream(decides, telemetry, now, shared).run(read, write))
    for message in [opening(mode), piece(chat("auto", stream=True)), answer_head(**head), *said, None]:
        await read.come(message)
    await task
    assert not offers or read.passed == 1 + len(said)
    receipt = next(receipts.newest())
    kept = (receipt.outcome, receipt.usage, receipt.answer_bytes, receipt.status, receipt.stream, receipt.ended_s)
    counted = [line for line in telemetry.text().splitlines() if b"plugin" not in line]  # which take their own time
    return Told(sent, kept, counted)


@given(st.sampled_from(HEADS), SAID, st.booleans(), st.sampled_from(["duplex", "streamed"]))
@example(HEADS[0], [piece(EVENT, False, "response_body")] * 3 + [piece(USAGE, True, "response_body")], False, "duplex")
@example(HEADS[0], [piece(EVENT, end, "response_body") for end in (False, True, False)], False, "duplex")
@example(HEADS[0], [piece(EVENT, False, "response_body"), part("response_trailers")] * 2, False, "duplex")
@example(HEADS[0], [piece(EVENT, False, "response_body")] * 3, True, "duplex")
def test_it_makes_no_difference_who_is_asked_first(
    head: dict[str, str], said: list[bytes], restores: bool, mode: str
) -> None:
    offered, read = (asyncio.run(told(head, said, restores=restores, mode=mode, offers=one)) for one in (True, False))

    assert offered == read
