"""The bounds of an HTTP/2 connection as flags: `--http2-limit=NAME=VALUE`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from epp.domain import ConfigError
from epp.edge.http2.limits import Http2Limits

OF_OTHER_FLAGS = ("receive_bytes_max", "send_bytes_max", "streams_max", "age_s")
DEFAULTS = {field.name: field.default for field in fields(Http2Limits) if field.name not in OF_OTHER_FLAGS}
NAMES = ", ".join(f"{name} {default}" for name, default in DEFAULTS.items())


def bound(value: object) -> object:
    """`NAME=VALUE` as a pair; what is not text passes. Raises ValueError."""
    if not isinstance(value, str):
        return value
    name, _, number = value.partition("=")
    if name not in DEFAULTS:
        raise ValueError(f"'{name}' is none of {', '.join(DEFAULTS)}")
    try:
        return name, int(number) if isinstance(DEFAULTS[name], int) else float(number)
    except ValueError:
        raise ValueError(f"'{number}' is not a number that {name} can be") from None


def check(bounds: Iterable[tuple[str, float]]) -> None:
    """Raises ConfigError for a value that no connection could live with."""
    try:
        Http2Limits(**dict(bounds))  # type: ignore[arg-type]  # whole numbers where those are wanted, as `bound` sees to
    except ValueError as wrong:
        raise ConfigError("--http2-limit", str(wrong)) from None
