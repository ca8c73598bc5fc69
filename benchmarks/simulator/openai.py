"""Reads OpenAI requests as vLLM does: body bytes in, `Ask` out, or an `ApiError` to answer with."""

from dataclasses import dataclass
from typing import Any

import msgspec

from benchmarks.simulator.prompt import TOKEN_BYTES, pad, render_chat, render_token_ids


class ApiError(Exception):
    """An answer other than 200, in the shape of vLLM's `ErrorResponse`."""

    def __init__(self, status: int, message: str, kind: str = "BadRequestError", param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": status}}


@dataclass(frozen=True, slots=True)
class Ask:
    """What a client asked for."""

    chat: bool
    model: str | None
    prompt: bytes
    """Tokens, four bytes each."""
    output_tokens_max: int | None
    output_tokens_min: int
    ignore_eos: bool
    stream: bool
    include_usage: bool
    cache_salt: str

    @property
    def prompt_tokens(self) -> int:
        """Length of the prompt."""
        return len(self.prompt) // TOKEN_BYTES


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Common(msgspec.Struct, kw_only=True):
    model: str | None = None
    max_tokens: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    n: int | None = 1
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    cache_salt: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[dict[str, Any]] | None = None
    tool_calls: msgspec.Raw = msgspec.Raw(b"")

    def rendered(self) -> bytes:
        """Return text as it is and everything else as JSON."""
        if isinstance(self.content, str):
            text = self.content.encode()
        else:
            text = b"".join(_part(part) for part in self.content or ())
        return pad(text) + bytes(self.tool_calls)


class _Chat(_Common, kw_only=True):
    messages: list[_Message]
    max_completion_tokens: int | None = None
    tools: msgspec.Raw = msgspec.Raw(b"")


class _Completion(_Common, kw_only=True):
    prompt: str | list[str | int]


_decode_chat = msgspec.json.Decoder(_Chat).decode
_decode_completion = msgspec.json.Decoder(_Completion).decode


def parse_chat(body: bytes) -> Ask:
    """Read the body of /v1/chat/completions."""
    try:
        chat = _decode_chat(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _bad(error) from error
    prompt = render_chat(((message.role, message.rendered()) for message in chat.messages), bytes(chat.tools))
    limit = chat.max_tokens if chat.max_completion_tokens is None else chat.max_completion_tokens
    return _ask(chat, prompt, limit, chat=True)


def parse_completion(body: bytes) -> Ask:
    """Read the body of /v1/completions."""
    try:
        completion = _decode_completion(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _bad(error) from error
    return _ask(completion, _completion_prompt(completion.prompt), completion.max_tokens, chat=False)


def _ask(common: _Common, prompt: bytes, output_tokens_max: int | None, *, chat: bool) -> Ask:
    if common.n not in (None, 1):
        raise ApiError(400, "The simulator gives one answer a request: n must be 1.", param="n")
    if output_tokens_max is not None and output_tokens_max < 1:
        raise ApiError(400, f"max_tokens must be at least 1, got {output_tokens_max}.", param="max_tokens")
    return Ask(
        chat=chat,
        model=common.model,
        prompt=prompt,
        output_tokens_max=output_tokens_max,
        output_tokens_min=max(common.min_tokens, 1),
        ignore_eos=common.ignore_eos,
        stream=bool(common.stream),
        include_usage=common.stream_options is not None and common.stream_options.include_usage,
        cache_salt=common.cache_salt or "",
    )


def _completion_prompt(prompt: str | list[str | int]) -> bytes:
    parts = [prompt] if isinstance(prompt, str) else prompt
    texts = [part for part in parts if isinstance(part, str)]
    if texts and len(parts) > 1:
        raise ApiError(400, "The simulator gives one answer a request: prompt must be one text.", param="prompt")
    tokens = pad(texts[0].encode()) if texts else render_token_ids(part for part in parts if isinstance(part, int))
    if not tokens:
        raise ApiError(400, "The decoder prompt cannot be empty", param="prompt")
    return tokens


def _part(part: dict[str, Any]) -> bytes:
    text = part.get("text")
    return text.encode() if isinstance(text, str) else msgspec.json.encode(part)


def _bad(error: Exception) -> ApiError:
    return ApiError(400, str(error), "Bad Request")
