"""The request as the semantic stage sees it: turns, needs, the client's own settings. Pure, and never kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["chat", "messages", "completions", "responses", "other"]
Need = Literal["tools", "vision", "json"]

_KINDS: tuple[tuple[str, Kind], ...] = (
    ("/chat/completions", "chat"),
    ("/v1/messages", "messages"),
    ("/completions", "completions"),
    ("/responses", "responses"),
)
IMAGES = frozenset({"image_url", "image", "input_image"})
_JSON_FORMATS = frozenset({"json_object", "json_schema"})


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asked. `turns` are (role, text) in order, `body` the decoded JSON object or empty.

    `session` is the client's or the gateway's name for the conversation, `tenant` who asks; `prompt_tokens` is an
    estimate. `legible` is false where there is a prompt that we were not shown or cannot read.
    """

    turns: Sequence[tuple[str, str]] = ()
    model: str | None = None
    kind: Kind = "chat"
    body: Mapping[str, Any] = field(default_factory=dict)
    prompt_tokens: int = 0
    tenant: str = ""
    session: str | None = None
    stream: bool = False
    legible: bool = True

    @property
    def said(self) -> list[str]:
        """What the user wrote, turn by turn, without empty turns."""
        return [text.strip() for role, text in self.turns if role == "user" and text.strip()]


def kind_of(path: str) -> Kind:
    """What is asked for at a path."""
    return next((kind for suffix, kind in _KINDS if path.endswith(suffix)), "other")


def needs(asked: Asked) -> frozenset[Need]:
    """What a model must be able to do for this request, whatever it is about."""
    out: set[Need] = set()
    if asked.body.get("tools") or any(role == "tool" for role, _ in asked.turns):
        out.add("tools")
    if any(part.get("type") in IMAGES for part in parts(asked)):
        out.add("vision")
    if _wants_json(asked.body):
        out.add("json")
    return frozenset(out)


def parts(asked: Asked) -> list[Mapping[str, Any]]:
    """Every content part of every message."""
    found: list[Mapping[str, Any]] = []
    for message in messages(asked):
        content = message.get("content")
        if isinstance(content, list):
            found += [part for part in content if isinstance(part, dict)]
    return found


def messages(asked: Asked) -> list[Mapping[str, Any]]:
    """The messages, or a response's input items."""
    listed = asked.body.get("input" if asked.kind == "responses" else "messages")
    return [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []


def _wants_json(body: Mapping[str, Any]) -> bool:
    if body.get("guided_json") or body.get("structured_outputs"):
        return True
    wanted = body.get("response_format")
    if not isinstance(wanted, dict):
        text = body.get("text")
        wanted = text.get("format") if isinstance(text, dict) else None
    return isinstance(wanted, dict) and wanted.get("type") in _JSON_FORMATS
