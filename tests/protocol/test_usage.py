"""Token usage, read from bodies that come in any pieces."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from epp.protocol.usage import HELD_BYTES_MAX, Usage, UsageReader
from tests.protocol.corpus import BODIES, cut, cuts

SAID = {"prompt_tokens": 7, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 3}}
JSON = st.recursive(
    st.none() | st.integers() | st.sampled_from(["usage", '"usage":{"prompt_tokens":1}', '\\"usage', "x", "ü\n"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["usage", "a", '"'],
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


def usage_of(pieces: Iterable[bytes]) -> Usage | None:
    reader = UsageReader()
    for piece in pieces:
        reader.feed(piece)
    return reader.end()


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


@pytest.mark.parametrize("name", BODIES)
def test_usage_is_read_however_the_body_is_cut(name: str) -> None:
    for pieces in cuts(BODIES[name]):
        assert usage_of(pieces) == Usage(7, 10, 3), pieces


def test_usage_spread_over_events_adds_up() -> None:  # row 51
    first = event({"usage": {"prompt_tokens": 7, "prompt_tokens_details": {"cached_tokens": 3}}})
    last = event({"usage": {"completion_tokens": 10}})

    assert usage_of([first, last]) == usage_of([first + last]) == Usage(7, 10, 3)


def test_running_totals_are_not_counted_twice() -> None:  # row 51
    events = [event({"usage": {"prompt_tokens": 7, "completion_tokens": n}}) for n in range(1, 11)]

    assert usage_of(events) == Usage(7, 10)


def test_anthropics_start_and_end_are_merged() -> None:  # row 52
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 1000, "cache_read_input_tokens": 800}}}
    delta = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 200}}

    assert usage_of([event(start), event(delta)]) == Usage(1000, 200, 800)


def test_an_embedding_has_no_completion() -> None:
    assert usage_of([b'{"data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":5,"total_tokens":5}}']) == Usage(5, 0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \n",
        b"no healthy upstream",
        b'{"usage":null}',
        b'{"usage":7}',
        b'{"usage":[{"prompt_tokens":7}]}',
        b'{"usage":{"type":"object"}}',
        b'{"usage":{"prompt_tokens":"7"}}',
        b'{"usage":{"prompt_tokens":-7}}',
        b'{"usage":{"prompt_tokens":1e999}}',
        b'{"usage":{"prompt_tokens":123456789012345678901234567890}}',
        b'{"usage":{"prompt_tokens":7',
        b'{"usage":{"prompt_tokens":7}',
        b'{"x":"usage","y":{"prompt_tokens":7}}',
        b'{"say \\"usage":{"prompt_tokens":7}}',
        b'{"choices":[{"usage":{"prompt_tokens":7}}]}',
        b'[{"usage":{"prompt_tokens":7}}]',
        b'{"text":"\\"usage\\":{\\"prompt_tokens\\":7}"}',
        b'data: {"choices":[{"delta":{"usage":{"prompt_tokens":7}}}]}\n\n',
        b'data: {"usage":{"prompt_tokens":7\n\ndata: "completion_tokens":1}}\n\n',
        b"data: [DONE]\n\n",
        b"\x1f\x8b\x08\x00\xff",
    ],
)
def test_what_is_no_usage_is_not_taken_for_it(body: bytes) -> None:
    for pieces in cuts(body):
        assert usage_of(pieces) is None, pieces


def test_a_last_event_without_its_line_end_counts() -> None:
    assert usage_of([event({"usage": SAID}).rstrip()]) == Usage(7, 10, 3)


@given(st.lists(st.tuples(st.sampled_from("abcd"), JSON), max_size=4), st.lists(st.integers(0, 10_000), max_size=6))
def test_of_any_json_only_the_top_level_usage_counts(others: list[tuple[str, object]], places: list[int]) -> None:
    for style in ({}, {"indent": 1}, {"separators": (",", ":"), "ensure_ascii": False}):
        members = dict(others)
        without = json.dumps(members, **style).encode()
        first = json.dumps({"usage": SAID, **members}, **style).encode()
        last = json.dumps({**members, "usage": SAID}, **style).encode()

        assert usage_of(cut(without, places)) is None
        assert usage_of(cut(first, places)) == usage_of(cut(last, places)) == Usage(7, 10, 3)


@given(
    st.lists(
        st.binary(max_size=20)
        | st.sampled_from([b'"usage"', b":{", b"}", b"\\", b'"', b"\n", b"{", b":nu", b"ll", b'"input_tokens":3}'])
    )
)
@example([b'"usage":nu', b'll""usage":{"input_tokens":3}}'])
def test_any_bytes_are_read_alike_in_one_piece_and_in_many(pieces: list[bytes]) -> None:
    for start in (b"{", b"data: "):
        whole = usage_of([start, b"".join(pieces)])

        assert whole is None or isinstance(whole, Usage)
        assert usage_of([start, *pieces]) == whole


@pytest.mark.parametrize(
    "start", [b'{"usage":{"x":"', b'data: {"usage":{"x":["', b'{"a":"', b'data: {"a":"', b"", b'"usage" ']
)
@pytest.mark.parametrize("filler", [b"x", b"\\", b" ", b'"usage"', b"\n", b"{"])
def test_no_body_makes_it_hold_more_than_its_bound(start: bytes, filler: bytes) -> None:
    reader = UsageReader()
    reader.feed(start)
    piece = filler * (2000 // len(filler))
    tracemalloc.start()
    for _ in range(100):
        reader.feed(piece)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert held < 4 * HELD_BYTES_MAX


def test_a_usage_longer_than_the_bound_is_let_go() -> None:
    usage = {"x": "x" * HELD_BYTES_MAX, **SAID}
    body = json.dumps({"usage": usage}).encode()

    assert usage_of([body]) == Usage(7, 10, 3), "in one piece nothing needs holding"
    assert usage_of([body[:-100], body[-100:]]) is None
