"""Inference requests: body bytes to `Request`, and edits of the body by byte splices.

One native pass finds the values we need and where they lie; what we do not need is skipped, not parsed, so an edit
leaves every other byte as the client wrote it (large integers, key order, escapes). `paths.py` says what is needed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

import msgspec
import numpy as np

from epp.domain import NO_NEEDS, Needs, Reason, Refused, Request
from epp.protocol.conversation import conversation
from epp.protocol.headers import NEVER_DEGRADE, REQUEST_ID, SESSION, first
from epp.protocol.media import encoded, says_json
from epp.protocol.needs import needs
from epp.protocol.paths import PARSERS, Api, find, path_of
from epp.protocol.tokens import BYTES_PER_TOKEN, estimate

__all__ = ["BYTES_PER_TOKEN", "Unparsed", "conversation", "models_page", "read", "with_model"]

Unparsed = Literal["pass", "refuse"]

UNKNOWN = msgspec.Raw()


class _Body(msgspec.Struct):
    model: msgspec.Raw = UNKNOWN
    stream: msgspec.Raw = UNKNOWN
    messages: msgspec.Raw = UNKNOWN
    prompt: msgspec.Raw = UNKNOWN
    input: msgspec.Raw = UNKNOWN
    items: msgspec.Raw = UNKNOWN
    token_ids: msgspec.Raw = UNKNOWN
    system: msgspec.Raw = UNKNOWN
    instructions: msgspec.Raw = UNKNOWN
    tools: msgspec.Raw = UNKNOWN
    cache_salt: msgspec.Raw = UNKNOWN
    previous_response_id: msgspec.Raw = UNKNOWN
    max_tokens: msgspec.Raw = UNKNOWN
    max_completion_tokens: msgspec.Raw = UNKNOWN
    max_output_tokens: msgspec.Raw = UNKNOWN
    tool_choice: msgspec.Raw = UNKNOWN
    functions: msgspec.Raw = UNKNOWN
    response_format: msgspec.Raw = UNKNOWN
    text: msgspec.Raw = UNKNOWN


_NO_LIMITS, _NEITHER = (UNKNOWN,) * 3, (UNKNOWN,) * 2
_BODY = msgspec.json.Decoder(_Body)
_NAME = msgspec.json.Decoder(str | None)
SEARCHED_BYTES_MAX = 4096  # of a body that is rather searched than asked for addresses
_BODYLESS = ("GET", "HEAD", "OPTIONS", "DELETE")
_ELSEWHERE = ("messages", "prompt", "input")  # where a path that we do not know may keep its prompt: the first counts
_NOTHING = re.compile(rb"(?:null|\[\s*\])?\Z")
MODEL_LENGTH_MAX = 256
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_EMPTY_OBJECT = re.compile(rb"\s*\}")


def read(
    request_id: str,
    headers: Mapping[str, str],
    body: bytes | None,
    subset: frozenset[str] | None = None,
    *,
    unparsed: Unparsed = "pass",
    model_required: bool = True,
    parsers: Collection[str] = PARSERS,
) -> Request:
    """The request as the director sees it; `body` None where the gateway shows none.

    `unparsed` is what happens to a body that we do not understand, because of its path, its content type or because
    it is compressed: it passes as it is, for any endpoint and past every guard, or it is refused. `model_required` is
    false where a rewrite may name the model. A path whose parser is not among `parsers` is a path we do not know.
    Raises `Refused` when the body of a known path is not JSON, names no model or has no prompt.
    """
    request = Request(
        id=headers.get(REQUEST_ID) or request_id,
        method=headers.get(":method", "POST"),
        path=path_of(headers),
        subset=subset,
        session=first(headers, SESSION),
        never_degrade=headers.get(NEVER_DEGRADE, "").lower() == "true",
        headers=headers,
    )
    if not body and (body is None or headers.get(":method", "GET") in _BODYLESS):
        return request
    request.body = body
    api = find(request.path, parsers)
    if api is None and unparsed == "refuse":
        raise Refused(Reason.BAD_REQUEST, f"no parser registered matching path suffix for: {request.path}")
    fields = _decode(headers, body, api, unparsed)
    if fields is None:
        return request
    if api is None:
        _fill_unknown(request, fields)
    else:
        _fill(request, fields, api)
        if model_required and api.model_required and not request.model:
            raise Refused(Reason.MODEL_MISSING, "model not found in request body", "model")
    return request


def with_model(request: Request, model: str) -> bytes:
    """The client's body with the model's value replaced, or put in first where it names none; no other byte changes."""
    assert request.model_span is not None
    start, stop = request.model_span
    value = msgspec.json.encode(model)
    if start == stop:
        comma = b"" if _EMPTY_OBJECT.match(request.body, stop) else b","
        value = b'"model":' + value + comma
    return b"".join((request.body[:start], value, request.body[stop:]))


def models_page(names: Sequence[str], roots: Mapping[str, str]) -> bytes:
    """The answer to `GET /v1/models`: every name in order; `root` is the base model where it is another."""
    data = [{"id": n, "object": "model", "created": 0, "owned_by": "onehop", "root": roots.get(n, n)} for n in names]
    return msgspec.json.encode({"object": "list", "data": data})


def _decode(headers: Mapping[str, str], body: bytes, api: Api | None, unparsed: Unparsed) -> _Body | None:
    """The members of a JSON object; None for a body that passes as it is."""
    if encoded(headers):
        why = "compressed request bodies are not accepted here"
    else:
        try:
            return _BODY.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as broken:
            if api is not None and says_json(headers):
                raise Refused(Reason.BAD_REQUEST, f"error unmarshaling request bodyMap: {_why(broken)}") from broken
        why = "the content type of the request must be application/json"
    if api is not None and unparsed == "refuse":
        raise Refused(Reason.UNSUPPORTED_MEDIA, why)
    return None


def _fill(request: Request, fields: _Body, api: Api) -> None:
    request.model, request.model_span = _model(request.body, fields.model)
    request.stream = bytes(fields.stream) == b"true"
    request.needs = _needs(fields)
    parts = {member: bytes(raw) for member in api.prompt if (raw := getattr(fields, member)) is not UNKNOWN}
    _check(fields, parts, api)
    _prompt(request, [*parts.values()])


def _fill_unknown(request: Request, fields: _Body) -> None:
    """A path we do not know: its model counts if there is one, and is never put in."""
    if fields.model is not UNKNOWN:
        try:
            request.model, request.model_span = _model(request.body, fields.model)
        except Refused:
            return
    request.stream = bytes(fields.stream) == b"true"
    parts = (bytes(raw) for member in _ELSEWHERE if (raw := getattr(fields, member)) is not UNKNOWN)
    _prompt(request, [*islice(parts, 1)])


def _needs(fields: _Body) -> Needs:
    """A text's own format is that of the Responses API; a limit of tokens has three names."""
    limits = fields.max_completion_tokens, fields.max_tokens, fields.max_output_tokens
    tools = fields.tools, fields.functions
    formats = fields.response_format, fields.text
    if limits == _NO_LIMITS and tools == _NEITHER and formats == _NEITHER:
        return NO_NEEDS
    return needs(_given(*limits), _given(*tools), bytes(fields.tool_choice), _given(*formats))


def _given(*raws: msgspec.Raw) -> list[bytes]:
    return [bytes(raw) for raw in raws if raw is not UNKNOWN]


def _prompt(request: Request, parts: Sequence[bytes]) -> None:
    request.prompt = parts[0] if len(parts) == 1 else b"".join(parts)
    request.prompt_tokens = sum(map(estimate, parts))


def _model(body: bytes, raw: msgspec.Raw) -> tuple[str | None, tuple[int, int]]:
    """The model and the bytes to replace by another: an empty range, where it belongs, if the body has none."""
    if raw is UNKNOWN:
        start = body.index(b"{") + 1
        return None, (start, start)
    try:
        model = _NAME.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Refused(Reason.BAD_REQUEST, "the value of `model` must be a string", "model") from None
    if model and (len(model) > MODEL_LENGTH_MAX or _CONTROL.search(model)):
        # It becomes a header's value.
        message = f"the value of `model` must have at most {MODEL_LENGTH_MAX} characters, and no control characters"
        raise Refused(Reason.BAD_REQUEST, message, "model")
    return model or None, _span(body, raw)


def _check(fields: _Body, parts: Mapping[str, bytes], api: Api) -> None:
    for member in api.needs:
        value = parts.get(member) or bytes(getattr(fields, member))
        if not _NOTHING.match(value) and (member not in api.lists or value.startswith(b"[")):
            return
    raise Refused(Reason.BAD_REQUEST, api.missing, api.needs[0])


def _span(body: bytes, raw: msgspec.Raw) -> tuple[int, int]:
    """Where `raw` lies in the body it was decoded from: where its bytes are, if they are there once.

    Otherwise addresses tell, as a Raw is a view.
    """
    value = bytes(raw)
    start = body.find(value) if len(body) <= SEARCHED_BYTES_MAX else -1
    if start < 0 or body.find(value, start + 1) >= 0:
        start = _address(raw) - _address(body)
    stop = start + len(value)
    assert 0 <= start < stop <= len(body)
    return start, stop


def _address(data: Any) -> int:
    address: int = np.frombuffer(data, dtype=np.uint8).__array_interface__["data"][0]
    return address


def _why(broken: Exception) -> str:
    return "nested too deeply" if isinstance(broken, RecursionError) else str(broken)
