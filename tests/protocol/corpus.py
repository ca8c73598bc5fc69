"""Response bodies as engines write them, for those who read them in pieces; the served model is `T`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise

CHAT = (
    b'{"id":"c-1","object":"chat.completion","created":1,"model":"T","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":"say \\"model\\":\\"T\\" and \\"usage\\": {\\"prompt_tokens\\":9}","tool_calls":[]},"model":"T"}],'
    b'"usage":{"prompt_tokens":7,"total_tokens":17,"completion_tokens":10,"prompt_tokens_details":{"cached_tokens":3}},'
    b'"prompt_logprobs":[null,{"usage":{"prompt_tokens":99}}]}'
)
CHAT_PRETTY = json.dumps(json.loads(CHAT), indent=2).encode()
CHAT_EVENTS = (
    b'data: {"id":"c-1","model":"T","choices":[{"delta":{"content":"a \\"model\\":\\"T\\""}}],"usage":null}\n\n'
    b'data: {"id":"c-1","model": "T","choices":[{"delta":{"model":"T"}}],"usage":null}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":10,"prompt_tokens_details":{"cached_tokens":3}'
    b'},"model":"T"}\n\n'
    b"data: [DONE]\n\n"
)
RESPONSES = (
    b'{"id":"r-1","object":"response","output":[{"content":[{"text":"\\"usage\\":{}"}]}],"model":"T",'
    b'"usage":{"input_tokens":7,"input_tokens_details":{"cached_tokens":3},"output_tokens":10},"user":null}'
)
RESPONSES_EVENTS = (
    b"event: response.created\r\n"
    b'data: {"type":"response.created","response":{"id":"r-1","model":"T","usage":null}}\r\n\r\n'
    b"event: response.output_text.delta\r\n"
    b'data: {"type":"response.output_text.delta","delta":"\\"model\\":\\"T\\""}\r\n\r\n'
    b'event: response.completed\r\ndata: {"type":"response.completed","response":{"output":[{"model":"T"}],"model":"T",'
    b'"usage":{"input_tokens":7,"input_tokens_details":{"cached_tokens":3},"output_tokens":10}}}\r\n\r\n'
)
ANTHROPIC = (
    b'{"id":"m-1","type":"message","content":[{"type":"tool_use","input":{"usage":{"input_tokens":5},"model":"T"}}],'
    b'"model":"T","usage":{"input_tokens":7,"cache_read_input_tokens":3,"output_tokens":10}}'
)
ANTHROPIC_EVENTS = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m-1","content":[],"model":"T",'
    b'"usage":{"input_tokens":7,"cache_read_input_tokens":3,"output_tokens":1}}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"type":"text_delta","text":"model"}}\n\n'
    b"event: message_delta\n"
    b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":10}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
BODIES = {
    "chat": CHAT,
    "chat-pretty": CHAT_PRETTY,
    "chat-events": CHAT_EVENTS,
    "responses": RESPONSES,
    "responses-events": RESPONSES_EVENTS,
    "anthropic": ANTHROPIC,
    "anthropic-events": ANTHROPIC_EVENTS,
}


def cuts(body: bytes) -> Iterator[list[bytes]]:
    """The body whole, cut in two at every byte, and one byte at a time."""
    yield [body]
    for at in range(1, len(body)):
        yield [body[:at], body[at:]]
    yield [body[at : at + 1] for at in range(len(body))]


def cut(body: bytes, places: list[int]) -> list[bytes]:
    """The body cut at these places, whatever they are."""
    edges = sorted({0, len(body), *(place % (len(body) + 1) for place in places)})
    return [body[start:stop] for start, stop in pairwise(edges)]
