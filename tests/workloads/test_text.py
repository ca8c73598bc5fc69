"""Prompts share bytes exactly where they share block ids, and look like prose to the product."""

from __future__ import annotations

import json

import pytest

from benchmarks.workloads.text import prompt, text
from epp.protocol.tokens import estimate


def test_a_text_depends_on_its_block_and_is_the_beginning_of_a_longer_one() -> None:
    assert text(5, 256) == text(5, 2_048)[:256]
    assert text(5, 256) != text(6, 256)
    assert text(-5, 64) != text(5, 64)
    assert len(text(7, 3_000_000)) == 3_000_000


def test_prompts_with_the_same_first_blocks_share_these_bytes_and_no_more() -> None:
    one, other = prompt((1, 2, 3), 150, 64), prompt((1, 2, 4), 170, 64)

    assert (len(one), len(other)) == (600, 680)
    assert one[:512] == other[:512]
    assert one[512:520] != other[512:520]


@pytest.mark.parametrize("tokens", [1, 100, 9_000, 120_000])
def test_the_product_takes_it_for_text_of_so_many_tokens(tokens: int) -> None:
    raw = json.dumps(
        [{"role": "user", "content": prompt(range(1_000, 1_000 + tokens // 512 + 1), tokens, 512).decode()}]
    )

    assert raw.isascii()
    assert "\\" not in raw
    assert estimate(raw.encode()) == pytest.approx(tokens, abs=16)
