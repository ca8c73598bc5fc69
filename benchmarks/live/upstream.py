"""A model server that costs next to nothing: `python -m benchmarks.live.upstream ADDRESS...`, HTTP/1.1 on each.

What it answers is in the request's `x-answer` header: nothing for a small JSON answer, `TOKENS/MILLISECONDS` for a
stream of an event a token with that pause between them (so that each travels alone), `hold` for no answer at all. As
not every router passes headers on, the body's `stop` may say the same: `"stop":"x-answer 100/4"`. There is no tokenizer
to ask, nor anything else but chat completions, models, metrics and health.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Any

import uvloop

MODEL = "bench-model"
SEARCHED_BYTES_MAX = 16 << 10  # of a body; in a large one a search would cost
_ANSWER_ASKED = re.compile(rb'"stop": ?"x-answer ([^"]*)"')
_JSON = (
    b'{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hello"}}],'
)
_JSON += b'"usage":{"prompt_tokens":7,"completion_tokens":1,"total_tokens":8}}'
_MODELS = b'{"object":"list","data":[{"id":"%s","object":"model"}]}' % MODEL.encode()
_METRICS = b"""# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="bench-model"} 1.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{model_name="bench-model"} 0.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{model_name="bench-model"} 0.25
"""
_EVENT = b'data: {"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" token"}}]}\n\n'
_CHUNK = b"%x\r\n%s\r\n" % (len(_EVENT), _EVENT)
_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_USAGE = (
    b'data: {"id":"x","object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":%d}}'
)
_DONE = b"data: [DONE]\n\n"
_END = b"0\r\n\r\n"


def _whole(body: bytes, kind: bytes = b"application/json") -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (kind, len(body), body)


_ANSWER = _whole(_JSON)
_NOTHING = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
_CHAT = b"/v1/chat/completions"
_PAGES = {b"/metrics": _whole(_METRICS, b"text/plain; version=0.0.4"), b"/v1/models": _whole(_MODELS)}
_PAGES[b"/health"] = _whole(b"")


class Upstream(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._head = b""
        self._missing = 0
        self._answer = b""
        self._known = True
        self._searched = False
        self._body = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._missing -= len(data)
            if self._searched:
                self._body += data
        else:
            self._head += data
            head, found, body = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            self._head = b""
            path = head.split(b" ", 2)[1]
            if path in _PAGES:
                self._transport.write(_PAGES[path])
                return
            self._known = path == _CHAT
            self._answer = _field(head, b"x-answer")
            length = int(_field(head, b"content-length") or 0)
            self._missing = length - len(body)
            self._searched = not self._answer and length <= SEARCHED_BYTES_MAX
            self._body = body if self._searched else b""
        if self._missing <= 0:
            self._missing = 0
            if self._searched and (asked := _ANSWER_ASKED.search(self._body)):
                self._answer = asked[1]
            if self._known:
                self._reply(self._answer)
            else:
                self._transport.write(_NOTHING)

    def _reply(self, asked: bytes) -> None:
        if not asked:
            self._transport.write(_ANSWER)
        elif asked != b"hold":
            tokens, _, pause_ms = asked.partition(b"/")
            self._transport.write(_STREAM)
            self._next(int(tokens), float(pause_ms) / 1000, int(tokens))

    def _next(self, left: int, pause_s: float, tokens: int) -> None:
        if left == 0:
            last = _USAGE % tokens + b"\n\n" + _DONE
            self._transport.write(b"%x\r\n%s\r\n" % (len(last), last) + _END)
            return
        self._transport.write(_CHUNK)
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._next, left - 1, pause_s, tokens)


def _field(head: bytes, name: bytes) -> bytes:
    at = head.find(b"\r\n" + name + b": ")
    return b"" if at < 0 else head[at + len(name) + 4 :].split(b"\r\n", 1)[0]


async def main(addresses: list[str]) -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    for address in addresses:
        host, _, port = address.rpartition(":")
        await loop.create_server(Upstream, host, int(port), backlog=8192)
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))
