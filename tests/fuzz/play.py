"""A gateway's whole stream as readable bytes, run against a `Stream` as the server would run it.

    duplex restore          how the stream is spoken; and what the operator switched on: restore, sample, strict,
                            first (of two filters); or that the endpoints have told their models: told
    ---
    h:method: POST          request headers, a line each (`g`: with no body to follow)
    :path: /v1/completions
    ---
    b{"model":"auto",       a piece of the request's body; `B` is the last one
    ---
    B"prompt":"x"}
    ---
    t                       request trailers
    ---
    H:status: 200           response headers (`G`: with no body to follow); then `p`, `P`, `T` in the same way
    ---
    X                       the gateway resets the stream; `R` are the bytes of any message

However it ends, the ledger and the buffers are as before, only bytes that are no message fail the stream, every byte
that was let go on is as it came, and no header is set that HTTP would not carry.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cache

from epp.datastore.pool import Pool
from epp.director import Rules
from epp.edge.stream import Shared, Stream
from epp.protocol.codec import BadMessage
from epp.protocol.decision import Signer
from epp.protocol.exchange import Buffers
from epp.telemetry import Telemetry
from protos.gen import ext_proc_pb2 as pb
from tests.make import FixedChooser, director, fleet, pool

MODES = {
    b"duplex": (4, 4, False),
    b"one-hop": (2, 0, False),
    b"buffered": (2, 2, False),
    b"partial": (3, 3, False),
    b"streamed": (1, 1, False),
    b"eager": (1, 1, True),
    b"none": (0, 0, False),
}
BODY = b'{"model": "auto", "messages": [{"role": "user", "content": "hello"}]}'
_BREAK = b"\n---\n"
_MESSAGES_MAX = 64
_NO_HEADER = bytes({*range(0x20), 0x7F} - {*b"\t\n"})  # gateways let no such byte through


def play(data: bytes) -> None:
    """Runs a transcript."""
    opening, *parts = data.split(_BREAK)
    first, *options = opening.split()[:8] or [b""]
    messages = [_message(part, MODES.get(first) if at == 0 else None) for at, part in enumerate(parts[:_MESSAGES_MAX])]
    heard = _loop().run_until_complete(_run(messages, options))
    if not any(part[:1] == b"R" for part in parts):
        _check_replies(heard)
    if first == b"duplex" and b"restore" not in options and _in_order(parts):
        _check_bytes(parts, heard, _may_be_edited(data))


def play_headers(data: bytes) -> None:
    """Request headers before a good body, in every dialect; then the same lines as response headers."""
    for modes in MODES.values():
        opening = _message(b"h" + data, modes)
        messages = [opening, _message(b"B" + BODY), _message(b"H:status: 200\n" + data), _message(b"P{}")]
        heard = _loop().run_until_complete(_run(messages, []))
        assert heard, "headers and a body are answered"
        _check_replies(heard)


def _message(part: bytes, modes: tuple[int, int, bool] | None = None) -> bytes:
    """The bytes on the wire; `X` stays what it is."""
    if part[:1] == b"R" or part == b"X":
        return part[1:] or part
    message = pb.ProcessingRequest()
    if modes is not None:
        config = message.protocol_config
        config.request_body_mode, config.response_body_mode = modes[:2]  # type: ignore[assignment]
        config.send_body_without_waiting_for_header_response = modes[2]
    kind, rest = part[:1], part[1:]
    side = "request" if kind in b"hgbBt" else "response"
    if kind in b"hgHG":
        head = message.request_headers if side == "request" else message.response_headers
        for line in rest.translate(None, _NO_HEADER).split(b"\n"):
            name, _, value = line.partition(b": ") if line[:1] != b":" else _pseudo(line)
            head.headers.headers.add(key=name.decode("latin-1"), raw_value=value)
        head.end_of_stream = kind in b"gG"
    elif kind in b"bBpP":
        body = message.request_body if side == "request" else message.response_body
        body.body, body.end_of_stream = rest, kind in b"BP"
    elif side == "request":
        message.request_trailers.SetInParent()
    else:
        message.response_trailers.SetInParent()
    return message.SerializeToString()


def _pseudo(line: bytes) -> tuple[bytes, bytes, bytes]:
    name, colon, value = line[1:].partition(b": ")
    return b":" + name, colon, value


async def _run(messages: list[bytes], options: list[bytes]) -> list[pb.ProcessingResponse]:
    """What the stream says to these messages, with the books checked afterwards."""
    over, telemetry = _books(b"told" in options)
    buffers = Buffers(4096, 8192)
    is_first = b"first" in options
    sampled = 1 if b"sample" in options else 0
    shared = Shared(buffers, sampled, restore_model=b"restore" in options, first_of_two=is_first)
    rules = Rules(
        first_of_two=is_first, signer=Signer(b"k" * 32), unparsed="refuse" if b"strict" in options else "pass"
    )
    decider = director(over, FixedChooser("phi4-mini"), telemetry=telemetry, rules=rules)
    stream = Stream(decider, telemetry, lambda: 0.0, shared)
    heard: list[pb.ProcessingResponse] = []
    todo = iter(messages)

    async def read() -> bytes | None:
        message = next(todo, None)
        if message == b"X":
            raise asyncio.CancelledError
        return message

    async def write(data: bytes) -> None:
        heard.append(pb.ProcessingResponse.FromString(data))

    with suppress(BadMessage, asyncio.CancelledError):
        await stream.run(read, write)
    assert all(e.inflight_requests == 0 and e.inflight_tokens == 0 for e in over.endpoints)
    assert buffers.held == 0
    return heard


def _check_replies(heard: list[pb.ProcessingResponse]) -> None:
    for message in heard:
        kind = message.WhichOneof("response")
        assert kind is not None, "Envoy takes a reply without a kind for an error"
        answer = getattr(message, kind)
        if kind == "immediate_response":
            assert answer.status.code == 200 or 400 <= answer.status.code < 600
        elif kind.endswith("trailers"):
            continue
        mutation = answer.headers if kind == "immediate_response" else answer.response.header_mutation
        for option in mutation.set_headers:
            assert not set(option.header.raw_value) & {*_NO_HEADER, 0x0A}, "HTTP carries no control bytes"


def _check_bytes(parts: list[bytes], heard: list[pb.ProcessingResponse], edited: bool) -> None:
    """In full duplex what goes on is a beginning of what came, all of it where its end went on, and that once."""
    for kinds, name in ((b"bB", "request_body"), (b"pP", "response_body")):
        came = b"".join(part[1:] for part in _until_end(parts, kinds))
        pieces = [getattr(m, name).response.body_mutation.streamed_response for m in heard if m.HasField(name)]
        went = b"".join(piece.body for piece in pieces)
        ends = [piece.end_of_stream for piece in pieces]
        assert True not in ends[:-1]
        if name == "response_body" or not edited:
            assert came.startswith(went)
            assert went == came or not any(ends)


def _in_order(parts: list[bytes]) -> bool:
    """Whether a gateway could say this: nothing raw, no reset, and on the response's side each thing at its time."""
    kinds = b"".join(part[:1] for part in parts)
    answer = bytes(kind for kind in kinds if kind in b"HGpPT")
    return not set(kinds) & {*b"RX"} and re.fullmatch(rb"[HG]?p*P?T?", answer) is not None


def _may_be_edited(data: bytes) -> bool:
    """Whether the picker may have put another model into the request: for an alias, also in escapes, or as told."""
    return any(word in data.lower() for word in (b"auto", b"\\u", b"rewrite", b"x-selected-model"))


def _until_end(parts: list[bytes], kinds: bytes) -> Iterator[bytes]:
    for part in parts:
        if part[:1] and part[:1] in kinds:
            yield part
            if part[:1] == kinds[1:]:
                return


@cache
def _books(told: bool) -> tuple[Pool, Telemetry]:
    """Endpoints that told what they serve, or did not, and the metrics: of all runs, as they take long to make."""
    over = pool("a", "b", models={"a": ["llama3-8b"], "b": ["phi4-mini"]} if told else None)
    return over, Telemetry(fleet(over))


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()
