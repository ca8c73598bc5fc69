"""Refusals as the client sees them: OpenAI-shaped JSON, the right status, a machine-readable code, when to retry."""

from __future__ import annotations

import msgspec

from epp.domain import Refused
from epp.protocol.headers import DROPPED_REASON
from epp.protocol.messages import Immediate


def refusal(refused: Refused) -> Immediate:
    """`error.code` is the reason's code; `type` follows OpenAI's: the request's fault below 500, ours from 500 on."""
    reason = refused.reason
    error = {
        "message": refused.message,
        "type": "invalid_request_error" if reason.status < 500 else "server_error",
        "param": refused.param,
        "code": reason.code,
    }
    headers = [("content-type", "application/json")]
    if reason.retry_after_s is not None:
        headers.append(("retry-after", str(reason.retry_after_s)))
    if reason.dropped_reason is not None:
        headers.append((DROPPED_REASON, reason.dropped_reason))
    return Immediate(reason.status, headers, msgspec.json.encode({"error": error}), details=f"onehop_{reason.code}")
