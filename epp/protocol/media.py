"""Whether a body can be read: what its `content-type` and `content-encoding` say."""

from __future__ import annotations

from collections.abc import Mapping

_JSON = ("", "application/json", "text/json", "application/x-www-form-urlencoded")  # the last is curl's default
_STREAMS = ("text/event-stream", "application/x-ndjson")


def encoded(headers: Mapping[str, str]) -> bool:
    """Whether the body is compressed (gzip, br, zstd, ...)."""
    return headers.get("content-encoding", "").strip().lower() not in ("", "identity")


def says_json(headers: Mapping[str, str]) -> bool:
    """Whether the body is said to be JSON, or not said to be anything by someone who meant it."""
    kind = _kind(headers)
    return kind in _JSON or kind.endswith("+json")


def legible(headers: Mapping[str, str]) -> bool:
    """Whether a response body with these headers can be read: plain JSON or server-sent events."""
    return not encoded(headers) and (says_json(headers) or _kind(headers) in _STREAMS)


def _kind(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()
