"""A scorer that no endpoint tells anything is not asked, and says so; where some tell, all are asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from epp.datastore.receipts import Receipts
from epp.domain import Endpoint, Probe, Receipt
from epp.scheduling.framework import Profile, Scorer
from epp.scheduling.plugins.active_request import ActiveRequestScorer
from epp.scheduling.plugins.kv_cache_utilization import KvCacheUtilizationScorer
from epp.scheduling.plugins.max_score import MaxScorePicker
from epp.scheduling.plugins.queue import QueueScorer
from epp.scheduling.registry import registered
from epp.telemetry import Telemetry
from tests.make import fleet, pool

from . import make


def profile() -> Profile:
    scorers = ((QueueScorer(), 1.0), (KvCacheUtilizationScorer(), 1.0), (ActiveRequestScorer(), 1.0))
    return Profile("test", scorers=scorers, picker=MaxScorePicker())


def telling(*signals: str, name: str = "a") -> Endpoint:
    made = make.endpoint(name, waiting=3, running=0, kv_usage=0.5)
    made.probe = Probe("vllm", {signal: f"vllm:{signal}" for signal in signals})
    return made


def asked(over: Profile, *endpoints: Endpoint) -> list[str]:
    pick = over.run(make.query(), endpoints)
    assert pick is not None
    return [name for name, _, _ in pick.columns]


ALL = ["queue-scorer", "kv-cache-utilization-scorer", "active-request-scorer"]


def test_what_no_endpoint_tells_is_not_asked_for_and_the_choice_says_why() -> None:
    over, endpoints = profile(), [telling("waiting"), telling("waiting", name="b")]
    over.probed(endpoints)
    pick = over.run(make.query(), endpoints)

    assert pick is not None
    assert asked(over, *endpoints) == ["queue-scorer", "active-request-scorer"]
    assert pick.unused == {"kv-cache-utilization-scorer": "no endpoint tells kv_usage"}
    assert pick.best(1).unused == pick.unused
    assert all(row["scores"].keys() == {"queue-scorer", "active-request-scorer"} for row in pick.explain())


def test_what_one_endpoint_tells_is_asked_of_all() -> None:
    over, endpoints = profile(), [telling("waiting"), telling("kv_usage", name="b")]
    over.probed(endpoints)

    assert asked(over, *endpoints) == ALL


def test_before_anyone_was_heard_everything_is_asked() -> None:
    over = profile()
    over.probed([make.endpoint()])

    assert asked(over, make.endpoint()) == ALL
    assert over.unused == {}


def test_who_tells_nothing_at_all_counts_and_who_was_never_reached_does_not() -> None:
    over, mute, unheard = profile(), make.endpoint("a"), make.endpoint("b")
    mute.probe = Probe(None)
    over.probed([mute, unheard])
    alone = asked(over, mute, unheard)
    over.probed([mute, telling("waiting", "kv_usage", name="b")])

    assert alone == ["active-request-scorer"]
    assert asked(over, mute, unheard) == ALL


def test_a_signal_that_comes_back_brings_its_scorer_back() -> None:
    over = profile()
    over.probed([telling("waiting")])
    over.probed([telling("waiting", "kv_usage")])

    assert over.unused == {}
    assert asked(over, telling("waiting", "kv_usage")) == ALL


def test_when_no_scorer_is_left_one_of_the_endpoints_is_chosen_all_the_same() -> None:
    over = Profile("test", scorers=((QueueScorer(), 1.0),), picker=MaxScorePicker())
    endpoints = [make.endpoint("a"), make.endpoint("b")]
    endpoints[0].probe = Probe(None)
    over.probed(endpoints)

    picks = [over.run(make.query(seed=seed), endpoints) for seed in range(20)]
    assert {pick.endpoint.name for pick in picks if pick} == {"a", "b"}


@dataclass(slots=True)
class Both(Scorer):
    type: ClassVar[str] = "both-scorer"
    inputs: ClassVar[tuple[str, ...]] = ("waiting", "lora")
    scores: list[float] = field(default_factory=lambda: [1.0])

    def score(self, query: object, endpoints: object) -> list[float]:
        return self.scores


def test_a_scorer_needs_all_of_its_inputs_from_whichever_endpoints() -> None:
    over = Profile("test", scorers=((Both(), 1.0),), picker=MaxScorePicker())
    over.probed([telling("waiting")])
    lacking = over.unused
    over.probed([telling("waiting"), telling("lora", name="b")])

    assert lacking == {"both-scorer": "no endpoint tells lora"}
    assert over.unused == {}


def test_the_receipt_and_the_metric_say_so() -> None:
    over, endpoints, served = profile(), [telling("waiting")], pool("a")
    over.probed(endpoints)
    telemetry = Telemetry(fleet(served))
    telemetry.measure(over)
    served.endpoints[0].probe = Probe("vllm", {"waiting": "w"}, {"kv_usage": "k"})
    receipt = Receipt("1", "r", 0.0, "/", None, pick=over.run(make.query(), endpoints))
    text = telemetry.text().decode()

    assert Receipts().render(receipt)["unused_scorers"] == {"kv-cache-utilization-scorer": "no endpoint tells kv_usage"}
    assert 'onehop_scorer_used{plugin_type="kv-cache-utilization-scorer"} 0.0' in text
    assert 'onehop_scorer_used{plugin_type="queue-scorer"} 1.0' in text
    at = 'model_server_endpoint="10.0.0.0:8000",name="default"'
    assert f'onehop_endpoint_series{{{at},signal="waiting",state="found"}} 1.0' in text
    assert f'onehop_endpoint_series{{{at},signal="kv_usage",state="missing"}} 1.0' in text


@pytest.mark.parametrize("cls", [c for c in registered().values() if issubclass(c, Scorer) and c.inputs])
def test_declared_inputs_are_numbers_that_an_engine_can_tell(cls: type[Scorer]) -> None:
    from epp.datastore.engines import SIGNALS

    assert set(cls.inputs) <= set(SIGNALS)
