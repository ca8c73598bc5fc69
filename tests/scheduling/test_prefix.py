"""The prefix index against a naive model of itself, and its bounds."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from epp.scheduling import prefix
from epp.scheduling.prefix import BLOCKS_MAX, PrefixIndex, block_hashes, blocks_in, covered_bytes

from . import make
from .naive import NaiveIndex, prefixes

CAPACITY_BLOCKS = 9
NAMES = "abcde"


class IndexAgreesWithModel(RuleBasedStateMachine):
    """Few, short texts over few endpoints, so that prefixes collide, fall out and come back.

    Invariants: same matches as the model; never above capacity; no block is known that no endpoint holds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.index = PrefixIndex(CAPACITY_BLOCKS * prefix.BLOCK_BYTES // prefix.BYTES_PER_TOKEN)
        self.model = NaiveIndex(CAPACITY_BLOCKS)
        self.pool = {name: make.endpoint(name) for name in NAMES}

    chains = st.tuples(st.sampled_from(["m", "n"]), st.text("xy", max_size=6), st.integers(0, 255))

    def texts(self, chain: tuple[str, str, int]) -> tuple[list[int], list[tuple[str, bytes]]]:
        model, letters, partial = chain
        prompt = b"".join(letter.encode() * 256 for letter in letters) + b"z" * partial
        return block_hashes(prompt, model), prefixes(prompt, model)

    @rule(chain=chains, name=st.sampled_from(NAMES))
    def insert(self, chain: tuple[str, str, int], name: str) -> None:
        hashes, naive = self.texts(chain)
        self.index.insert(hashes, self.pool[name])
        self.model.insert(naive, name)

    @rule(chain=chains, names=st.lists(st.sampled_from(NAMES), unique=True))
    def match(self, chain: tuple[str, str, int], names: list[str]) -> None:
        hashes, naive = self.texts(chain)

        matched = self.index.match(hashes, [self.pool[n] for n in names])

        assert matched == [self.model.match(naive, n) for n in names]

    @rule(left=st.sets(st.sampled_from(NAMES)))
    def relist(self, left: set[str]) -> None:
        """Those that leave come back as new endpoints of the same name."""
        stay = [n for n in NAMES if n not in left]
        self.index.prune([self.pool[n] for n in stay])
        self.model.prune(stay)
        self.pool |= {n: make.endpoint(n) for n in left}

    @invariant()
    def nothing_above_capacity(self) -> None:
        assert all(self.index.used_blocks(e) <= CAPACITY_BLOCKS for e in self.pool.values())

    @invariant()
    def nothing_kept_that_nobody_holds(self) -> None:
        assert len(self.index) == len({p for held in self.model.lru.values() for p in held})


TestIndexAgreesWithModel = IndexAgreesWithModel.TestCase
TestIndexAgreesWithModel.settings = settings(max_examples=60, stateful_step_count=30)


@pytest.mark.parametrize("seed", range(5))
def test_long_prompts_in_coarse_blocks_agree_with_the_model(seed: int) -> None:
    rng = Random(seed)
    index, model = PrefixIndex(10_000), NaiveIndex(156)
    pool = [make.endpoint(n) for n in "abc"]
    base = rng.randbytes(60_000)
    for _ in range(40):
        prompt = base[: rng.randrange(60_000)] + rng.randbytes(rng.randrange(3_000))
        hashes, naive = block_hashes(prompt, "m"), prefixes(prompt, "m")

        assert index.match(hashes, pool) == [model.match(naive, e) for e in pool]

        chosen = rng.choice(pool)
        index.insert(hashes, chosen)
        model.insert(naive, chosen)


def test_a_hash_covers_all_that_came_before_its_block() -> None:
    one, two = b"a" * 256, b"b" * 256

    hashes = block_hashes(one + two, "m")

    assert hashes[0] == block_hashes(one, "m")[0]
    assert hashes[1] not in block_hashes(two + two, "m")


def test_another_model_shares_nothing() -> None:
    assert not set(block_hashes(b"a" * 4096, "m")) & set(block_hashes(b"a" * 4096, "n"))


@pytest.mark.parametrize(
    ("size", "blocks"),
    [
        (0, 0),
        (255, 0),
        (256, 1),
        (511, 1),
        (32_767, 127),
        (32_768, 128),
        (33_791, 128),
        (33_792, 129),
        (220 * 1024, 316),
    ],
)
def test_only_full_blocks_count(size: int, blocks: int) -> None:
    assert len(block_hashes(b"a" * size, "m")) == blocks
    assert covered_bytes(blocks) <= size


@pytest.mark.parametrize("more", [-1, 0, 1, prefix.COARSE_BLOCK_BYTES - 1, prefix.COARSE_BLOCK_BYTES])
@pytest.mark.parametrize("size", [0, prefix.BLOCK_BYTES, 5 * prefix.BLOCK_BYTES, prefix.FINE_BYTES])
def test_so_many_blocks_are_in_a_prompt_of_a_size(size: int, more: int) -> None:
    prompt = bytes(max(0, size + more))

    assert blocks_in(len(prompt)) == len(block_hashes(prompt, "m"))


def test_what_is_taken_back_is_held_there_no_more_and_elsewhere_still() -> None:
    index, (one, other) = PrefixIndex(64_000), make.endpoints(2)
    hashes = block_hashes(Random(1).randbytes(10 * prefix.BLOCK_BYTES), "m")
    for endpoint in (one, other):
        index.insert(hashes, endpoint)
    changes = index.changes
    index.remove(hashes[4:], one)
    index.remove(hashes, make.endpoint("stranger"))

    assert index.match(hashes, [one, other]) == [4, 10]
    assert (index.used_blocks(one), index.used_blocks(other)) == (4, 10)
    assert index.changes == changes + 1
    index.remove(hashes, one)
    index.remove(hashes, other)
    assert len(index) == 0


def test_a_growing_chat_keeps_its_blocks() -> None:
    first = b'[{"role":"user","content":"' + b"a" * 1000 + b'"}]'
    grown = first[:-1] + b',{"role":"assistant","content":"' + b"b" * 1000 + b'"}]'

    assert block_hashes(grown, "m")[: len(block_hashes(first, "m"))] == block_hashes(first, "m")


def test_the_end_of_an_enormous_prompt_is_not_hashed() -> None:
    prompt = b"a" * (prefix.BYTES_MAX + 50_000)

    hashes = block_hashes(prompt, "m")

    assert len(hashes) == BLOCKS_MAX
    assert covered_bytes(BLOCKS_MAX) == prefix.BYTES_MAX


def test_capacity_follows_what_the_engine_reports() -> None:
    index = PrefixIndex(500_000)
    small = make.endpoint("small", cache_tokens=640)
    hashes = block_hashes(b"a" * 256 * 20, "m")

    index.insert(hashes, small)

    assert index.match(hashes, [small]) == [10]


def test_capacity_that_shrinks_takes_blocks_with_it() -> None:
    index = PrefixIndex(500_000)
    pod = make.endpoint("a")
    hashes = block_hashes(b"a" * 256 * 20, "m")
    index.insert(hashes, pod)
    pod.load = make.endpoint("b", cache_tokens=640).load

    index.insert(hashes[:1], pod)

    assert index.used_blocks(pod) == 10


def test_an_endpoint_never_exceeds_the_hard_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix, "CAPACITY_BLOCKS_MAX", 5)
    index = PrefixIndex(500_000)
    pod = make.endpoint("a", cache_tokens=10**9)

    index.insert(block_hashes(b"a" * 256 * 20, "m"), pod)

    assert index.used_blocks(pod) == len(index) == 5


def test_one_endpoint_too_many_costs_the_one_unused_for_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix, "ENDPOINTS_MAX", 3)
    index = PrefixIndex(500_000)
    pool = [make.endpoint(n) for n in "abcd"]
    hashes = block_hashes(b"a" * 256, "m")

    for pod in [pool[0], pool[1], pool[2], pool[0], pool[3]]:
        index.insert(hashes, pod)

    assert index.match(hashes, pool) == [1, 0, 1, 1]


def test_a_newcomer_in_a_reused_slot_inherits_nothing() -> None:
    index = PrefixIndex(500_000)
    old, new = make.endpoint("a"), make.endpoint("a")
    theirs, ours = block_hashes(b"a" * 1024, "m"), block_hashes(b"b" * 1024, "m")
    index.insert(theirs, old)
    index.prune([new])

    index.insert(ours, new)

    assert index.match(theirs, [old, new]) == [0, 0]
    assert index.match(ours, [old, new]) == [0, 4]
    assert len(index) == 4


def test_more_than_64_endpoints_are_told_apart() -> None:
    index = PrefixIndex(500_000)
    pool = make.endpoints(200)
    hashes = block_hashes(Random(1).randbytes(256 * 200), "m")[:100]
    for depth, pod in enumerate(pool[:100]):
        index.insert(hashes[:depth], pod)

    assert index.match(hashes, pool) == [*range(100), *[0] * 100]
