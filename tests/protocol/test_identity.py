"""Where tenants and objectives are named."""

from __future__ import annotations

import pytest

from epp.protocol.headers import FAIRNESS
from epp.protocol.identity import source

HEADERS = {
    ":authority": "Team-A.example:8080",
    "x-gateway-inference-fairness-id": "old",
    "x-llm-d-inference-fairness-id": "new",
    "x-tenant": "from-token",
}
ATTRIBUTES = {"xds.route_name": "team-a.route.0"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("header", "new"),
        ("none", None),
        ("host", "team-a.example"),
        ("header:X-Tenant", "from-token"),
        ("header:x-absent", None),
        ("attribute:xds.route_name", "team-a.route.0"),
        ("attribute:xds.cluster_name", None),
    ],
)
def test_a_name_is_found_where_the_operator_says(text: str, found: str | None) -> None:
    assert source(text, FAIRNESS).find(HEADERS, ATTRIBUTES) == found


def test_what_clients_write_elsewhere_counts_for_nothing() -> None:
    forged = {"x-llm-d-inference-fairness-id": "victim", "x-gateway-inference-fairness-id": "victim"}

    for text in ("none", "host", "header:x-tenant", "attribute:xds.route_name"):
        assert source(text, FAIRNESS).find(forged, None) is None


@pytest.mark.parametrize(
    ("authority", "host"),
    [("a.example", "a.example"), ("[::1]:80", "[::1]"), ("10.0.0.1:80", "10.0.0.1"), ("", None)],
)
def test_a_host_has_no_port(authority: str, host: str | None) -> None:
    assert source("host", ()).find({":authority": authority}, None) == host


def test_a_name_has_a_bound() -> None:
    assert len(source("header:x", ()).find({"x": "a" * 9999}, None) or "") == 253


@pytest.mark.parametrize("text", ["", "cookie", "header:", "attribute:", "Host"])
def test_other_places_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is none of header, none, host"):
        source(text, ())
