"""The screener of roll-outs: one revision for all stages of a request, by what each revision can serve."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from epp.domain import ConfigError, Endpoint
from epp.scheduling.framework import Query, Screener
from epp.scheduling.registry import build
from tests.scheduling import make

TYPE = "disaggregatedset-rollout-screener"
REVISION, ROLE = "disaggregatedset.x-k8s.io/revision", "llm-d.ai/role"


def stage(revision: str, role: str, count: int) -> list[Endpoint]:
    labels = {REVISION: revision, ROLE: role}
    return [make.endpoint(f"{revision}-{role}-{n}", labels=labels) for n in range(count)]


def screener(**parameters: Any) -> Screener:
    made = build(TYPE, parameters)
    assert isinstance(made, Screener)
    return made


def asked(name: str, session: str | None = None, **headers: str) -> Query:
    query = make.query(headers=headers)
    query.request.id, query.request.session = name, session
    return query


def revisions(made: Screener, pool: list[Endpoint], name: str, session: str | None = None) -> set[str]:
    return {e.labels[REVISION] for e in made.screen(asked(name, session), pool) if REVISION in e.labels}


def test_a_request_gets_one_revision_whole_with_those_of_none() -> None:
    plain = make.endpoint("plain")
    pool = [*stage("old", "prefill", 2), *stage("new", "prefill", 2), plain, *stage("old", "decode", 3)]
    pool += stage("new", "decode", 3)
    kept = screener().screen(asked("r"), pool)

    assert plain in kept
    assert len({e.labels[REVISION] for e in kept if e is not plain}) == 1
    assert Counter(e.labels.get(ROLE) for e in kept) == {"prefill": 2, "decode": 3, None: 1}


def test_a_revisions_share_is_that_of_its_scarcest_role() -> None:
    pool = [*stage("old", "prefill", 3), *stage("new", "prefill", 1), *stage("old", "decode", 1)]
    pool += stage("new", "decode", 3)  # a fourth of one role and three of the other: half of the requests each
    made = screener()
    drawn = Counter(revision for n in range(2000) for revision in revisions(made, pool, f"r{n}"))
    pool += stage("old", "decode", 8)  # now 3/4 and 9/12, against 1/4 and 3/12
    later = Counter(revision for n in range(2000) for revision in revisions(made, pool, f"r{n}"))

    assert drawn["new"] == pytest.approx(1000, abs=100)
    assert later["new"] == pytest.approx(500, abs=90)


def test_a_revision_that_lacks_a_role_gets_nobody() -> None:
    pool = [*stage("old", "prefill", 1), *stage("old", "decode", 1), *stage("new", "prefill", 5)]

    assert {r for n in range(100) for r in revisions(screener(), pool, f"r{n}")} == {"old"}
    assert screener().screen(asked("r"), [*stage("old", "decode", 1), *stage("new", "prefill", 1)]) == []


def test_a_session_stays_with_its_revision_and_moves_only_to_the_one_that_grows() -> None:
    pool = [e for r in ("old", "new") for role in ("prefill", "decode") for e in stage(r, role, 4)]
    made = screener()
    before = {n: revisions(made, pool, f"r{n}", session=f"s{n}") for n in range(300)}
    again = {n: revisions(made, pool, f"another {n}", session=f"s{n}") for n in range(300)}
    pool = [e for e in pool if not e.name.startswith("old") or not e.name.endswith(("2", "3"))]
    after = {n: revisions(made, pool, f"r{n}", session=f"s{n}") for n in range(300)}

    assert again == before
    assert {n for n in before if before[n] != after[n]} <= {n for n in before if before[n] == {"old"}}
    assert 0 < sum(before[n] != after[n] for n in before) < 150


def test_one_revision_is_no_roll_out() -> None:
    pool = stage("old", "prefill", 2)  # nobody decodes here; that is for filters to say

    assert screener().screen(asked("r"), pool) == pool


def test_a_header_may_name_the_revision_and_then_no_other_will_do() -> None:
    pool = [*stage("old", "decode", 2), *stage("new", "decode", 2)]
    made = screener(headerName="X-Revision")

    assert made.screen(asked("r", **{"x-revision": "new"}), pool) == pool[2:]
    assert made.screen(asked("r", **{"x-revision": "newer"}), pool) == []


def test_a_label_without_a_name_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match=r"revisionLabel: must not be empty"):
        build(TYPE, {"revisionLabel": ""})
