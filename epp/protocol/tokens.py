"""How many tokens a prompt's raw JSON is worth, without a tokenizer: cheap, and near enough to weigh requests."""

from __future__ import annotations

import re

BYTES_PER_TOKEN = 4  # the picker's own estimate where no tokenizer is at hand (llm-d's "estimate" backend)
MEDIA_TOKENS = 1280  # an image of one megapixel in patches of 28 x 28 pixels (Qwen2.5-VL)
PROBE_BYTES = 4096  # smaller media are worth about as much as their bytes as text, so they need not be found

_IDS = re.compile(rb"\[\s*(?:\[\s*)?[0-9]")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_=-]{64}")  # no prose, and hardly any code, goes on for so long


def estimate(raw: bytes) -> int:
    """Tokens of one JSON value: exact for token ids and lists of them, a fourth of the bytes for text.

    Images, audio and files in base64 count as `MEDIA_TOKENS` each, whatever their size in bytes.
    """
    if _IDS.match(raw):
        return raw.count(b",") + 1
    count, size = _media(raw)
    return (len(raw) - size) // BYTES_PER_TOKEN + count * MEDIA_TOKENS


def _media(raw: bytes) -> tuple[int, int]:
    """How many base64 strings there are and their bytes, by probing the text at intervals."""
    count = size = 0
    at = PROBE_BYTES
    while at < len(raw):
        if _BASE64.match(raw, at):
            start = raw.rfind(b'"', 0, at) + 1
            at = max(raw.find(b'"', at), at + 1)
            count += 1
            size += at - start
        at += PROBE_BYTES
    return count, size
