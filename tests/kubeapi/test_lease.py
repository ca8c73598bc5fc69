"""When a lease may be taken and what is written into it, decided without any server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from epp.edge.kube.lease import Observed, Terms, claimed, released, time

WALL = datetime(2026, 1, 2, 3, 4, 5, 678, UTC)
TERMS = Terms()


def lease(version: str, holder: str = "other", **spec: object) -> dict[str, object]:
    return {
        "metadata": {"name": "l", "resourceVersion": version},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15} | spec,
    }


def observed(*looks: tuple[dict[str, object] | None, float]) -> Observed:
    one = Observed("me", TERMS)
    for seen, at in looks:
        one.look(seen, at)
    return one


def test_a_lease_that_does_not_exist_is_free() -> None:
    assert observed((None, 0.0)).is_free(0.0)


def test_a_lease_of_another_is_taken_until_it_was_unchanged_for_its_duration() -> None:
    one = observed((lease("1"), 100.0), (lease("1"), 110.0))

    assert not one.is_free(115.0)
    assert one.is_free(115.1)
    assert one.holder == "other"


def test_each_change_starts_the_wait_anew() -> None:
    one = observed((lease("1"), 100.0), (lease("2"), 110.0))

    assert not one.is_free(125.0)
    assert one.is_free(125.1)


def test_the_wait_begins_when_we_first_see_it_however_old_it_says_it_is() -> None:
    assert not observed((lease("1", renewTime="2001-01-01T00:00:00.000000Z"), 100.0)).is_free(100.0)


def test_the_holder_says_how_long_it_is_to_be_waited_for() -> None:
    assert not observed((lease("1", leaseDurationSeconds=60), 0.0)).is_free(59.0)
    assert observed((lease("1", leaseDurationSeconds="?"), 0.0)).is_free(TERMS.lease_s + 0.1)


def test_a_lease_of_nobody_or_of_ours_is_free() -> None:
    assert observed((lease("1", ""), 0.0)).is_free(0.0)
    assert observed((lease("1", "me"), 0.0)).is_free(0.0)
    assert observed((lease("1", None), 0.0)).is_free(0.0)  # type: ignore[arg-type]  # as JSON may say


def test_a_lease_deleted_under_its_holder_is_waited_for() -> None:
    one = observed((lease("1"), 0.0), (None, 10.0))

    assert not one.is_free(25.0)
    assert one.is_free(25.1)


def test_the_first_claim_creates() -> None:
    assert claimed(None, "l", "me", TERMS, WALL) == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "l"},
        "spec": {
            "holderIdentity": "me",
            "leaseDurationSeconds": 15,
            "acquireTime": "2026-01-02T03:04:05.000678Z",
            "renewTime": "2026-01-02T03:04:05.000678Z",
            "leaseTransitions": 0,
        },
    }


def test_taking_it_from_another_counts_and_keeps_what_is_not_ours() -> None:
    body = claimed(lease("7", leaseTransitions=4, strategy="x"), "l", "me", TERMS, WALL)

    assert body["metadata"] == {"name": "l", "resourceVersion": "7"}
    assert body["spec"]["leaseTransitions"] == 5
    assert body["spec"]["acquireTime"] == time(WALL)
    assert body["spec"]["strategy"] == "x"


def test_renewing_keeps_when_it_was_acquired() -> None:
    mine = lease("7", "me", leaseTransitions=4, acquireTime="then")
    body = claimed(mine, "l", "me", TERMS, WALL)

    assert (body["spec"]["leaseTransitions"], body["spec"]["acquireTime"]) == (4, "then")
    assert body["spec"]["renewTime"] == time(WALL)


def test_releasing_leaves_it_to_anybody_and_keeps_the_count() -> None:
    body = released(lease("7", "me", leaseTransitions=4), WALL)

    assert body["spec"]["holderIdentity"] == ""
    assert body["spec"]["leaseDurationSeconds"] == 1
    assert body["spec"]["leaseTransitions"] == 4
    assert body["metadata"]["resourceVersion"] == "7"


def test_times_are_in_utc() -> None:
    assert time(WALL.astimezone(timezone(timedelta(hours=5)))) == time(WALL)


def test_terms_that_allow_two_leaders_are_refused() -> None:
    with pytest.raises(ValueError, match="lease_s"):
        Terms(lease_s=10, renew_s=10.0)
    with pytest.raises(ValueError, match="retry_s"):
        Terms(renew_s=2.0, retry_s=2.0)
