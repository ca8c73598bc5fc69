"""The client's model name put back into responses that come in any pieces."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.protocol.restore import ModelRestorer
from tests.protocol.corpus import BODIES, cut, cuts

TEXTS = st.sampled_from(["T", "model", '"model":"T"', '\\"model\\": \\"T\\"', "x", "ü\n"])
NAMES = st.sampled_from(["model", "response", "message", "a", '"', "modelx"])
JSON = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
STYLES: tuple[dict[str, Any], ...] = ({}, {"indent": 1}, {"separators": (",", ":"), "ensure_ascii": False})


def restored(pieces: Iterable[bytes], served: str = "T", asked: str = "auto") -> bytes:
    restorer = ModelRestorer(served, asked)
    out = [restorer.feed(piece) for piece in pieces]
    return b"".join(out) + restorer.feed(b"", end=True)


def expected(body: bytes) -> bytes:
    """The corpus marks what must stay by being nested or in a string; what must change is all at one level."""
    if not body.startswith(b"{"):
        return b"\n".join(_line(line) for line in body.split(b"\n"))
    value = json.loads(body)
    value["model"] = "auto"
    return json.dumps(value, indent=2).encode() if b"\n" in body else _compact(value)


def _line(line: bytes) -> bytes:
    if not line.startswith(b"data: {"):
        return line
    value = json.loads(line[6:])
    for holder in (value, value.get("response"), value.get("message")):
        if isinstance(holder, dict) and holder.get("model") == "T":
            holder["model"] = "auto"
    made = b"data: " + _compact(value) + line[len(line.rstrip()) :]
    return made.replace(b'"model":', b'"model": ', 1) if b'"model": "T"' in line else made


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@pytest.mark.parametrize("name", BODIES)
def test_the_name_is_put_back_however_the_body_is_cut(name: str) -> None:
    wanted = expected(BODIES[name])
    for pieces in cuts(BODIES[name]):
        assert restored(pieces) == wanted, pieces


@pytest.mark.parametrize(
    ("body", "wanted"),
    [  # row 50: both spacings, in events, twice; only where it is a member of the outermost object and the served name
        (b'{"model":"T"}', b'{"model":"auto"}'),
        (b'{"model": "T"}', b'{"model": "auto"}'),
        (b' {\n "model"\t:\n "T" }', b' {\n "model"\t:\n "auto" }'),
        (b'data: {"model":"T"}\n\n', b'data: {"model":"auto"}\n\n'),
        (b'data: {"model": "T"}\n\n', b'data: {"model": "auto"}\n\n'),
        (b'data:{"model":"T"}\r\n\r\n', b'data:{"model":"auto"}\r\n\r\n'),
        (b'{"model":"T","model":"T"}', b'{"model":"auto","model":"auto"}'),
        (b'data: {"model":"T","model":"T"}\n\n', b'data: {"model":"auto","model":"auto"}\n\n'),
        (b'data: {"model":"T"}\n\ndata: {"model":"T"}\n\n', b'data: {"model":"auto"}\n\ndata: {"model":"auto"}\n\n'),
        (b'data: {"model":"T"}', b'data: {"model":"auto"}'),
        (b'{"model":"\\u0054"}', b'{"model":"auto"}'),
        (b'{"model":"T"}\n{"model":"T"}\n', b'{"model":"auto"}\n{"model":"auto"}\n'),
        (b'{"text":"x\\\\","y":"T","model":"T"}', b'{"text":"x\\\\","y":"T","model":"auto"}'),
        (b'{"model":"U"}', None),
        (b'{"model":"TT"}', None),
        (b'{"model":"\\u0055"}', None),
        (b'{"model":"T', None),
        (b'{"mode', None),
        (b'{"x":"model","T":"T"}', None),
        (b'{"model_name":"T","xmodel":"T"}', None),
        (b'{"choices":[{"model":"T"}],"message":{"model":"T"}}', None),
        (b'{"text":"\\"model\\":\\"T\\""}', None),
        (b'{"text":"\\\\","x":{"model":"T"}}', None),
        (b'[{"model":"T"}]', None),
        (b'["model","T"]', None),
        (b': {"model":"T"}\n\nevent: {"model":"T"}\n\n', None),
        (b'data: {"delta":{"model":"T"},"response":{"x":{"model":"T"}}}\n\n', None),
        (b'data: {"message":"hi","delta":{"model":"T"}}\n\n', None),
        (b'data: {"response":{},"delta":{"model":"T"}}\n\n', None),
        (b'data: {"response":["model",{"model":"T"}],"message":"model"}\n\n', None),
        (b"data: [DONE]\n\n", None),
        (b"no healthy upstream", None),
        (b" \n ", None),
        (b"", None),
    ],
)
def test_the_outermost_served_name_is_replaced_and_no_other_byte(body: bytes, wanted: bytes | None) -> None:
    for pieces in cuts(body):
        assert restored(pieces) == (body if wanted is None else wanted), pieces


@pytest.mark.parametrize(("served", "asked"), [("T", "T"), ("", "auto"), ("T", "")])
def test_with_nothing_to_hide_nothing_changes(served: str, asked: str) -> None:  # row 50
    assert ModelRestorer(served, asked).feed(b'{"model":"T"') == b'{"model":"T"'


def test_names_that_need_escapes_are_compared_by_meaning() -> None:
    names = 'ü "x"/\\😀'
    for body in (json.dumps({"model": names}), json.dumps({"model": names}, ensure_ascii=False)):
        for pieces in cuts(body.encode()):
            assert json.loads(restored(pieces, names, 'a"b'))["model"] == 'a"b'


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), JSON), max_size=4),
    st.sampled_from(["T", "U", None, 7]),
    st.lists(st.integers(0, 10_000), max_size=6),
)
def test_any_json_changes_only_in_its_model(others: list[tuple[str, object]], model: object, places: list[int]) -> None:
    after = "auto" if model == "T" else model
    for style in STYLES:
        first = json.dumps({"model": model, **dict(others)}, **style).encode()
        last = json.dumps({**dict(others), "model": model}, **style).encode()

        assert restored(cut(first, places)) == json.dumps({"model": after, **dict(others)}, **style).encode()
        assert restored(cut(last, places)) == json.dumps({**dict(others), "model": after}, **style).encode()


@given(st.lists(st.dictionaries(NAMES, JSON, max_size=4), max_size=4), st.lists(st.integers(0, 10_000), max_size=6))
def test_any_events_change_only_in_their_models(values: list[dict[str, object]], places: list[int]) -> None:
    def events() -> bytes:
        return b"".join(b"event: x\ndata: " + _compact(value) + b"\n\n" for value in values)

    body = events()
    for value in values:
        for holder in (value, value.get("response"), value.get("message")):
            if isinstance(holder, dict) and holder.get("model") == "T":
                holder["model"] = "auto"

    assert restored(cut(body, places)) == events()


@given(st.lists(st.binary(max_size=20) | st.sampled_from([b'"model"', b":", b'"T"', b"\\", b'"', b"\n", b"{", b"}"])))
def test_any_bytes_come_out_alike_in_one_piece_and_in_many(pieces: list[bytes]) -> None:
    for start in (b"{", b"data: "):
        whole = restored([start, b"".join(pieces)])

        assert restored([start, *pieces]) == whole
        assert whole.replace(b'"auto"', b'"T"') == (start + b"".join(pieces)).replace(b'"auto"', b'"T"')


@pytest.mark.parametrize("name", BODIES)
def test_hardly_anything_is_held_back(name: str) -> None:
    restorer, out = ModelRestorer("T", "T" * 3), 0
    for fed, byte in enumerate(BODIES[name], start=1):
        out += len(restorer.feed(bytes([byte])))

        assert fed - out < len('"response"')


def test_an_endless_value_is_not_held() -> None:
    restorer = ModelRestorer("T", "auto")

    assert len(restorer.feed(b'{"model":"' + b"T" * 1000)) == 1010
    assert len(ModelRestorer("T", "auto").feed(b'{"model":"' + b"\\" * 1000)) == 1010
