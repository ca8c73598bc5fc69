"""Estimating a prompt's tokens from its raw JSON."""

from __future__ import annotations

import json
from base64 import b64encode
from random import Random

import pytest

from epp.protocol.tokens import BYTES_PER_TOKEN, ID_BYTES_MAX, MEDIA_TOKENS, estimate


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [
        ([1], 1),
        ([1, 2, 3], 3),
        ([[1, 2], [3]], 3),
        ("hello world", 13 // BYTES_PER_TOKEN),
        (["hello", "world"], 18 // BYTES_PER_TOKEN),
        ([], 0),
        ([0, "x" * 393], 100),
        ([[0, 1], "x" * 388], 100),
        ([1, {"role": "user", "content": "x" * 364}], 100),
    ],
)
def test_ids_are_counted_and_text_is_estimated(prompt: object, tokens: int) -> None:
    assert estimate(json.dumps(prompt).encode()) == tokens


@pytest.mark.parametrize(
    "listed",
    [
        pytest.param(b"[" + b"7" * 1_000_000 + b"]", id="a number of a megabyte"),
        pytest.param(b"[0, 1, " + b"7" * 1_000_000 + b", 2]", id="among ids"),
        pytest.param(b"[[1], [2," + b" " * 1_000_000 + b"3]]", id="much space"),
        pytest.param(b"[0," + b"[" * 500_000 + b"]" * 500_000 + b"]", id="lists in lists"),
    ],
)
def test_numbers_that_are_nobodys_ids_count_by_their_bytes(listed: bytes) -> None:
    assert estimate(listed) == len(listed) // BYTES_PER_TOKEN


def test_ids_may_stand_on_lines_of_their_own() -> None:
    ids = [[151_643 + n for n in range(500)] for _ in range(2)]

    assert estimate(json.dumps(ids, indent=8).encode()) == 1000


def test_ids_may_take_their_bytes_and_not_one_more() -> None:
    full = b"[1" + b" " * (2 * ID_BYTES_MAX - 5) + b",2]"

    assert (len(full), estimate(full)) == (2 * ID_BYTES_MAX, 2)
    assert estimate(full + b" ") == len(full) // BYTES_PER_TOKEN


@pytest.mark.parametrize("kib", [16, 300, 2000])
def test_an_image_counts_as_an_image_whatever_its_size(kib: int) -> None:
    data = b64encode(Random(1).randbytes(kib * 1024)).decode()
    text = "a sentence of prose; " * 400
    raw = json.dumps(
        [
            {"type": "text", "text": text},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
            {"type": "image", "source": {"type": "base64", "data": data}},
            {"type": "text", "text": text},
        ]
    ).encode()

    assert estimate(raw) == pytest.approx(2 * MEDIA_TOKENS + len(text) / 2, rel=0.1)


def test_slashes_may_be_escaped_in_an_image() -> None:
    data = b64encode(Random(1).randbytes(300_000)).replace(b"/", b"\\/")

    assert estimate(b'[{"url":"data:image/png;base64,' + data + b'"}]') < 2 * MEDIA_TOKENS


RUN = "A" * 64


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param('{"n":' + "1" * 300_000 + "}", id="a number of many digits"),
        pytest.param('{"n":' + "1" * 300_000 + ',"m":"x"}', id="a number before a string"),
        pytest.param('"' + "some words; " * 350 + (RUN * 100 + " words " * 5000) * 8 + '"', id="prose around runs"),
        pytest.param('"' + "some words; " * 20_000 + RUN * 100 + '"', id="prose that ends in a run"),
    ],
)
def test_what_only_looks_like_an_image_counts_as_the_text_it_is(hostile: str) -> None:
    raw = f"[{hostile}]".encode()

    assert estimate(raw) == pytest.approx(len(raw) / BYTES_PER_TOKEN, rel=0.05)
