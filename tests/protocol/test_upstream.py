"""Whose fault an answer is, by the gateway's word where it gives one."""

from __future__ import annotations

import pytest

from epp.domain import Fault
from epp.protocol.upstream import DETAILS, fault


@pytest.mark.parametrize(
    ("status", "details", "expected"),
    [
        (200, "via_upstream", None),
        (404, "via_upstream", None),
        (429, "via_upstream", None),
        (500, "via_upstream", "server"),
        (502, "via_upstream", "unavailable"),
        (503, "via_upstream", "unavailable"),
        (504, "via_upstream", "unavailable"),
        (529, "via_upstream", "server"),
        (501, "via_upstream", None),
        (503, None, "unavailable"),
        (500, None, "server"),
        (None, None, None),
        (503, "upstream_reset_before_response_started{connection_failure}", "connect"),
        (
            503,
            "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_111}",
            "connect",
        ),
        (503, "upstream_reset_before_response_started{connection_termination}", "connect"),
        (503, "upstream_reset_before_response_started{overflow}", None),
        (504, "upstream_response_timeout", "timeout"),
        (504, "upstream_per_try_timeout", "timeout"),
        (503, "no_healthy_upstream", "unavailable"),
        (503, "overload", None),
        (500, "ext_proc_error_gRPC_error_14", None),
        (500, "lua_response", None),
        (408, "request_overall_timeout", None),
    ],
)
def test_whose_fault_it_is(status: int | None, details: str | None, expected: Fault | None) -> None:
    assert fault(status, None if details is None else {DETAILS: details}) == expected
    if details is None:
        assert fault(status, {"upstream.address": "10.0.0.1:80"}) == expected
