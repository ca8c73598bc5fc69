"""Whether an answer shows that the endpoint failed, and how: Envoy's own word for it where it is sent, else the status.

Must stay true: what a client did wrong is no fault, nor is what the gateway itself refused. The words are those of
Envoy's `%RESPONSE_CODE_DETAILS%`, which it sends as the attribute `response.code_details` if it is told to.
"""

from __future__ import annotations

from collections.abc import Mapping

from epp.domain import Fault

DETAILS = "response.code_details"
_SERVER_ITSELF = "via_upstream"
_RESET = "upstream_reset_before_response_started"
_OVERFLOW = "overflow"  # the gateway's own limits
_TIMEOUTS = ("upstream_response_timeout", "upstream_per_try_timeout", "response_timeout", "request_timeout")
_NOBODY = "no_healthy_upstream"
_UNAVAILABLE = (502, 503, 504)
_NO_FAULT = (501, 505)  # what was asked for is not done here


def fault(status: int | None, attributes: Mapping[str, str] | None) -> Fault | None:
    """The endpoint's fault in an answer of this status; None where there is none, or it is someone else's."""
    if status is None or status < 500 or status in _NO_FAULT:
        return None
    details = (attributes or {}).get(DETAILS, _SERVER_ITSELF)
    if details.startswith(_RESET):
        return None if _OVERFLOW in details else "connect"
    if details.startswith(_TIMEOUTS):
        return "timeout"
    if not details.startswith((_SERVER_ITSELF, _NOBODY)):
        return None
    return "unavailable" if status in _UNAVAILABLE else "server"
