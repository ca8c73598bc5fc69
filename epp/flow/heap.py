"""A heap from which any item can be taken: O(log n) to push, pop, remove and move; the least rank first.

Must stay true: `_places[item]` is where it lies; a parent's rank is never above its children's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Heap(Generic[T]):
    """Items by rank; each item once, compared by identity or hash, ranks by `<`."""

    __slots__ = ("_items", "_places", "_ranks")

    def __init__(self) -> None:
        self._items: list[T] = []
        self._ranks: list[Any] = []
        self._places: dict[T, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item: T) -> bool:
        return item in self._places

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def push(self, item: T, rank: Any) -> None:
        """Put an item in, or move it to another rank."""
        place = self._places.get(item)
        if place is None:
            place = len(self._items)
            self._items.append(item)
            self._ranks.append(rank)
            self._places[item] = place
        else:
            self._ranks[place] = rank
        self._up(place)
        self._down(self._places[item])

    def first(self) -> T:
        """The item of the least rank. Raises IndexError when there is none."""
        return self._items[0]

    def first_rank(self) -> Any:
        """Its rank. Raises IndexError when there is none."""
        return self._ranks[0]

    def below(self, rank: Any) -> Iterator[T]:
        """The items of a smaller rank, in no order; looks at no others but those next to them."""
        places = [0]
        while places:
            place = places.pop()
            if place < len(self._items) and self._ranks[place] < rank:
                yield self._items[place]
                places += (2 * place + 1, 2 * place + 2)

    def last(self) -> T:
        """One of the items with no smaller one below it: among the worst, at no cost."""
        return self._items[-1]

    def remove(self, item: T) -> None:
        """Take an item out, wherever it is. Raises KeyError when it is not here."""
        place = self._places.pop(item)
        last, rank = self._items.pop(), self._ranks.pop()
        if last is item or place == len(self._items):
            return
        self._items[place], self._ranks[place], self._places[last] = last, rank, place
        self._up(place)
        self._down(self._places[last])

    def _up(self, place: int) -> None:
        items, ranks, places = self._items, self._ranks, self._places
        item, rank = items[place], ranks[place]
        while place and rank < ranks[above := (place - 1) // 2]:
            items[place], ranks[place] = items[above], ranks[above]
            places[items[place]] = place
            place = above
        items[place], ranks[place], places[item] = item, rank, place

    def _down(self, place: int) -> None:
        items, ranks, places = self._items, self._ranks, self._places
        item, rank, count = items[place], ranks[place], len(items)
        while (below := 2 * place + 1) < count:
            if below + 1 < count and ranks[below + 1] < ranks[below]:
                below += 1
            if not ranks[below] < rank:
                break
            items[place], ranks[place] = items[below], ranks[below]
            places[items[place]] = place
            place = below
        items[place], ranks[place], places[item] = item, rank, place
