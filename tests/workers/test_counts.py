"""What a worker counts is told once, and only when there is something to tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import msgspec
import pytest

from epp.domain import Receipt
from epp.edge.processor import Processor
from epp.telemetry.families import PACE_BOUNDS_S
from epp.workers.counts import Defect, FarCounts
from epp.workers.messages import Counted


@dataclass
class Port:
    """As much of a processor as is counted."""

    open: int = 0
    turned_away: int = 0


def told(counts: FarCounts, *ports: Port, carrying: int = 0) -> dict[str, Any] | None:
    """What has changed since the last time: what is neither nothing nor an empty list."""
    said = counts.news(cast("list[Processor]", ports), carrying)
    if said is None:
        return None
    assert isinstance(said, Counted)
    fields: dict[str, Any] = msgspec.structs.asdict(said)
    return {name: value for name, value in fields.items() if value not in (0, [])}


def receipt(name: str) -> Receipt:
    return Receipt(name, "", 0.0, "/", None)


def test_a_worker_that_has_begun_and_carries_nothing_has_nothing_to_tell_twice() -> None:
    counts = FarCounts()
    first = told(counts, Port(), Port())

    assert told(FarCounts()) is None
    assert first == {"open": [0, 0], "turned_away": [0, 0]}
    assert told(counts, Port(), Port()) is None


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (lambda counts: counts.gathered(0.5), {"gathered": [0.5]}),
        (lambda counts: counts.responded(0.25), {"responded": [0.25]}),
        (lambda counts: counts.stream_ended("OK", 2.0), {"ended": [("OK", 2.0)]}),
        (lambda counts: counts.breached("pings_burst"), {"breaches": ["pings_burst"]}),
        (lambda counts: counts.surprise(KeyError("secret words")), {"surprises": ["KeyError"]}),
    ],
)
def test_what_happens_is_told_once(happens: Any, said: dict[str, Any]) -> None:
    counts = FarCounts()
    told(counts)
    happens(counts)
    happens(counts)
    twice = {name: value * 2 for name, value in said.items()}

    assert told(counts) == twice
    assert told(counts) is None


def test_connections_are_told_as_totals_and_only_when_they_change() -> None:
    counts = FarCounts()
    told(counts)
    counts.connected()
    counts.connected()
    two = told(counts)
    counts.disconnected()
    one_left = told(counts)

    assert two == {"connected": 2}
    assert one_left == {"connected": 2, "disconnected": 1}
    assert told(counts) is None


def test_streams_and_who_was_turned_away_are_told_by_port_as_of_now() -> None:
    counts, first, second = FarCounts(), Port(), Port()
    told(counts, first, second)
    second.open = 3
    streams = told(counts, first, second)
    first.turned_away = 2
    away = told(counts, first, second)
    second.open = 0
    none = told(counts, first, second)

    assert streams == {"open": [0, 3], "turned_away": [0, 0]}
    assert away == {"open": [0, 3], "turned_away": [2, 0]}
    assert none == {"open": [0, 0], "turned_away": [2, 0]}
    assert told(counts, first, second) is None


def test_connections_that_carry_streams_are_told_as_of_now() -> None:
    counts = FarCounts()
    told(counts)

    assert told(counts, carrying=2) == {"carrying": 2}
    assert told(counts, carrying=2) is None
    assert told(counts, carrying=0) == {}


def test_the_pace_of_an_answer_is_told_with_its_end_and_of_each_alone() -> None:
    counts, one, other = FarCounts(), receipt("one"), receipt("other")
    pace, slower = counts.pace(one), counts.pace(other)
    for seconds in (0.001, 0.03, 0.04):
        pace(seconds)
    slower(1000.0)
    first, second = counts.gaps(one), counts.gaps(other)

    assert first is not None
    assert second is not None
    assert {PACE_BOUNDS_S[n]: many for n, many in enumerate(first[0]) if many} == {0.001: 1, 0.04: 2}
    assert first[1] == pytest.approx(0.071)
    assert second == ([0] * len(PACE_BOUNDS_S) + [1], 1000.0)
    assert (counts.gaps(one), counts.gaps(other)) == (None, None)


def test_an_answer_without_pieces_has_no_pace() -> None:
    assert FarCounts().gaps(receipt("one")) is None


def test_a_defect_of_the_deciding_process_was_counted_there() -> None:
    counts = FarCounts()
    told(counts)
    logged = counts.surprise(Defect())

    assert not logged
    assert told(counts) is None


def test_the_first_surprise_of_a_kind_is_one_to_log_and_the_next_only_counts() -> None:
    counts = FarCounts()
    told(counts)

    assert [counts.surprise(KeyError()), counts.surprise(KeyError()), counts.surprise(OSError())] == [True, False, True]
    assert told(counts) == {"surprises": ["KeyError", "KeyError", "OSError"]}
