"""The request paths we understand, as a table: what each body must hold, what the engine prefills, how errors look.

A path is matched by its longest suffix, so gateways may put a prefix in front. Paths that are not here pass through.
Sources: the Go picker's parsers (openai, anthropic, vllmhttp; names and messages are theirs), vLLM's and Anthropic's
API documents. Where the Go picker refuses what an engine accepts (a response that continues another without `input`,
chat messages to embed, a vLLM prompt that names no model), the table follows the engine.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from epp.protocol.headers import first

Shape = Literal["openai", "anthropic"]

OPENAI = "openai-parser"
ANTHROPIC = "anthropic-parser"
VLLM = "vllmhttp-parser"
PARSERS = frozenset({OPENAI, ANTHROPIC, VLLM})  # the Go picker's default list, less pass-through: `read(unparsed=...)`

PATH_HEADERS = (":path", "x-original-path", "x-forwarded-path")
DEFAULT_PATH = "/v1/completions"


@dataclass(slots=True, frozen=True)
class Api:
    """One kind of request.

    `prompt` names the members the engine prefills, in the order it renders them. One of `needs` must hold something,
    else the request is refused with `missing`; those of `lists` must be arrays.
    """

    suffix: str
    prompt: tuple[str, ...]
    needs: tuple[str, ...]
    missing: str
    parser: str = OPENAI
    lists: frozenset[str] = frozenset()
    model_required: bool = True
    shape: Shape = "openai"


_CHAT = Api(
    suffix="/chat/completions",
    prompt=("cache_salt", "tools", "messages"),
    needs=("messages",),
    missing="invalid chat completions request: must have valid messages field",
    lists=frozenset({"messages"}),
)
_COMPLETIONS = Api(
    suffix="/completions",
    prompt=("cache_salt", "prompt"),
    needs=("prompt",),
    missing="invalid completions request: must have prompt field",
)
_MESSAGES = Api(
    suffix="/v1/messages",
    prompt=("system", "tools", "messages"),
    needs=("messages",),
    missing="invalid messages request: must have valid messages field",
    parser=ANTHROPIC,
    lists=frozenset({"messages"}),
    shape="anthropic",
)


APIS = (
    _CHAT,
    replace(_CHAT, suffix="/chat/completions/render"),
    _COMPLETIONS,
    replace(_COMPLETIONS, suffix="/completions/render"),
    Api(
        suffix="/embeddings",
        prompt=("input", "messages"),
        needs=("input", "messages"),
        missing="invalid embeddings request: must have input field",
    ),
    Api(
        suffix="/responses",
        prompt=("cache_salt", "instructions", "tools", "input"),
        needs=("input", "previous_response_id"),
        missing="invalid responses request: must have input field",
    ),
    Api(
        suffix="/conversations",
        prompt=("items",),
        needs=("items",),
        missing="invalid conversations request: must have items field",
        lists=frozenset({"items"}),
        model_required=False,  # a conversation belongs to no model
    ),
    Api(
        suffix="/images/generations",
        prompt=("prompt",),
        needs=("prompt",),
        missing="invalid images generations request: must have prompt field",
    ),
    _MESSAGES,
    replace(_MESSAGES, suffix="/v1/messages/count_tokens"),
    Api(
        suffix="/inference/v1/generate",
        prompt=("cache_salt", "token_ids"),
        needs=("token_ids",),
        missing="invalid generate request: must have token_ids field",
        parser=VLLM,
        lists=frozenset({"token_ids"}),
        model_required=False,  # optional in vLLM
    ),
)
_LONGEST_FIRST = sorted(APIS, key=lambda api: -len(api.suffix))
# By the path that nearly every request has, which no other suffix ends.
_APIS_AS_ASKED = {"/v1" + api.suffix: api for api in APIS if not api.suffix.startswith("/v1")}


def path_of(headers: Mapping[str, str]) -> str:
    """The request's path, without query and trailing slash; gateways that send no `:path` may name it otherwise."""
    path = first(headers, PATH_HEADERS) or DEFAULT_PATH
    return path.partition("?")[0].rstrip("/")


def find(path: str, parsers: Collection[str] = PARSERS) -> Api | None:
    """What a request to `path` is, if one of the parsers in use knows it."""
    api = _APIS_AS_ASKED.get(path)
    if api is None:
        api = next((api for api in _LONGEST_FIRST if path.endswith(api.suffix)), None)
    return api if api is not None and api.parser in parsers else None


def error_shape(path: str) -> Shape:
    """How refusals look to a client of this path (as `path_of` gives it)."""
    api = find(path)
    return api.shape if api is not None else "openai"
