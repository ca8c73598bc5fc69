"""What the semantic stage saw of a recorded request, put together again from its receipt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from epp.replay.recorded import Recorded

if TYPE_CHECKING:
    from semantic.again import Recorded as Signals


def signals_of(then: Recorded) -> Signals:
    """As far as the receipt says. Raises what a receipt of another version makes it raise."""
    from semantic import again as semantic  # noqa: PLC0415  # only who replays a semantic file loads the stage
    from semantic.asked import Asked, kind_of  # noqa: PLC0415
    from semantic.judges.known import Category  # noqa: PLC0415
    from semantic.rules import NO, UNKNOWN, Key, Verdict, yes  # noqa: PLC0415
    from semantic.signals.api import Answer  # noqa: PLC0415

    told, seen = then.told, then.told.get("signals") or {}
    facts: dict[Key, Verdict] = {}
    for name, sure in (seen.get("matched") or {}).items():
        facts[_key(name)] = yes(float(sure))
    facts |= {_key(name): NO for name in seen.get("denied") or ()}
    facts |= {_key(name): UNKNOWN for name in seen.get("unknown") or ()}
    heads = {
        about: {name: Answer(**answer) for name, answer in answers.items()}
        for about, answers in (seen.get("heads") or {}).items()
    }
    domain: Mapping[str, Any] = seen.get("domain") or {}
    label = domain.get("label")
    category = None if label is None else Category(str(label), float(domain.get("confidence") or 0.0))
    request = then.request()
    needs, body = request.needs, dict[str, Any]()
    if needs.tools:
        body["tools"] = [{}]
    if needs.json_mode:
        body["response_format"] = {"type": "json_object"}
    if needs.output_tokens is not None:
        body["max_tokens"] = needs.output_tokens
    asked = Asked(
        turns=(),
        model=request.model,
        kind=kind_of(request.path),
        body=body,
        prompt_tokens=request.prompt_tokens,
        tenant=request.tenant,
        stream=bool(told.get("stream")),
    )
    return semantic.Recorded(asked, facts, heads, category)


def _key(name: str) -> tuple[str, str]:
    kind, _, rest = name.partition(":")
    return kind, rest
