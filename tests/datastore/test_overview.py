"""What operators are shown of pools and endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from epp.datastore.engines import REQUIRED
from epp.datastore.overview import BRIEFLY_MAX, LACKING_SHOWN_MAX, briefly, ejected, lacking, overview
from epp.datastore.pool import Pool
from epp.domain import Endpoint, Load, Lora, Probe
from tests.make import fleet, pool

NOW = 100.0
LEFT_OUT = "answered 503; it is tried again in 5 s"


@dataclass
class Record:
    """How requests have gone at an endpoint, as the health filter notes it."""

    why: str = "answered 503"
    ejections: int = 3

    def recent_failures(self, now: float) -> float:
        return 2.04 if now == NOW else -1.0


def told(over: Pool, **more: Any) -> dict[str, Any]:
    """The only pool there is."""
    (found,) = overview(fleet(over), NOW, **more)["pools"]
    shown: dict[str, Any] = found
    return shown


def leave_out(endpoint: Endpoint, until: float = NOW + 5.0) -> None:
    endpoint.standing, endpoint.ejected_until = Record(), until


def test_an_endpoint_of_which_nothing_is_known_says_so_and_not_zero() -> None:
    over = pool("a")
    over.endpoints[0].limited = False
    (shown,) = told(over)["endpoints"]

    nothing = ("models", "models_from", "waiting", "running", "kv_usage", "age_s", "load", "engine", "series")
    assert {name: shown[name] for name in nothing} == dict.fromkeys(nothing)
    assert shown["health"] == {"state": "good", "ejected_for_s": None, "ejections": 0, "recent_failures": 0.0}
    assert (shown["ejected"], shown["troubles"], shown["prefix_blocks"]) == (None, {}, None)


def test_what_an_engine_says_is_shown_with_its_age() -> None:
    over = pool("a", models={"a": ["m"]})
    (endpoint,) = over.endpoints
    endpoint.load = Load(at=98.7654, waiting=3, running=2, kv_usage=0.5, lora=Lora(4, frozenset("ba"), frozenset("dc")))
    endpoint.probe = Probe("vllm", {"waiting": "vllm:num_requests_waiting"}, {"lora": "vllm:lora_requests_info"})
    (shown,) = told(over, prefix=lambda endpoint: 7)["endpoints"]

    assert (shown["waiting"], shown["running"], shown["kv_usage"], shown["age_s"]) == (3, 2, 0.5, 1.235)
    assert shown["load"]["lora"] == {"adapters_max": 4, "running": ["a", "b"], "waiting": ["c", "d"]}
    assert shown["engine"] == "vllm"
    assert shown["series"] == {
        "found": {"waiting": "vllm:num_requests_waiting"},
        "missing": {"lora": "vllm:lora_requests_info"},
    }
    assert shown["prefix_blocks"] == 7


def test_a_sample_of_the_future_has_no_age() -> None:
    over = pool("a")
    over.endpoints[0].load = Load(at=NOW + 9.0)

    assert told(over)["endpoints"][0]["age_s"] == 0.0


def test_adapters_are_the_names_that_stand_for_another_model() -> None:
    over = pool("a")
    over.endpoints[0].models = {"big": "big", "law": "big", "code": "big"}
    (shown,) = told(over)["endpoints"]

    assert (shown["models"], shown["models_from"]) == (["big", "code", "law"], "server")
    assert shown["adapters"] == {"code": "big", "law": "big"}


def test_an_endpoint_is_left_out_until_its_time_is_over_and_then_warms_up() -> None:
    over = pool("a", "b", "c")
    for endpoint, until, limited in zip(over.endpoints, (NOW + 5.0, NOW, NOW), (True, True, False), strict=True):
        leave_out(endpoint, until)
        endpoint.limited = limited
    left_out, warming, good = (shown["health"] for shown in told(over)["endpoints"])
    record = {"ejections": 3, "recent_failures": 2.0}

    assert left_out == {"state": "ejected", "ejected_for_s": 5.0, **record}
    assert warming == {"state": "warming_up", "ejected_for_s": None, **record}
    assert good == {"state": "good", "ejected_for_s": None, **record}
    assert [shown["ejected"] for shown in told(over)["endpoints"]] == [LEFT_OUT, None, None]
    assert ejected(over.endpoints, NOW) == {"a": LEFT_OUT}


def test_one_that_does_not_answer_says_why_while_others_do() -> None:
    over = pool("a", "b", "c")
    over.endpoints[0].reachable = over.endpoints[1].reachable = False
    troubles = {"a": {"/metrics": "refused", "/v1/models": "refused"}}
    some = [shown["ejected"] for shown in told(over, troubles=troubles)["endpoints"]]
    over.endpoints[2].reachable = False
    none = [shown["ejected"] for shown in told(over, troubles=troubles)["endpoints"]]

    assert some == ["refused", "it does not answer", None]
    assert none == [None, None, None]  # all are tried


@pytest.mark.parametrize(
    ("silent", "failing", "said"),
    [
        (0, 0, []),
        (1, 0, ["1 of 3 endpoints does not answer and gets no requests"]),
        (2, 0, ["2 of 3 endpoints do not answer and get no requests"]),
        (0, 1, ["1 of 3 endpoints fails requests and is left out for a while"]),
        (0, 2, ["2 of 3 endpoints fail requests and are left out for a while"]),
        (3, 0, ["no endpoint answers us; all of them are tried all the same, since our network may be what failed"]),
    ],
)
def test_a_pool_says_how_many_of_its_endpoints_are_of_no_use(silent: int, failing: int, said: list[str]) -> None:
    over = pool("a", "b", "c", models={name: ["m"] for name in "abc"})
    for endpoint in over.endpoints[:silent]:
        endpoint.reachable = False
    for endpoint in over.endpoints[3 - failing :]:
        leave_out(endpoint)

    assert told(over)["conditions"] == said


def test_a_failing_endpoint_that_does_not_answer_either_is_counted_once() -> None:
    over = pool("a", "b", models={name: ["m"] for name in "ab"})
    over.endpoints[0].reachable = False
    leave_out(over.endpoints[0])

    assert told(over)["conditions"] == ["1 of 2 endpoints does not answer and gets no requests"]


def test_a_pool_says_of_how_many_nobody_knows_what_they_serve() -> None:
    (said,) = told(pool("a", "b", models={"b": ["m"]}))["conditions"]

    assert said == "1 of 2 endpoints: nobody has said which models these serve; they get any request"


def test_signals_that_every_engine_of_the_kind_tells_are_missed_by_name() -> None:
    over = pool("a", "b", "c")
    first, second = sorted(REQUIRED)[:2]
    over.endpoints[0].probe = Probe("vllm", {}, {second: "x", first: "y", "lora": "z"})
    over.endpoints[1].probe = Probe("vllm", {}, {"lora": "z"})

    assert lacking(over.endpoints) == {"a": f"no {first}, {second}"}


def test_lists_for_conditions_are_bounded() -> None:
    over = pool(*(f"e{n}" for n in range(LACKING_SHOWN_MAX + 5)))
    for endpoint in over.endpoints:
        leave_out(endpoint)
        endpoint.probe = Probe("vllm", {}, dict.fromkeys(REQUIRED, "x"))

    assert len(ejected(over.endpoints, NOW)) == len(lacking(over.endpoints)) == LACKING_SHOWN_MAX


@pytest.mark.parametrize("trouble", ["reachable", "ejected", "troubles"])
def test_a_page_that_is_drawn_each_second_has_the_troubled_ones_first(trouble: str) -> None:
    over = pool(*(f"e{n}" for n in range(BRIEFLY_MAX + 3)))
    last, troubles = over.endpoints[-1], {}
    if trouble == "reachable":
        last.reachable = False
    elif trouble == "ejected":
        leave_out(last)
    else:
        troubles = {last.name: {"/metrics": "refused"}}
    (short,) = briefly(overview(fleet(over), NOW, troubles))["pools"]

    assert short["endpoints"][0]["name"] == last.name
    assert (len(short["endpoints"]), short["left_out"]) == (BRIEFLY_MAX, 3)
    assert not {"series", "load"} & short["endpoints"][0].keys()


def test_as_many_as_there_is_room_for_keep_their_order() -> None:
    over = pool(*(f"e{n}" for n in range(BRIEFLY_MAX)))
    over.endpoints[-1].reachable = False
    (short,) = briefly(overview(fleet(over), NOW))["pools"]

    assert [shown["name"] for shown in short["endpoints"]] == [endpoint.name for endpoint in over.endpoints]
    assert short["left_out"] == 0
