"""What comes to the port and is no gRPC of ours."""

from __future__ import annotations

import pytest

from epp.edge.http2 import frames
from epp.edge.http2.frames import ErrorCode
from tests.edge.http2.peer import HEADERS
from tests.edge.http2.site import Client, serving


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({":method": "GET"}, b"405"),
        ({":method": "HEAD"}, b"405"),
        ({"content-type": "application/json"}, b"415"),
        ({":path": "/unknown"}, b"grpc-status\x0212"),
        ({"grpc-encoding": "snappy"}, b"grpc-status\x0212"),
    ],
)
async def test_what_is_no_call_of_ours_is_answered_so(changed: dict[str, str], status: bytes) -> None:
    async with serving() as site:
        client = await Client.connected(site)
        block = client.encoder.encode([*{**HEADERS, **changed}.items()])
        client.say(frames.frame(frames.HEADERS, 5, 1, block))
        answer = await client.frame(frames.HEADERS)
        if status.startswith(b"4") and changed.get(":method") != "HEAD":
            assert (await client.frame(frames.DATA)).payload
        else:
            assert answer.flags & frames.END_STREAM
        client.close()

        assert status in answer.payload


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b"name=value", b"405"),  # no message of gRPC, and not looked at
        (bytes([0, 0, 0, 0, 1, 7]), b"405"),
        (b"a=b", b"405"),  # too short to be told from the beginning of one
        (b"", None),  # less than was announced
    ],
)
async def test_what_is_no_call_is_answered_when_it_has_come_whole(body: bytes, answer: bytes | None) -> None:
    async with serving() as site:
        client = await Client.connected(site)
        announced = {**HEADERS, ":method": "PUT", "content-length": str(len(body) or 7)}
        client.say(frames.frame(frames.HEADERS, 4, 1, client.encoder.encode([*announced.items()])))
        client.say(frames.frame(frames.PING, 0, 0, b"are you?"))
        asked = await client.frame(frames.PING)
        early = [heard.kind for heard in client.heard if heard.stream_id]
        client.say(frames.frame(frames.DATA, 1, 1, body))
        told = await client.frame(frames.RST_STREAM if answer is None else frames.HEADERS)
        client.say(frames.frame(frames.PING, 0, 0, b"no more?"))
        await client.frame(frames.PING)
        client.close()

        assert sum(heard.kind == frames.HEADERS for heard in client.heard) == (answer is not None)
        assert asked.payload == b"are you?"
        assert early == []
        assert (answer or ErrorCode.PROTOCOL_ERROR.to_bytes(4, "big")) in told.payload
