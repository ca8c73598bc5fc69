"""Readiness: all conditions, told once a change."""

from __future__ import annotations

from epp.readiness import Readiness


def test_it_takes_all_and_tells_changes_only() -> None:
    told: list[bool] = []
    readiness = Readiness(told.append, "serving", "kubernetes", "leader")
    readiness.set("serving", True)
    readiness.set("leader", True)
    missing = readiness.missing
    readiness.set("kubernetes", True)
    readiness.set("kubernetes", True)
    readiness.set("leader", False)
    readiness.set("kubernetes", False)
    readiness.set("leader", True)
    readiness.set("kubernetes", True)

    assert missing == ["kubernetes"]
    assert told == [True, False, True]
