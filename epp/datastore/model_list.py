"""The answer of `/v1/models` -> the names an endpoint answers to, each with its base model.

Must stay true: whatever the bytes are, the result is a mapping or `BadModelList`.
"""

from __future__ import annotations

import msgspec


class BadModelList(Exception):
    """The bytes are not an OpenAI model list; the message says where they stop being one."""


class _Model(msgspec.Struct):
    id: str
    parent: str | None = None


class _ModelList(msgspec.Struct):
    data: list[_Model]


_DECODER = msgspec.json.Decoder(_ModelList)


def parse(body: bytes) -> dict[str, str]:
    """Every served name -> the base model behind it: the parent of a LoRA adapter, the name itself otherwise.

    `root` is not used: engines write the path of the weights there, also for base models.
    """
    try:
        models = _DECODER.decode(body).data
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadModelList(f"not a model list: {error}") from error
    return {model.id: model.parent or model.id for model in models}
