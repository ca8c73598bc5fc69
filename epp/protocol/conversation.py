"""The text of a request, turn by turn, for those who classify it."""

from __future__ import annotations

from typing import Any

import msgspec

from epp.domain import Request
from epp.protocol.paths import Api, find


class _Texts(msgspec.Struct):
    system: Any = None
    instructions: Any = None
    messages: Any = None
    prompt: Any = None
    input: Any = None
    items: Any = None


_TEXTS = msgspec.json.Decoder(_Texts)
_SYSTEM = ("system", "instructions")
_ANY = ("system", "instructions", "messages", "prompt", "input", "items")


def conversation(request: Request) -> list[tuple[str, str]]:
    """(role, text) of each turn that has text, in order; a bare prompt or input is one user turn.

    Texts of one turn are joined by newlines, and so are the prompts of a batch. What a tool answered is a turn of the
    role `tool`. Images, audio, tool calls and token ids carry no text here.
    """
    texts = _decode(request.body)
    turns: list[tuple[str, str]] = []
    for member in _members(find(request.path)):
        value = getattr(texts, member)
        turns += [("system", _text(value))] if member in _SYSTEM else _turns(value)
    return [(role, text) for role, text in turns if text]


def _members(api: Api | None) -> tuple[str, ...]:
    return _ANY if api is None else tuple(member for member in api.prompt if member in _ANY)


def _decode(body: bytes) -> _Texts:
    """Bytes that are no UTF-8 are replaced, not given up on: there may be something to see next to them."""
    try:
        return _TEXTS.decode(body)
    except UnicodeDecodeError:
        return _decode(body.decode(errors="replace").encode())
    except (msgspec.DecodeError, RecursionError):
        return _Texts()


def _turns(value: Any) -> list[tuple[str, str]]:
    if isinstance(value, str):
        return [("user", value)]
    if not isinstance(value, list):
        return []
    if value and all(isinstance(item, str) for item in value):
        return [("user", "\n".join(value))]
    return [turn for item in value if isinstance(item, dict) for turn in _turn(item)]


def _turn(item: dict[str, Any]) -> list[tuple[str, str]]:
    """The turns in one message or item: what tools answered comes first, as in Anthropic's order of blocks."""
    content = item.get("content")
    blocks = content if isinstance(content, list) else []
    results = [b.get("content") for b in blocks if isinstance(b, dict) and b.get("type") == "tool_result"]
    if "output" in item:  # a Responses item: `function_call_output` and its like
        results.append(item["output"])
    return [*(("tool", _text(result)) for result in results), (str(item.get("role", "user")), _text(content))]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(text for part in content if isinstance(part, dict) and isinstance(text := _part(part), str))


def _part(part: dict[str, Any]) -> Any:
    """The text of a content part: most have `text`; an Anthropic document may hold its text in `source.data`."""
    source = part.get("source")
    return source.get("data") if isinstance(source, dict) and source.get("type") == "text" else part.get("text")
