"""Which bodies can be read."""

from __future__ import annotations

import pytest

from epp.protocol.media import encoded, legible, says_json


@pytest.mark.parametrize(
    ("headers", "readable"),
    [
        ({}, True),
        ({"content-type": "application/json"}, True),
        ({"content-type": "Text/Event-Stream; charset=utf-8"}, True),
        ({"content-type": "application/x-ndjson", "content-encoding": "identity"}, True),
        ({"content-type": "text/event-stream", "content-encoding": "gzip"}, False),
        ({"content-encoding": "br"}, False),
        ({"content-type": "audio/mpeg"}, False),
        ({"content-type": "text/html"}, False),
    ],
)
def test_plain_json_and_events_can_be_read(headers: dict[str, str], readable: bool) -> None:
    assert legible(headers) is readable


def test_no_type_is_taken_for_json_and_no_encoding_for_plain() -> None:
    assert says_json({})
    assert not encoded({})
