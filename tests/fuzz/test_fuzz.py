"""The corpus still holds, and so do some thousands of inputs like it; the same ones in every run."""

from __future__ import annotations

from random import Random
from zlib import crc32

import pytest

from tests.fuzz.corpus import inputs
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import TARGETS

MUTATIONS = 250  # of each target; README.md says how to run more


@pytest.mark.parametrize("name", TARGETS)
def test_every_kept_input_is_answered_as_it_should_be(name: str) -> None:
    kept = inputs(name)

    assert kept
    for data in kept.values():
        TARGETS[name].check(data)


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_like_them_are_too(name: str) -> None:
    target, rng = TARGETS[name], Random(crc32(name.encode()))
    kept = list(inputs(name).values())
    for number in range(MUTATIONS):
        data = mutated(rng.choice(kept), rng, target.words, kept)
        try:
            target.check(data)
        except Exception as broken:
            raise AssertionError(f"{name}, mutation {number}: {data!r}") from broken
