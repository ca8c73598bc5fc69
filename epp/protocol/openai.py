"""OpenAI-style requests: body bytes to `Request`, and edits of the body by byte splices.

One native pass finds the values we need and where they lie; what we do not need is skipped, not parsed, so an edit
leaves every other byte as the client wrote it (large integers, key order, escapes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from epp.domain import Reason, Refused, Request
from epp.protocol.headers import REQUEST_ID

BYTES_PER_TOKEN = 4  # the picker's own estimate where no tokenizer is at hand (llm-d's "estimate" backend)
UNKNOWN = msgspec.Raw()


class _Body(msgspec.Struct):
    model: msgspec.Raw = UNKNOWN
    stream: msgspec.Raw = UNKNOWN
    messages: msgspec.Raw = UNKNOWN
    prompt: msgspec.Raw = UNKNOWN
    input: msgspec.Raw = UNKNOWN


_BODY = msgspec.json.Decoder(_Body)
_NEEDS = {  # path suffix -> the member that holds the prompt, and what the reference says when it is missing
    "/chat/completions": ("messages", "invalid chat completions request: must have valid messages field"),
    "/embeddings": ("input", "invalid embeddings request: must have input field"),
    "/responses": ("input", "invalid responses request: must have input field"),
    "/completions": ("prompt", "invalid completions request: must have prompt field"),
}
_EMPTY = (b"", b"null", b"[]")


def read(
    request_id: str, headers: Mapping[str, str], body: bytes | None, subset: frozenset[str] | None = None
) -> Request:
    """The request as the director sees it; `body` None where the gateway shows none.

    Raises `Refused` (400) when the body of a known path is not JSON, names no model or has no prompt. On other paths
    a body we cannot read passes as it is, for any endpoint.
    """
    request = Request(
        id=headers.get(REQUEST_ID) or request_id,
        method=headers.get(":method", "POST"),
        path=headers.get(":path", "/v1/completions").partition("?")[0].rstrip("/"),
        subset=subset,
    )
    if not body and (body is None or request.method in ("GET", "HEAD", "OPTIONS", "DELETE")):
        return request
    request.body = body
    needs = next((need for suffix, need in _NEEDS.items() if request.path.endswith(suffix)), None)
    try:
        fields = _BODY.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as broken:
        if needs is None:
            return request
        raise Refused(Reason.BAD_REQUEST, f"error unmarshaling request body: {_why(broken)}") from broken
    _fill(request, fields)
    if needs is not None:
        _check(request, bytes(getattr(fields, needs[0])), *needs)
    return request


def with_model(request: Request, model: str) -> bytes:
    """The client's body with the model's value replaced, every other byte unchanged."""
    assert request.model_span is not None
    start, stop = request.model_span
    return b"".join((request.body[:start], msgspec.json.encode(model), request.body[stop:]))


def conversation(request: Request) -> list[tuple[str, str]]:
    """(role, text) of each message that has text, in order; a bare prompt or input is one user message.

    Text parts of multi-part contents are joined by newlines; images, audio and tool calls carry no text here.
    """
    try:
        prompt = msgspec.json.decode(request.prompt) if request.prompt else None
    except (msgspec.DecodeError, RecursionError):
        return []
    if isinstance(prompt, str):
        return [("user", prompt)]
    if not isinstance(prompt, list):
        return []
    if prompt and all(isinstance(item, str) for item in prompt):
        return [("user", "\n".join(prompt))]
    turns = [(str(item.get("role", "user")), _text(item.get("content"))) for item in prompt if isinstance(item, dict)]
    return [(role, text) for role, text in turns if text]


def models_page(names: Sequence[str], roots: Mapping[str, str]) -> bytes:
    """The answer to `GET /v1/models`: every name in order; `root` is the base model where it is another."""
    data = [{"id": n, "object": "model", "created": 0, "owned_by": "onehop", "root": roots.get(n, n)} for n in names]
    return msgspec.json.encode({"object": "list", "data": data})


def _fill(request: Request, fields: _Body) -> None:
    if fields.model is not UNKNOWN:
        try:
            request.model = msgspec.json.decode(fields.model, type=str)
        except msgspec.DecodeError:
            raise Refused(Reason.BAD_REQUEST, "the value of `model` must be a string", "model") from None
        request.model_span = _span(request.body, fields.model)
    request.stream = bytes(fields.stream) == b"true"
    prompt = next((raw for raw in (fields.messages, fields.prompt, fields.input) if raw is not UNKNOWN), None)
    if prompt is not None:
        request.prompt = bytes(prompt)
        request.prompt_tokens = len(request.prompt) // BYTES_PER_TOKEN


def _check(request: Request, prompt: bytes, member: str, missing: str) -> None:
    if prompt in _EMPTY or (member == "messages" and not prompt.startswith(b"[")):
        raise Refused(Reason.BAD_REQUEST, missing, member)
    if not request.model:
        raise Refused(Reason.MODEL_MISSING, "model not found in request body", "model")


def _span(body: bytes, raw: msgspec.Raw) -> tuple[int, int]:
    """Where `raw` lies in the body it was decoded from: a Raw is a view, so addresses tell."""
    start = _address(raw) - _address(body)
    stop = start + len(memoryview(raw))
    assert 0 <= start < stop <= len(body)
    return start, stop


def _address(data: Any) -> int:
    address: int = np.frombuffer(data, dtype=np.uint8).__array_interface__["data"][0]
    return address


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [part.get("text") for part in content if isinstance(part, dict)]
    return "\n".join(text for text in parts if isinstance(text, str))


def _why(broken: Exception) -> str:
    return "nested too deeply" if isinstance(broken, RecursionError) else str(broken)
