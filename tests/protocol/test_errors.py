"""Refusals in the shape of the API that was asked."""

from __future__ import annotations

import json

import pytest

from epp.domain import Reason, Refused
from epp.protocol.errors import refusal


def test_openais_shape_names_the_reason() -> None:
    immediate = refusal(Refused(Reason.MODEL_NOT_FOUND, "no such model", "model"))

    assert immediate.status == 404
    assert dict(immediate.headers) == {"content-type": "application/json"}
    assert json.loads(immediate.body) == {
        "error": {
            "message": "no such model",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }
    }


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (Reason.BAD_REQUEST, "invalid_request_error"),
        (Reason.MODEL_MISSING, "invalid_request_error"),
        (Reason.MODEL_NOT_FOUND, "not_found_error"),
        (Reason.BODY_TOO_LARGE, "request_too_large"),
        (Reason.NO_ENDPOINTS, "overloaded_error"),
    ],
)
def test_anthropics_shape_has_a_type_for_each_status(reason: Reason, kind: str) -> None:
    immediate = refusal(Refused(reason, "why"), "anthropic")

    assert immediate.status == reason.status
    assert json.loads(immediate.body) == {"type": "error", "error": {"type": kind, "message": "why"}}


def test_waiting_is_told_by_the_reason_unless_the_caller_knows_better() -> None:
    refused = Refused(Reason.NO_ENDPOINTS, "none")

    assert dict(refusal(refused).headers)["retry-after"] == "1"
    assert dict(refusal(refused, "anthropic", retry_after_s=7).headers)["retry-after"] == "7"
    assert dict(refusal(refused).headers)["x-llm-d-request-dropped-reason"] == "rejected-no-endpoints"
