"""A hash ring: each endpoint at many points, a key belongs to the endpoint that follows it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from xxhash import xxh3_64_intdigest


@dataclass(slots=True)
class Ring:
    """Of the endpoints that it was told of last; those that stay keep their keys."""

    points: int
    """Of each endpoint."""
    _names: frozenset[str] = field(default=frozenset(), init=False, repr=False)
    _ring: list[tuple[int, str]] = field(default_factory=list, init=False, repr=False)

    def over(self, names: Iterable[str]) -> Ring:
        """The same ring, of these endpoints."""
        listed = frozenset(names)
        if self._names != listed:
            self._names = listed
            self._ring = sorted(
                (xxh3_64_intdigest(f"{name}/{n}".encode()), name) for name in listed for n in range(self.points)
            )
        return self

    def around(self, key: bytes) -> Iterator[str]:
        """Each endpoint once, from the one that the key belongs to on."""
        start, seen = bisect_left(self._ring, (xxh3_64_intdigest(key), "")), set[str]()
        for n in range(len(self._ring)):
            name = self._ring[(start + n) % len(self._ring)][1]
            if name not in seen:
                yield name
                seen.add(name)
                if len(seen) == len(self._names):
                    return
