"""The formula of each plugin that configuration files can name and the built-in policy does not use."""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import pytest

from epp.domain import Candidate, Endpoint, Load, Lora, Refused, Usage
from epp.scheduling.framework import Admitter, Filter, Memory, Producer, Query, Scorer
from epp.scheduling.handlers import Decider
from epp.scheduling.registry import build

from . import make


def score(type_name: str, pool: Sequence[Endpoint], query: Query | None = None, **parameters: Any) -> list[float]:
    scorer = build(type_name, parameters)
    assert isinstance(scorer, Scorer)
    return [round(s, 4) for s in scorer.score(query or make.query(), pool)]


def kept(type_name: str, pool: Sequence[Endpoint], query: Query | None = None, **parameters: Any) -> list[str]:
    step = build(type_name, parameters)
    assert isinstance(step, Filter)
    return [e.name for e in step.keep(query or make.query(), pool)]


def labelled(**by_name: Mapping[str, str]) -> list[Endpoint]:
    return [make.endpoint(name, labels=labels) for name, labels in by_name.items()]


def holding(query: Query, cached: dict[Endpoint, int], hashed: int) -> Query:
    """What a prefix producer would have said."""
    query.cached, query.hashed = cached, hashed
    return query


def test_an_adapter_that_runs_is_best_then_room_for_it_then_where_it_is_waited_for() -> None:
    query = make.query(model="sql")
    full = frozenset({"x", "y"})
    pool = [
        make.endpoint("active", lora=Lora(2, frozenset({"sql", "x"}))),
        make.endpoint("room", lora=Lora(2, frozenset({"x"}))),
        make.endpoint("waiting", lora=Lora(2, full, frozenset({"sql"}))),
        make.endpoint("full", lora=Lora(2, full)),
        make.endpoint("silent"),
        make.endpoint("never-seen", age=None),
    ]

    assert score("lora-affinity-scorer", pool, query) == [1.0, 0.8, 0.6, 0.0, 0.8, 0.8]


def test_the_base_model_is_no_adapter() -> None:
    query = Query(make.query().request, Candidate(None), make.NOW, Random(1))

    assert score("lora-affinity-scorer", [make.endpoint(lora=Lora(1, frozenset({"x"})))], query) == [0.0]


def test_a_queue_is_measured_against_a_threshold_of_its_own() -> None:
    pool = [make.endpoint(waiting=w) for w in (0, 32, 128, 500)] + [make.endpoint(age=None)]

    assert score("load-aware-scorer", pool[:4]) == [0.5, 0.375, 0.0, 0.0]
    assert score("load-aware-scorer", pool[:4], threshold=64) == [0.5, 0.25, 0.0, 0.0]
    assert score("load-aware-scorer", [pool[0], pool[2], pool[4]]) == [0.5, 0.0, 0.25]


def test_a_match_counts_by_its_share_and_where_asked_by_its_length() -> None:
    pool = make.endpoints(3)
    query = holding(make.query(), {pool[0]: 1024, pool[1]: 4096}, 4096)

    assert score("prefix-cache-scorer", pool, query) == [0.25, 1.0, 0.0]
    assert score("prefix-cache-scorer", pool, query, matchLengthWeight=1) == [0.0156, 0.25, 0.0]
    half = {"matchLengthWeight": 0.5, "matchLengthScaleTokens": 2048}
    assert score("prefix-cache-scorer", pool, query, **half) == [0.25, 1.0, 0.0]


def test_tokens_that_are_cached_are_no_load() -> None:
    pool = [make.endpoint("a", tokens=400), make.endpoint("b", tokens=400)]
    query = holding(make.query(b"a" * 1600), {pool[0]: 300}, 400)

    assert score("token-load-scorer", pool, query, queueThresholdTokens=1000) == [0.5, 0.2]


def test_a_cold_prompt_goes_where_none_went_lately_and_a_warm_one_anywhere() -> None:
    pool = make.endpoints(4)
    scorer = build("no-hit-lru-scorer")
    assert isinstance(scorer, Scorer)
    for endpoint in (pool[2], pool[0], pool[2]):
        scorer.picked(make.query(), endpoint)
    warm = holding(make.query(), {pool[3]: 64}, 64)

    assert [round(s, 2) for s in scorer.score(make.query(), pool)] == [0.33, 1.0, 0.0, 1.0]
    assert scorer.score(warm, pool) == [0.5] * 4
    scorer.picked(warm, pool[1])
    assert scorer.score(make.query(), pool)[1] == 1.0
    assert scorer.score(make.query(), pool[:1]) == [1.0]


def test_cold_prompts_take_turns() -> None:
    pool = make.endpoints(5)
    scorer = build("no-hit-lru-scorer")
    assert isinstance(scorer, Scorer)
    went = []
    for _ in range(15):
        scores = scorer.score(make.query(), pool)
        went.append(max(range(5), key=scores.__getitem__))
        scorer.picked(make.query(), pool[went[-1]])

    assert Counter(went) == dict.fromkeys(range(5), 3)
    assert went[5:10] == went[10:15]


def test_the_memory_of_cold_prompts_is_bounded_and_forgets_who_left() -> None:
    pool = make.endpoints(3)
    scorer = build("no-hit-lru-scorer", {"lruSize": 2})
    assert isinstance(scorer, Scorer)
    for endpoint in pool:
        scorer.picked(make.query(), endpoint)

    assert scorer.score(make.query(), pool) == [1.0, 0.5, 0.0]
    scorer.relisted(pool[:2])
    assert scorer.score(make.query(), pool) == [1.0, 0.0, 1.0]


def test_prompts_go_to_the_endpoints_set_up_for_their_length() -> None:
    label = "llm-d.ai/context-length-range"
    pool = labelled(short={label: "0-1000"}, long={label: "1001-100000"}, two={label: "0-100, 400-600"}, plain={})
    query = make.query(b"a" * 2000)

    narrow, near = 0.3 + 0.7 * (0.7 / 1.1 + 0.3 * 0.5), 0.3 + 0.7 * (0.7 / 1.02 + 0.3 / 6)
    assert score("context-length-aware", pool, query) == [
        round(narrow, 4),
        round(0.3 / (1 + 501 / 500), 4),
        round(near, 4),
        0.5,
    ]
    assert kept("context-length-aware", pool, query) == ["short", "long", "two", "plain"]
    assert kept("context-length-aware", pool, query, enableFiltering=True) == ["short", "two", "plain"]
    assert kept("context-length-aware", pool[1:2], query, enableFiltering=True) == ["long"]


def test_labels_select() -> None:
    pool = labelled(a={"app": "x", "gpu": "h100"}, b={"app": "x"}, c={"app": "y", "gpu": "l4"})

    assert kept("label-selector-filter", pool) == ["a", "b", "c"]
    assert kept("label-selector-filter", pool, matchLabels={"app": "x"}) == ["a", "b"]
    assert kept("by-label-selector", pool, matchLabels={"app": "x", "gpu": "l4"}) == []
    for operator, values, names in (
        ("In", ["h100", "l4"], ["a", "c"]),
        ("NotIn", ["h100"], ["b", "c"]),
        ("Exists", [], ["a", "c"]),
        ("DoesNotExist", [], ["b"]),
    ):
        expression = {"key": "gpu", "operator": operator, "values": values}
        assert kept("label-selector-filter", pool, matchExpressions=[expression]) == names
    assert kept("by-label", pool, label="gpu", validValues=["l4"]) == ["c"]
    assert kept("by-label", pool, label="gpu", validValues=["l4"], allowsNoLabel=True) == ["b", "c"]


def test_roles_say_which_stages_an_endpoint_does() -> None:
    roles = ["decode", "prefill", "encode", "prefill-decode", "encode-prefill", "encode-prefill-decode", "both", "odd"]
    pool = [*labelled(**{role: {"llm-d.ai/role": role} for role in roles}), make.endpoint("none")]

    assert kept("decode-filter", pool) == ["decode", "prefill-decode", "encode-prefill-decode", "both", "none"]
    assert kept("prefill-filter", pool) == [
        "prefill",
        "prefill-decode",
        "encode-prefill",
        "encode-prefill-decode",
        "both",
    ]
    assert kept("encode-filter", pool) == ["encode", "encode-prefill", "encode-prefill-decode"]


@pytest.mark.parametrize(
    ("header", "names"), [(None, ["a", "b"]), ("a", ["a"]), ("b:8000, a", ["a", "b"]), ("b:1", []), ("c", [])]
)
def test_a_test_says_where_its_request_goes(header: str | None, names: list[str]) -> None:
    headers = {} if header is None else {"test-epp-endpoint-selection": header}

    pool = [make.endpoint("a"), make.endpoint("b")]
    assert kept("header-based-testing-filter", pool, make.query(headers=headers)) == names


def test_an_ipv6_address_may_have_brackets() -> None:
    pool = [Endpoint("six", "[fd00::1]:8000"), Endpoint("other", "[fd00::2]:8000")]
    for text in ("fd00::1", "[fd00::1]", "[fd00::1]:8000"):
        query = make.query(headers={"test-epp-endpoint-selection": text})
        assert kept("header-based-testing-filter", pool, query) == ["six"]


def test_a_label_equal_to_a_header_attracts() -> None:
    pool = labelled(a={"zone": "eu"}, b={"zone": "us"}, c={})
    parameters = {"headerName": "X-Zone", "labelKey": "zone"}

    query = make.query(headers={"x-zone": "us"})
    assert score("header-label-affinity-scorer", pool, query, **parameters) == [0, 1, 0]
    assert score("header-label-affinity-scorer", pool, **parameters) == [0, 0, 0]


def test_who_holds_the_prompt_is_kept_until_others_are_much_sooner() -> None:
    pool = [make.endpoint("warm", tokens=30_000), make.endpoint("cold"), make.endpoint("cool")]
    query = holding(make.query(b"a" * 40_000), {pool[0]: 9_000, pool[2]: 1_000}, 10_000)
    parameters = {"peakPrefillThroughput": 1000}

    # 31,000 tokens to be computed there, 9,000 at the cool one.
    assert kept("prefix-cache-affinity-filter", pool, query, maxTTFTPenaltyMs=22_000, **parameters) == ["warm"]
    assert len(kept("prefix-cache-affinity-filter", pool, query, maxTTFTPenaltyMs=21_999, **parameters)) == 3
    assert len(kept("prefix-cache-affinity-filter", pool, query, affinityThreshold=0.95, **parameters)) == 3
    assert len(kept("prefix-cache-affinity-filter", pool, query, explorationProbability=1)) == 3
    assert len(kept("prefix-cache-affinity-filter", pool)) == 3


def test_bounds_leave_out_the_busy_and_not_the_silent() -> None:
    pool = [
        make.endpoint("busy", waiting=9, running=9, kv_usage=0.9, inflight=9),
        make.endpoint("idle", waiting=0, running=0, kv_usage=0, inflight=0),
        make.endpoint("late", waiting=9, running=9, kv_usage=0.9, age=3.0),
    ]
    for measure, most in (("running-requests", 8), ("waiting-queue", 8.5), ("kv-cache-utilization", 0.5)):
        bound = [{"type": measure, "maxValue": most}]
        assert kept("utilization-filter", pool, conditions=bound) == ["idle", "late"]
        assert kept("utilization-filter", pool[:1], conditions=bound) == []
        assert kept("utilization-filter", pool[:1], conditions=bound, fallbackOnEmpty=True) == ["busy"]
    assert kept("utilization-filter", pool[:2], conditions=[{"type": "active-requests", "maxValue": 0}]) == ["idle"]


def test_a_detector_in_a_profile_keeps_who_has_room_and_all_where_nobody_has() -> None:
    pool = [
        make.endpoint("queue", waiting=6, kv_usage=0.1, inflight=10, tokens=10),
        make.endpoint("cache", waiting=5, kv_usage=0.81, inflight=9, tokens=2000),
        make.endpoint("room", waiting=5, kv_usage=0.8, inflight=9, tokens=10),
        make.endpoint("late", waiting=9, kv_usage=0.9, inflight=10, tokens=2000, age=0.3),
    ]

    assert kept("utilization-detector", pool) == ["room", "late"]
    assert kept("utilization-detector", pool[:3], headroom=0.2) == ["queue", "cache", "room"]
    assert kept("utilization-detector", pool[:2]) == ["queue", "cache"]
    limits = {"maxConcurrency": 10, "maxTokenConcurrency": 1000}
    assert kept("concurrency-detector", pool, **limits) == ["cache", "room"]
    assert kept("concurrency-detector", pool, concurrencyMode="tokens", **limits) == ["queue", "room"]
    assert kept("concurrency-detector", pool, concurrencyMode="hybrid", **limits) == ["room"]
    assert kept("concurrency-detector", pool[3:], concurrencyMode="hybrid", **limits) == ["late"]


def told(*values: float | None, age: float = 0.0) -> list[Endpoint]:
    """Endpoints whose engine tells these numbers as `heat`."""
    pool = make.endpoints(len(values))
    for endpoint, value in zip(pool, values, strict=True):
        endpoint.load = Load(make.NOW - age, custom={} if value is None else {"heat": value})
    return pool


def test_a_number_of_the_engines_own_is_scored_on_its_scale() -> None:
    pool = told(20, 60, 100, None)
    higher = {"attributeKey": "heat", "algorithm": "linear_higher_is_better"}

    assert score("endpoint-attribute-scorer", pool, attributeKey="heat") == [1.0, 0.5, 0.0, 0.5]
    assert score("endpoint-attribute-scorer", pool, **higher) == [0.0, 0.5, 1.0, 0.5]
    fixed = {"fixedRange": {"min": 60, "max": 140}}
    assert score("endpoint-attribute-scorer", pool, attributeKey="heat", **fixed) == [1.0, 1.0, 0.5, 0.8333]
    assert score("endpoint-attribute-scorer", told(5, 5), attributeKey="heat") == [1.0, 1.0]
    assert len(set(score("endpoint-attribute-scorer", told(1, 9, age=3.0), attributeKey="heat"))) == 1


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        ({"threshold": 60}, ["e0", "e1", "e3"]),
        ({"threshold": 60, "operator": "gt"}, ["e2", "e3"]),
        ({"threshold": 60, "onMissing": "Fail"}, ["e0", "e1"]),
        ({"threshold": 0, "onMissing": "Fail"}, []),
        ({"threshold": 0, "onMissing": "Fail", "fallbackOnEmpty": True}, ["e0", "e1", "e2", "e3"]),
    ],
)
def test_endpoints_are_kept_by_a_number_of_the_engines_own(parameters: dict[str, Any], names: list[str]) -> None:
    assert kept("endpoint-attribute-filter", told(20, 60, 100, None), attributeKey="heat", **parameters) == names


def refused_of(count: int, admitter: Admitter, pool: Sequence[Endpoint], priority: int) -> int:
    rng, statuses = Random(3), []
    for _ in range(count):
        try:
            admitter.admit(make.query(rng=rng, priority=priority), pool)
        except Refused as refusal:
            statuses.append(refusal.reason.status)

    assert set(statuses) <= {429}
    return len(statuses)


def test_the_fuller_the_pool_the_more_of_what_may_be_shed_is_refused() -> None:
    admitter = build("probabilistic-admitter")
    assert isinstance(admitter, Admitter)
    half = [make.endpoint(waiting=1, kv_usage=0.0), make.endpoint(waiting=0, kv_usage=0.16)]  # 0.2: 300 * 0.2^5 = 0.096

    assert refused_of(2000, admitter, half, priority=-1) == pytest.approx(192, abs=45)
    assert refused_of(200, admitter, half, priority=0) == 0
    assert refused_of(200, admitter, [make.endpoint(waiting=5)], priority=-1) == 200
    assert refused_of(200, admitter, [make.endpoint(waiting=0, kv_usage=0)], priority=-1) == 0
    assert refused_of(200, admitter, [make.endpoint(waiting=9, age=9), make.endpoint(age=None)], priority=-1) == 0


def test_what_an_answer_is_expected_to_have_is_charged_where_that_is_asked_for() -> None:
    (endpoint,) = make.endpoints(1)

    def charged(**parameters: Any) -> tuple[int, int] | None:
        producer = build("inflight-load-producer", parameters)
        assert isinstance(producer, Producer)
        query = holding(make.query(b"a" * 4000), {endpoint: 400}, 1000)
        producer.produce(query, [endpoint])
        producer.picked(query, endpoint)
        return None if query.cost is None else (query.cost.tokens, query.cost.context)

    assert charged() is None
    assert charged(addEstimatedOutputTokens=True) == (600 + 1500, 1000 + 1500)
    assert charged(addEstimatedOutputTokens=True, outputRatio=0.5, maxEstimatedOutputTokens=100) == (700, 1100)


@pytest.mark.parametrize(
    ("parameters", "headers", "session"),
    [
        ({}, {"x-session-id": "s"}, "s"),
        ({"headerName": "X-Chat"}, {"x-chat": "s"}, "s"),
        ({"cookieName": "sid"}, {"cookie": 'a=b; sid="s"; c=d'}, "s"),
        ({"cookieName": "sid"}, {"cookie": "sid"}, None),
        ({}, {}, None),
    ],
)
def test_a_session_is_named_by_a_header_or_a_cookie(
    parameters: dict[str, str], headers: dict[str, str], session: str | None
) -> None:
    producer = build("session-id-producer", parameters)
    assert isinstance(producer, Producer)
    query = make.query(headers=headers)
    producer.produce(query, [])

    assert query.session == session


def test_a_token_leads_back_to_the_endpoint_that_gave_it() -> None:
    pool = make.endpoints(3)
    scorer = build("session-affinity-scorer")
    assert isinstance(scorer, Scorer)
    ((header, token),) = scorer.heads(make.query(), pool[1], None)
    asked = make.query(headers={header: token})

    assert (header, token) == ("x-session-token", b64encode(b"e1").decode())
    assert scorer.score(asked, pool) == [0.0, 1.0, 0.0]
    assert kept("session-affinity-filter", pool, asked) == ["e1"]
    assert kept("session-affinity-filter", [pool[0], pool[2]], asked) == ["e0", "e2"]


@pytest.mark.parametrize(
    "token", ["", "?", "e1", b64encode(b"\xff").decode(), b64encode(b"nobody").decode(), "A" * 9999]
)
def test_a_token_that_means_nothing_changes_nothing(token: str) -> None:
    pool = make.endpoints(3)
    query = make.query(headers={"x-session-token": token})

    assert score("session-affinity-scorer", pool, query) == [0, 0, 0]
    assert kept("session-affinity-filter", pool, query) == ["e0", "e1", "e2"]


def test_a_session_with_a_name_is_remembered_for_a_while() -> None:
    pool = make.endpoints(3)
    step = build("session-affinity-filter", {"strategy": "session_id"})
    assert isinstance(step, Filter)

    def asked(at: float, session: str = "s") -> Query:
        return make.query(headers={"x-session-id": session}, now=at)

    step.picked(asked(100.0), pool[1])

    assert step.keep(asked(400.0), pool) == [pool[1]]
    assert step.keep(asked(401.0), pool) == pool
    assert step.keep(asked(100.0, "other"), pool) == pool
    assert step.keep(make.query(), pool) == pool
    assert step.heads(asked(100.0), pool[1], None) == ()
    step.moved(asked(100.0), pool[1], pool[2])
    assert step.keep(asked(101.0), pool) == [pool[2]]
    step.relisted(pool[:2])
    assert step.keep(asked(101.0), pool) == pool


def test_of_several_session_names_the_first_counts_and_the_producers_last() -> None:
    pool = make.endpoints(2)
    sources = [{"header": "x-first"}, {"cookie": "sid"}]
    step = build("session-affinity-filter", {"strategy": "session_id", "sessionId": {"sources": sources}})
    assert isinstance(step, Filter)
    step.picked(make.query(headers={"x-first": "s"}), pool[1])
    named_by_producer = make.query()
    named_by_producer.session = "s"

    for headers in ({"x-first": "s", "cookie": "sid=t"}, {"cookie": "sid=s"}):
        assert step.keep(make.query(headers=headers), pool) == [pool[1]]
    assert step.keep(make.query(headers={"x-first": "t", "cookie": "sid=s"}), pool) == pool
    assert step.keep(named_by_producer, pool) == [pool[1]]


def test_prefill_is_worth_an_endpoint_of_its_own_where_much_is_not_cached() -> None:
    (endpoint,) = make.endpoints(1)

    def apart(cached: int = 0, **parameters: int) -> bool:
        decider = build("prefix-based-pd-decider", parameters)
        assert isinstance(decider, Decider)
        return decider.apart(holding(make.query(b"a" * 4000), {endpoint: cached} if cached else {}, 1000), endpoint)

    assert not apart()
    assert apart(nonCachedTokens=1000)
    assert not apart(nonCachedTokens=1001)
    assert apart(900, nonCachedTokens=100)
    assert not apart(901, nonCachedTokens=100)
    assert not apart(nonCachedTokens=1, promptTokens=1001)


@pytest.mark.parametrize(
    ("content", "media"),
    [
        ([{"type": "image_url", "image_url": {"url": "u"}}], True),
        ([{"type": "text", "text": "hi"}, {"type": "input_audio", "input_audio": {}}], True),
        ([{"type": "text", "text": json.dumps({"type": "image_url"})}], False),
        ("an image_url", False),
    ],
)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_only_what_is_no_text_is_encoded_apart(content: Any, media: bool, separators: tuple[str, str]) -> None:
    decider, always = build("always-disagg-multimodal-decider"), build("always-disagg-pd-decider")
    assert isinstance(decider, Decider)
    assert isinstance(always, Decider)
    prompt = json.dumps([{"role": "user", "content": content}], separators=separators).encode()

    assert decider.apart(make.query(prompt), None) is media
    assert always.apart(make.query(prompt), None)


def test_the_gateway_is_told_what_an_answer_cost() -> None:
    attributes = [
        {"key": {"name": "cost"}, "expression": "usage.prompt_tokens + 4 * usage.completion_tokens"},
        {"key": {"namespace": "billing", "name": "big"}, "expression": "1", "condition": "usage.total_tokens > 100"},
        {"key": {"name": "rate"}, "expression": "10 / usage.cached_tokens"},
    ]
    reporter = build("request-attribute-reporter", {"attributes": attributes})
    assert isinstance(reporter, Memory)

    assert reporter.reports(make.query(), Usage(10, 5)) == {"envoy.lb": {"cost": 30.0}}
    assert reporter.reports(make.query(), Usage(90, 20, 4)) == {
        "envoy.lb": {"cost": 170.0, "rate": 2.0},
        "billing": {"big": 1.0},
    }
    assert reporter.reports(make.query(), None) == {}


def test_who_the_gateway_says_served_is_told_to_the_client() -> None:
    verifier = build("destination-endpoint-served-verifier")
    assert isinstance(verifier, Memory)
    name = "x-conformance-test-served-endpoint"

    assert verifier.heads(make.query(), make.endpoint(), "10.0.0.1:8000") == [(name, "10.0.0.1:8000")]
    assert verifier.heads(make.query(), make.endpoint(), None) == [
        (name, "fail: missing destination endpoint served metadata")
    ]
