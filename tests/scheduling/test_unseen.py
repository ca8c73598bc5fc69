"""First tokens that the gateway does not show: when they came is worked out of the engine's counters."""

from __future__ import annotations

from random import Random

import pytest

from epp.domain import Endpoint, Load
from epp.scheduling.framework import Answer
from epp.scheduling.plugins.least_work import LeastWorkScorer
from epp.scheduling.speed import shape
from epp.scheduling.unseen import Sent, Unseen

from . import make

PROMPT_S = shape(10_000, 0)


def predict(shape_s: float) -> float:
    return shape_s


@pytest.mark.parametrize("ratio", [0.3, 1.0, 4.0, 20.0])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_each_moment_is_found_from_the_sum_of_them(ratio: float, count: int) -> None:
    rng, unseen = Random(count), Unseen()
    sent = sorted((Sent(rng.uniform(0, 2), rng.uniform(0.05, 0.5)) for _ in range(count)), key=lambda s: s.at)
    done, at = [], 0.5
    for each in sent:
        unseen.add(each)
        at = max(at, each.at) + ratio * each.shape_s
        done.append(at)
    unseen.add(Sent(3.0, 1.0))  # still waits
    told = unseen.counted(count, sum(d - s.at for d, s in zip(done, sent, strict=True)), 0.5, predict)

    assert [s for s, _ in told] == sent
    assert [d for _, d in told] == pytest.approx(done, abs=0.01 * ratio * count)
    assert len(unseen) == 1


def test_more_than_were_sent_say_nothing_of_ours() -> None:
    unseen = Unseen()
    unseen.add(Sent(0.0, 1.0))

    assert unseen.counted(2, 3.0, 0.0, predict) == ()
    assert len(unseen) == 0


def test_what_was_counted_already_may_still_be_said_to_have_failed() -> None:
    """A stream that broke off after its first token, which the engine counts: the next is told apart as before."""
    unseen, sent = Unseen(), [Sent(0.0, 1.0), Sent(1.0, 1.0)]
    for each in sent:
        unseen.add(each)
    unseen.counted(1, 1.0, 0.0, predict)
    unseen.drop(sent[0])

    assert [each for each, _ in unseen.counted(1, 1.0, 1.0, predict)] == [sent[1]]


def run(endpoint: Endpoint, scorer: LeastWorkScorer, *, ratio: float, blind: bool = True, lost: bool = False) -> None:
    """A hundred prompts, each computed before the next is sent, and a sample of the engine after each."""
    now, tokens, seconds = make.NOW, 0.0, 0.0
    for _ in range(100):
        endpoint.load = Load(now, first_tokens=tokens, first_token_seconds=seconds)
        query = make.query(b"x" * 40_000, now=now)
        query.blind = blind
        scorer.score(query, [endpoint])
        scorer.picked(query, endpoint)
        now += ratio * PROMPT_S
        if lost:
            scorer.ended(query, endpoint, Answer(1.0, status=503))
        tokens, seconds = tokens + 1, seconds + ratio * PROMPT_S
    endpoint.load = Load(now, first_tokens=tokens, first_token_seconds=seconds)
    scorer.reckoner.speed(endpoint)


def test_a_slow_engine_is_learned_from_its_counters() -> None:
    endpoint, scorer = make.endpoint("a"), LeastWorkScorer()
    run(endpoint, scorer, ratio=6.0)

    assert scorer.reckoner.speed(endpoint).seconds(PROMPT_S) == pytest.approx(6.0 * PROMPT_S, rel=0.1)


@pytest.mark.parametrize("how", ["shown", "lost", "others"])
def test_what_is_counted_is_not_taken_for_ours(how: str) -> None:
    """What is shown is learned as it is shown, what failed had no first token, and others' are not told apart."""
    endpoint, scorer = make.endpoint("a"), LeastWorkScorer()
    speed = scorer.reckoner.speed(endpoint)
    before = speed.seconds(PROMPT_S)
    if how == "others":
        speed.load = Load(make.NOW, first_tokens=0.0, first_token_seconds=0.0)
        speed.send(Sent(make.NOW, PROMPT_S))
        endpoint.load = Load(make.NOW + 1, waiting=5, running=9, first_tokens=1.0, first_token_seconds=60 * PROMPT_S)
        scorer.reckoner.speed(endpoint)
    else:
        run(endpoint, scorer, ratio=6.0, blind=how == "lost", lost=how == "lost")

    assert speed.seconds(PROMPT_S) == before


def test_an_engine_that_began_anew_is_not_counted_from() -> None:
    endpoint, scorer = make.endpoint("a"), LeastWorkScorer()
    speed = scorer.reckoner.speed(endpoint)
    before = speed.seconds(PROMPT_S)
    speed.load = Load(make.NOW, first_tokens=50.0, first_token_seconds=50.0)
    speed.send(Sent(make.NOW, PROMPT_S))
    endpoint.load = Load(make.NOW + 1, first_tokens=1.0, first_token_seconds=1.0)
    scorer.reckoner.speed(endpoint)

    assert (speed.seconds(PROMPT_S), len(speed.unseen)) == (before, 0)


def test_what_moved_is_counted_where_it_went() -> None:
    picked, served = make.endpoints(2)
    scorer = LeastWorkScorer()
    for endpoint in (picked, served):
        endpoint.load = Load(make.NOW, first_tokens=0.0, first_token_seconds=0.0)
    query = make.query(b"x" * 40_000, now=make.NOW)
    query.blind = True
    scorer.picked(query, picked)
    scorer.reckoner.speed(served)
    scorer.moved(query, picked, served)

    assert [len(scorer.reckoner.speed(e).unseen) for e in (picked, served)] == [0, 1]
