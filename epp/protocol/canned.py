"""A message as the answer to an inference request, in the shape that its client expects, whole or as a stream.

Sources: OpenAI's chat, completion and response objects, Anthropic's messages, and their server-sent events.
"""

from __future__ import annotations

from typing import Any

import msgspec

from epp.protocol.headers import FAST_RESPONSE, RESPONSE_PATH
from epp.protocol.messages import Immediate
from epp.protocol.paths import find

MODEL = "router"  # what vSR names in answers of its own
_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
_JSON, _EVENTS = "application/json", "text/event-stream"


def canned(path: str, message: str, *, stream: bool, name: str, created: int) -> Immediate | None:
    """The answer, 200; None for a path whose clients expect no text. `name` makes its id, `created` is Unix time."""
    api = find(path)
    suffix = "" if api is None else api.suffix
    if suffix == "/chat/completions":
        events = _chat(message, name, created) if stream else None
        whole = _chat_whole(message, name, created)
    elif suffix == "/completions":
        whole = _completion(message, name, created)
        events = _data([whole]) if stream else None
    elif suffix == "/v1/messages":
        whole = _message([{"type": "text", "text": message}], name, "end_turn")
        events = _message_events(message, name) if stream else None
    elif suffix == "/responses":
        whole = _response(message, name, created)
        events = _event("response.completed", {"type": "response.completed", "response": whole}) if stream else None
    else:
        return None
    kind = _JSON if events is None else _EVENTS
    headers = [("content-type", kind), (FAST_RESPONSE, "true"), (RESPONSE_PATH, "fast_response")]
    body = msgspec.json.encode(whole) if events is None else events
    return Immediate(200, headers, body, "onehop_fast_response")


def _chat_whole(message: str, name: str, created: int) -> dict[str, Any]:
    said = {"role": "assistant", "content": message}
    return {
        "id": f"chatcmpl-{name}",
        "object": "chat.completion",
        "created": created,
        "model": MODEL,
        "choices": [{"index": 0, "message": said, "finish_reason": "stop"}],
        "usage": _USAGE,
    }


def _chat(message: str, name: str, created: int) -> bytes:
    base = {"id": f"chatcmpl-{name}", "object": "chat.completion.chunk", "created": created, "model": MODEL}
    said = {"index": 0, "delta": {"role": "assistant", "content": message}, "finish_reason": None}
    done: dict[str, Any] = {"index": 0, "delta": {}, "finish_reason": "stop"}
    return _data([{**base, "choices": [said]}, {**base, "choices": [done]}])


def _completion(message: str, name: str, created: int) -> dict[str, Any]:
    return {
        "id": f"cmpl-{name}",
        "object": "text_completion",
        "created": created,
        "model": MODEL,
        "choices": [{"index": 0, "text": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": _USAGE,
    }


def _message(content: list[dict[str, Any]], name: str, stop: str | None) -> dict[str, Any]:
    return {
        "id": f"msg_{name}",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }


def _message_events(message: str, name: str) -> bytes:
    text = {"type": "text_delta", "text": message}
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": _message([], name, None)},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": text},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 0}},
        {"type": "message_stop"},
    ]
    return b"".join(_event(event["type"], event) for event in events)


def _response(message: str, name: str, created: int) -> dict[str, Any]:
    said = {"type": "output_text", "text": message, "annotations": []}
    item = {"type": "message", "id": f"msg_{name}", "role": "assistant", "status": "completed", "content": [said]}
    return {
        "id": f"resp_{name}",
        "object": "response",
        "created_at": created,
        "status": "completed",
        "model": MODEL,
        "output": [item],
        "usage": {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0},
    }


def _data(events: list[dict[str, Any]]) -> bytes:
    return b"".join(b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events) + b"data: [DONE]\n\n"


def _event(kind: str, data: dict[str, Any]) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"
