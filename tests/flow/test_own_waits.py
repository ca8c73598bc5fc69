"""OneHop's own rule: who may wait, until when, and who is refused at once."""

from __future__ import annotations

from typing import Any

import pytest

from epp.domain import Reason, Refused
from epp.flow.rules import RETRY_S_MAX
from tests.flow.site import NOW, Site

# A prompt that takes 0.5 s, so that its SLO is 2 + 2 * 0.5 s, of which the rule keeps 0.2 s.
HALF_S = b"x" * 4 * 15_600
BY = {1: 1.5 * 3.0 - 0.2, 0: 3.0 - 0.2, -1: 3.0 - 0.2}  # when the first token must be there, by class


def until(site: Site, priority: int, before_s: float = 0.0, **more: Any) -> float:
    return site.rule.until(site.ticket(priority, HALF_S, **more), site.endpoints, before_s, NOW)


@pytest.mark.parametrize(
    ("priority", "waits_s", "before_s"),
    [(0, 2.2, 0.0), (0, 1.2, 1.0), (1, 3.7, 0.0), (-1, 2.2, 0.0)],
    ids=["standard", "standard behind others", "critical", "sheddable"],
)
def test_who_can_keep_its_slo_waits_until_it_cannot(priority: int, waits_s: float, before_s: float) -> None:
    """Not with its own prefill to be done."""
    site = Site(1)
    site.busy(0, waits_s)

    assert until(site, priority, before_s) == pytest.approx(NOW + BY[priority] - 0.5, abs=1e-3)


@pytest.mark.parametrize(
    ("priority", "waits_s", "before_s", "retry_s"),
    [
        pytest.param(0, 2.4, 0.0, 3, id="standard"),
        pytest.param(0, 1.2, 1.2, 3, id="standard behind others"),
        pytest.param(1, 3.9, 0.0, 4, id="critical"),
        pytest.param(-1, 2.4, 0.0, 3, id="sheddable"),
        pytest.param(0, 3000.0, 0.0, RETRY_S_MAX, id="hopeless"),
    ],
)
def test_who_cannot_is_refused_at_once_with_the_predicted_wait(
    priority: int, waits_s: float, before_s: float, retry_s: int
) -> None:
    site = Site(1)
    site.busy(0, waits_s)
    with pytest.raises(Refused) as refused:
        until(site, priority, before_s)

    assert (refused.value.reason, refused.value.retry_after_s) == (Reason.WAIT_TOO_LONG, retry_s)


def test_the_clients_own_slo_counts_instead() -> None:
    site = Site(1)
    site.busy(0, 1.0)

    assert until(site, 0, slo_s=2.0) == pytest.approx(NOW + 2.0 - 0.2 - 0.5, abs=1e-3)
    with pytest.raises(Refused):
        until(site, 0, slo_s=1.5)


def test_more_endpoints_shorten_the_line() -> None:
    one, four = Site(1), Site(4)
    for site in (one, four):
        for place in range(len(site.endpoints)):
            site.busy(place, 1.0)

    assert until(four, 0, before_s=5.0) > NOW
    with pytest.raises(Refused):
        until(one, 0, before_s=5.0)


def test_nobody_is_sent_where_the_first_token_would_come_too_late() -> None:
    site = Site(1)
    site.busy(0, 0.7)
    fresh, late = site.ticket(), site.ticket(arrived=NOW - 1.5)

    assert site.room(fresh) == ["e0"]
    assert site.room(late) == []
    assert site.rule.hopeless(late, site.endpoints, NOW)
    with pytest.raises(Refused, match="too late") as refused:
        site.rule.until(late, site.endpoints, 0.0, NOW)
    assert refused.value.retry_after_s is not None


def test_ones_own_prefill_is_done_before_the_first_token_too() -> None:
    """It is due 3 s after it came, less 0.2, and takes half a second itself: with 1.7 gone 0.6 s are left to wait."""
    site = Site(1)
    site.busy(0, 0.7)
    late = site.ticket(0, HALF_S, arrived=NOW - 1.7)
    in_time = site.ticket(0, HALF_S, arrived=NOW - 1.5)

    assert (site.room(late), site.room(in_time)) == ([], ["e0"])
    assert site.rule.hopeless(late, site.endpoints, NOW)
    assert not site.rule.hopeless(in_time, site.endpoints, NOW)


def test_the_endpoint_that_is_free_first_is_waited_for() -> None:
    site = Site(2)
    site.busy(0, 3000.0)
    site.busy(1, 1.0)

    assert until(site, 0) > NOW
