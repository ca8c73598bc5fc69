"""Which conversation a request belongs to: what the client calls it, else what it began with.

The beginning is everything up to the first message of the user, which later turns repeat. Two conversations that begin
alike count as one, and a client that rewrites its first message has a new one: what hangs on it is only which of two
acceptable models goes on answering, never who may see what. Nothing of the text is kept but its digest.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from xxhash import xxh3_128

from epp.domain import Request

Session = tuple[str, str | bytes]
_UNKNOWN = msgspec.Raw()


class _Turns(msgspec.Struct):
    system: msgspec.Raw = _UNKNOWN
    instructions: msgspec.Raw = _UNKNOWN
    messages: msgspec.Raw = _UNKNOWN
    input: msgspec.Raw = _UNKNOWN


class _Turn(msgspec.Struct):
    role: str = ""


_TURNS = msgspec.json.Decoder(_Turns)
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_TURN = msgspec.json.Decoder(_Turn)


def session(request: Request) -> Session | None:
    """The tenant with the session's name or digest; None for what is no conversation.

    Without a name it takes a look at the whole body, so ask only where it matters.
    """
    if request.session is not None:
        return request.tenant, request.session
    try:
        turns = _TURNS.decode(request.body)
        messages = _beginning(_LIST.decode(turns.messages or turns.input))
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError):
        return None
    if not messages:
        return None
    digest = xxh3_128(b"\0".join(map(bytes, (turns.system, turns.instructions, *messages))))
    return request.tenant, digest.digest()


def _beginning(messages: Sequence[msgspec.Raw]) -> Sequence[msgspec.Raw]:
    """Up to the first turn of the user; nothing where there is none."""
    for place, message in enumerate(messages):
        if _TURN.decode(message).role == "user":
            return messages[: place + 1]
    return ()
