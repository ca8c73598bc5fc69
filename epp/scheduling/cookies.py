"""One cookie out of a request's header."""

from __future__ import annotations

from collections.abc import Mapping


def cookie(headers: Mapping[str, str], name: str) -> str | None:
    """Its value (RFC 6265), without quotes; None where there is none."""
    for part in headers.get("cookie", "").split(";"):
        key, equals, value = part.strip().partition("=")
        if equals and key == name:
            return value.strip('"') or None
    return None
