"""How many tokens a prompt's raw JSON is worth, without a tokenizer: cheap, and near enough to weigh requests."""

from __future__ import annotations

import re

BYTES_PER_TOKEN = 4  # the picker's own estimate where no tokenizer is at hand (llm-d's "estimate" backend)
MEDIA_TOKENS = 1280  # an image of one megapixel in patches of 28 x 28 pixels (Qwen2.5-VL)
ID_BYTES_MAX = 32  # of a token id with what parts it from the next: one to a line and indented takes less
PROBE_BYTES = 4096  # smaller media are worth about as much as their bytes as text, so they need not be found

_IDS = re.compile(rb"\[\s*(?:\[\s*)?[0-9]")
# With the backslash, as some escape the slash; no prose, and hardly any code, goes on for so long.
_BASE64 = re.compile(rb"[A-Za-z0-9+/_=\\-]{64}")
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_=\\-"


def estimate(raw: bytes) -> int:
    """Tokens of one JSON value: exact for token ids and lists of them, a fourth of the bytes for anything else.

    Images, audio and files in base64 count as `MEDIA_TOKENS` each, whatever their size in bytes. Never negative.
    Numbers that fill more than `ID_BYTES_MAX` each are nobody's ids: the engine, which knows its vocabulary, refuses
    them, but their bytes have to travel.
    """
    if _IDS.match(raw) and b'"' not in raw:
        ids = raw.count(b",") + 1
        if len(raw) <= ids * ID_BYTES_MAX:
            return ids
    count, size = _media(raw)
    return (len(raw) - size) // BYTES_PER_TOKEN + count * MEDIA_TOKENS


def _media(raw: bytes) -> tuple[int, int]:
    """How many strings end in nothing but base64, and the bytes of it, by probing the text at intervals.

    Neither a text with such a run in it nor a number of so many digits is one: clients choose what they send, and
    must not be able to send much that counts as little.
    """
    count = size = 0
    at = PROBE_BYTES
    while at < len(raw):
        if _BASE64.match(raw, at):
            stop = raw.find(b'"', at)
            if stop < 0:
                break
            if not raw[at:stop].translate(None, _ALPHABET):
                count += 1
                size += stop - max(raw.rfind(b'"', 0, at) + 1, at - PROBE_BYTES)
            at = stop
        at += PROBE_BYTES
    return count, size
