"""The heap against a sorted list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from epp.flow.heap import Heap

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 9), st.integers(0, 20)),
        st.tuples(st.just("remove"), st.integers(0, 9), st.just(0)),
    ),
    max_size=60,
)


@given(STEPS)
def test_it_holds_what_was_pushed_and_not_removed_the_least_first(steps: list[tuple[str, int, int]]) -> None:
    heap: Heap[int] = Heap()
    naive: dict[int, int] = {}
    for what, item, rank in steps:
        if what == "push":
            heap.push(item, rank)
            naive[item] = rank
        elif item in naive:
            heap.remove(item)
            del naive[item]

        assert len(heap) == len(naive)
        assert set(heap) == naive.keys()
        assert not naive or heap.first_rank() == min(naive.values()) == naive[heap.first()]
        for bound in (0, 5, 21):
            assert sorted(heap.below(bound)) == sorted(item for item, rank in naive.items() if rank < bound)
    while len(heap):
        assert naive.pop(heap.first()) == heap.first_rank()
        assert all(rank >= heap.first_rank() for rank in naive.values())
        heap.remove(heap.first())
    assert not naive


def test_the_last_has_no_smaller_one_below_it() -> None:
    heap: Heap[int] = Heap()
    for item in range(20):
        heap.push(item, (item * 7) % 20)

    assert heap.last() in heap
    assert (heap.last() * 7) % 20 >= 10
