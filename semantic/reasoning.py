"""How a model is told to reason, or not to: edits of the request by the model's family, as vSR makes them. Pure.

The client's own value wins. Sources: vSR's reasoning families (chat_template_kwargs with a flag; reasoning_effort,
which vLLM takes among the chat_template_kwargs) and vLLM's chat API.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from semantic.asked import Asked
from semantic.edits import Edit, Step
from semantic.plan import Card, ModelRef

KWARGS = "chat_template_kwargs"
EFFORT = "reasoning_effort"
OFF_EFFORT = "low"
"""What vSR asks for where a decision wants no reasoning of a model that always reasons."""
LOWER = {"max": "high", "xhigh": "high", "high": "low", "medium": "low", "low": "low", "minimal": "minimal"}


def reasoning_edits(asked: Asked, ref: ModelRef, card: Card | None, default_effort: str) -> tuple[Edit, ...]:
    """None for a model without a family, a reference that says nothing of reasoning, and anything but a chat."""
    family = None if card is None else card.family
    if family is None or ref.use_reasoning is None or asked.kind != "chat":
        return ()
    if family.type == "chat_template_kwargs":
        return _flag(asked, family.parameter, ref.use_reasoning)
    effort = (ref.effort or default_effort) if ref.use_reasoning else OFF_EFFORT
    return _effort(asked, _places(family.type, family.parameter), effort)


def lowered(ref: ModelRef, card: Card | None, default_effort: str) -> ModelRef | None:
    """The same model with less reasoning, or None where there is none to take away."""
    family = None if card is None else card.family
    if family is None or not ref.use_reasoning:
        return None
    if family.type == "chat_template_kwargs":
        return ModelRef(ref.model, ref.lora, ref.weight, use_reasoning=False)
    effort = ref.effort or default_effort
    less = LOWER.get(effort, effort)
    return None if less == effort else ModelRef(ref.model, ref.lora, ref.weight, ref.use_reasoning, less)


def _flag(asked: Asked, parameter: str, on: bool) -> tuple[Edit, ...]:
    kwargs = asked.body.get(KWARGS)
    if isinstance(kwargs, Mapping) and parameter in kwargs:
        return ()
    if asked.body.get(EFFORT) == "none":
        on = False  # the client has said in another way that it wants none
    return (_set(asked, (KWARGS, parameter), on),)


def _places(kind: str, parameter: str) -> tuple[Step, ...]:
    """vLLM takes `reasoning_effort` among the template's arguments; a dotted or top-level one goes where it says."""
    if kind == "top_level_reasoning_effort" or "." in parameter:
        return tuple(parameter.split("."))
    return (KWARGS, parameter)


def _effort(asked: Asked, path: tuple[Step, ...], effort: str) -> tuple[Edit, ...]:
    if _has(asked.body, path):
        return ()
    given = asked.body.get(EFFORT)
    if given is None:
        return (_set(asked, path, effort),)
    # The client's own, from where clients put it to where the engine looks for it.
    return (_set(asked, path, given), Edit("remove", (EFFORT,)))


def _has(body: Any, path: Sequence[Step]) -> bool:
    for step in path:
        if not isinstance(body, Mapping) or step not in body:
            return False
        body = body[step]
    return True


def _set(asked: Asked, path: tuple[Step, ...], value: object) -> Edit:
    """Where the client has something else than an object in the way (null, say), the whole of it is replaced."""
    body: Any = asked.body
    for n, step in enumerate(path[:-1]):
        body = body.get(step) if isinstance(body, Mapping) else None
        if not isinstance(body, Mapping):
            for inner in reversed(path[n + 1 :]):
                value = {inner: value}
            return Edit("set", path[: n + 1], json.dumps(value).encode())
    return Edit("set", path, json.dumps(value).encode())
