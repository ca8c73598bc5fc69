"""What plugins change in a request: the system prompt, parameters out of bounds, headers. Pure.

Must stay true: a client's own system prompt is overwritten only where the configuration says `replace`.
"""

import json
from collections.abc import Mapping
from typing import Any

from semantic.asked import Asked
from semantic.edits import Edit, HeaderEdit
from semantic.plan import Plugins, RequestParams, SystemPrompt

TOKEN_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
COUNTS = ("n", "best_of")
KNOWN_PARAMS = frozenset(
    """
    model messages prompt input instructions system tools tool_choice parallel_tool_calls functions function_call
    stream stream_options max_tokens max_completion_tokens max_output_tokens temperature top_p top_k n best_of stop
    stop_sequences presence_penalty frequency_penalty logit_bias logprobs top_logprobs seed user metadata store
    service_tier response_format reasoning reasoning_effort verbosity modalities audio prediction web_search_options
    safety_identifier prompt_cache_key echo suffix text truncation include previous_response_id conversation
    thinking chat_template_kwargs
    """.split()  # noqa: SIM905  # words read best as words
)
"""What OpenAI's and Anthropic's APIs know, and what we put in ourselves; `strip_unknown` takes out the rest."""
_SYSTEM_ROLES = ("system", "developer")
_APART = "\n\n"


def plugin_edits(asked: Asked, plugins: Plugins) -> tuple[Edit, ...]:
    """The changes of the body; an edit of one member never meets another of the same."""
    edits: list[Edit] = []
    if plugins.system_prompt is not None:
        edits += _system_prompt(asked, plugins.system_prompt)
    if plugins.params is not None:
        edits += _params(asked.body, plugins.params)
    return tuple(edits)


def plugin_headers(plugins: Plugins) -> tuple[HeaderEdit, ...]:
    """The changes of the headers."""
    return tuple(HeaderEdit(name, value) for name, value in plugins.headers)


def _system_prompt(asked: Asked, prompt: SystemPrompt) -> list[Edit]:
    if asked.kind == "chat":
        return _into_messages(asked, prompt)
    member = {"messages": "system", "responses": "instructions"}.get(asked.kind)
    if member is None:
        return []  # a bare prompt has no place for one
    return _into(prompt, (member,), asked.body.get(member))


def _into_messages(asked: Asked, prompt: SystemPrompt) -> list[Edit]:
    """The first system message is the client's own; further ones go where `replace` says so."""
    listed = asked.body.get("messages")
    if not isinstance(listed, list):
        return []
    places = [n for n, one in enumerate(listed) if isinstance(one, Mapping) and one.get("role") in _SYSTEM_ROLES]
    if not places:
        return [Edit("insert", ("messages", 0), _json({"role": "system", "content": prompt.text}))]
    first, *others = places
    edits = _into(prompt, ("messages", first, "content"), listed[first].get("content"))
    return edits + ([Edit("remove", ("messages", n)) for n in reversed(others)] if prompt.mode == "replace" else [])


def _into(prompt: SystemPrompt, path: tuple[str | int, ...], given: Any) -> list[Edit]:
    """Before what is there, or in its place."""
    if prompt.mode == "replace" or not given:
        return [Edit("set", path, _json(prompt.text))]
    if isinstance(given, list):
        return [Edit("insert", (*path, 0), _json({"type": "text", "text": prompt.text}))]
    if isinstance(given, str):
        return [Edit("prefix", path, _json(prompt.text + _APART)[1:-1])]
    return []


def _params(body: Mapping[str, Any], params: RequestParams) -> list[Edit]:
    gone = {name for name in body if name in params.blocked or (params.strip_unknown and name not in KNOWN_PARAMS)}
    edits = [Edit("remove", (name,)) for name in body if name in gone]
    for names, most in ((TOKEN_LIMITS, params.max_tokens), (COUNTS, params.max_n)):
        for name in names:
            value = body.get(name)
            if most is not None and _number(value) > most and name not in gone:
                edits.append(Edit("set", (name,), _json(most)))
    return edits


def _number(value: object) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
