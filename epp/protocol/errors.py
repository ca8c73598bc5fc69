"""Refusals as the client sees them: OpenAI- or Anthropic-shaped JSON, the right status, a code, when to retry."""

from __future__ import annotations

from typing import Any

import msgspec

from epp.domain import Refused
from epp.protocol.headers import DROPPED_REASON
from epp.protocol.messages import Immediate
from epp.protocol.paths import Shape

ANTHROPIC_TYPES = {  # Anthropic's API documents; 503 is their 529, which no gateway would pass on as temporary
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def refusal(refused: Refused, shape: Shape = "openai", retry_after_s: int | None = None) -> Immediate:
    """The answer; `retry_after_s` overrides the reason's own where the caller knows when waiting will have helped."""
    reason = refused.reason
    body = _anthropic(refused) if shape == "anthropic" else _openai(refused)
    headers = [("content-type", "application/json")]
    wait_s = reason.retry_after_s if retry_after_s is None else retry_after_s
    if wait_s is not None:
        headers.append(("retry-after", str(wait_s)))
    if reason.dropped_reason is not None:
        headers.append((DROPPED_REASON, reason.dropped_reason))
    return Immediate(reason.status, headers, msgspec.json.encode(body), details=f"onehop_{reason.code}")


def _openai(refused: Refused) -> dict[str, Any]:
    """`code` is the reason's code; `type` follows OpenAI's: the request's fault below 500, ours from 500 on."""
    error = {
        "message": refused.message,
        "type": _openai_type(refused.reason.status),
        "param": refused.param,
        "code": refused.reason.code,
    }
    return {"error": error}


def _openai_type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"


def _anthropic(refused: Refused) -> dict[str, Any]:
    status = refused.reason.status
    kind = ANTHROPIC_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": refused.message}}
