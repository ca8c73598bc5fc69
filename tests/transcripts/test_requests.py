"""The cases of the reference's table that are about what becomes of a request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from epp.datastore.objects import POOL_GROUP, Objective, PoolRef
from epp.datastore.policies import Policies
from epp.domain import Endpoint
from epp.scheduling.default import default_profile
from epp.scheduling.framework import Filter, Profile, Query, Scorer
from epp.scheduling.plugins.approx_prefix_cache import ApproxPrefixCacheProducer
from epp.scheduling.plugins.kv_cache_utilization import KvCacheUtilizationScorer
from epp.scheduling.plugins.max_score import MaxScorePicker
from epp.scheduling.plugins.prefix_cache import PrefixCacheScorer
from epp.scheduling.plugins.queue import QueueScorer
from tests.transcripts.picker import Picker
from tests.transcripts.wire import AH, IR, NO_PODS, OLD_REWRITE, PH, RB, REWRITE, RH, RT, B, H, P, T, ask, pieces

HI = ask("m", "hi")


def rows_profile() -> Profile:
    """The scorers of the reference's tests, less the LoRA scorer."""
    scorers = ((QueueScorer(), 1.0), (KvCacheUtilizationScorer(), 1.0), (PrefixCacheScorer(), 1.0))
    return Profile("rows", producers=[ApproxPrefixCacheProducer()], scorers=scorers, picker=MaxScorePicker())


bodyless = pytest.mark.parametrize("how", [{"method": "GET", "path": "/health"}, {"method": None, "path": None}])
both_profiles = pytest.mark.parametrize("profile", [default_profile, rows_profile])


class Nobody(Filter):
    """Keeps no endpoint."""

    type = "nobody"

    def keep(self, query: Query, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        return []


class Broken(Scorer):
    """Has a defect."""

    type = "broken"

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        raise RuntimeError


@both_profiles
async def test_case_01_the_least_loaded_endpoint_gets_the_rewritten_body(epp: Picker, profile: Any) -> None:
    models = ["my-model", "my-model-12345"]
    epp.serves(P(0, 3, 0.2, models), P(1, 0, 0.1, models), P(2, 10, 0.2, models), profile=profile())
    epp.pool.policies = Policies(["default/p"], [Objective("default", "my-model", PoolRef(POOL_GROUP, "p"), 2)])
    new = ask("my-model-12345")
    counted = {"model_name": "my-model", "target_model_name": "my-model-12345", "priority": "2"}

    await epp.transcript(
        (RH({REWRITE: "my-model-12345", "x-llm-d-inference-objective": "my-model"}),),
        (
            RB(ask()),
            H("192.168.1.2:8000", "my-model-12345", len(new), removed=("x-llm-d-inference-objective", REWRITE)),
            B(new),
        ),
    )

    assert epp.metric("inference_objective_request_total", **counted) == 1
    assert epp.metric("inference_pool_ready_pods") == 3


@both_profiles
async def test_case_02_the_endpoint_that_serves_the_adapter_is_taken(epp: Picker, profile: Any) -> None:
    lora = "sql-lora-1fdg2"
    epp.serves(
        P(0, 0, 0.2, ["foo", "bar"]), P(1, 0, 0.1, ["foo", lora]), P(2, 10, 0.2, ["foo", "bar"]), profile=profile()
    )
    new = ask(lora)

    await epp.transcript(
        (RH({REWRITE: lora}),),
        (RB(ask("sql-lora")), H("192.168.1.2:8000", lora, len(new), removed=(REWRITE,)), B(new)),
    )


async def test_case_04_a_body_that_no_parser_knows_goes_on_as_it_is(epp: Picker) -> None:
    epp.serves(P(0, 3, 0.2), P(1, 0, 0.1), P(2, 10, 0.2))

    receipt = await epp.transcript(
        (RH(path="/passthrough"),),
        (RB(b"passthrough-parser"), H("192.168.1.2:8000"), B(b"passthrough-parser")),
    )

    assert receipt is not None
    assert receipt.asked_model is None


@both_profiles
async def test_case_05_endpoints_that_are_all_overloaded_still_serve(epp: Picker, profile: Any) -> None:
    epp.serves(P(0, 6, 0.2), P(1, 0, 0.85), P(2, 10, 0.9), profile=profile())

    await epp.transcript((RH(),), (RB(ask()), H("192.168.1.1:8000", "my-model"), B(ask())))


async def test_case_06_a_body_that_is_not_json_is_400(epp: Picker) -> None:
    epp.serves(P(0))

    await epp.transcript(
        (RH(),), (RB(b"no healthy upstream"), IR(400, "error unmarshaling request bodyMap: ", "bad_request"))
    )


async def test_case_07_a_body_in_two_pieces_is_answered_when_it_is_whole(epp: Picker) -> None:
    epp.serves(P(0, 3, 0.1), P(1, 10, 0.2))
    body, new = ask(), ask("my-model-12345")

    await epp.transcript(
        (RH({REWRITE: "my-model-12345"}),),
        (RB(body[:30], eos=False),),
        (RB(body[30:]), H("192.168.1.1:8000", "my-model-12345", len(new), removed=(REWRITE,)), B(new)),
    )


@bodyless
async def test_case_08_a_request_without_body_and_no_endpoint_is_503(epp: Picker, how: dict[str, Any]) -> None:
    await epp.transcript((RH(eos=True, **how), NO_PODS))


async def test_case_09_a_body_without_model_is_400(epp: Picker) -> None:
    epp.serves(P(0))

    await epp.transcript(
        (RH(),), (RB(b'{"prompt":"hello world"}'), IR(400, "model not found in request body", "model_missing"))
    )


@both_profiles
async def test_case_10_the_best_of_a_subset_is_taken(epp: Picker, profile: Any) -> None:
    epp.serves(P(0, 0, 0.2), P(1, 0, 0.1), P(2, 10, 0.2), profile=profile())
    subset = ["192.168.1.1:8000", "192.168.1.2:8000", "192.168.1.3:8000"]

    await epp.transcript((RH(),), (RB(HI, subset=subset), H("192.168.1.2:8000", "m"), B(HI)))


async def test_case_11_the_only_endpoint_of_a_subset_is_taken_however_loaded(epp: Picker) -> None:
    epp.serves(P(0, 0, 0.2), P(1, 0, 0.1), P(2, 10, 0.2))

    await epp.transcript((RH(),), (RB(HI, subset=["192.168.1.3:8000"]), H("192.168.1.3:8000", "m"), B(HI)))


async def test_case_12_a_subset_without_any_endpoint_is_503(epp: Picker) -> None:
    epp.serves(P(0), P(1), P(2))

    await epp.transcript((RH(),), (RB(HI, subset=["192.168.1.99:8000"]), NO_PODS))


async def test_case_13_a_rewrite_to_the_same_model_leaves_the_body_alone(epp: Picker) -> None:
    epp.serves(P(0, 0, 0.1), P(1, 10, 0.2))
    body = ask("direct-model")

    await epp.transcript(
        (RH({REWRITE: "direct-model"}),),
        (RB(body[:9], eos=False),),
        (RB(body[9:]), H("192.168.1.1:8000", "direct-model", removed=(REWRITE,)), B(body)),
    )


@bodyless
async def test_case_15_a_request_without_body_is_answered_at_its_headers(epp: Picker, how: dict[str, Any]) -> None:
    epp.serves(P(0))

    await epp.transcript((RH(eos=True, **how), H("192.168.1.1:8000")))


CHAT_MISSING = "invalid chat completions request: must have valid messages field"
PATHS = {
    "/v1/chat/completions": CHAT_MISSING,
    "/v1/chat/completions?stream=1": CHAT_MISSING,
    "/x/v1/completions/": "invalid completions request: must have prompt field",
    "/v1/embeddings": "invalid embeddings request: must have input field",
    "/v1/responses": "invalid responses request: must have input field",
    "/v1/conversations": "invalid conversations request: must have items field",
    "/v1/images/generations": "invalid images generations request: must have prompt field",
    "/v1/messages": "invalid messages request: must have valid messages field",
    "/v1/messages/count_tokens": "invalid messages request: must have valid messages field",
    "/v1/unheard/of": "no parser registered matching path suffix for: /v1/unheard/of",
}


@pytest.mark.parametrize("path", PATHS)
async def test_case_57_the_longest_known_suffix_of_a_path_says_what_its_body_is(epp: Picker, path: str) -> None:
    epp.serves(P(0), unparsed="refuse")
    code = None if "messages" in path else "bad_request"

    await epp.transcript((RH(path=path),), (RB(b'{"model":"m"}'), IR(400, PATHS[path], code)))


SIZES = {0: 1, 1: 1, 62_000: 1, 62_001: 2, 124_000: 2, 130_000: 3}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("trailers", [False, True])
async def test_case_58_long_bodies_go_on_in_pieces_of_62000_bytes(epp: Picker, size: int, trailers: bool) -> None:
    epp.serves(P(0))
    body = b"x" * size
    due = pieces(body, eos=not trailers)

    rows: list[Any] = [(RH(path="/passthrough"),)]
    if trailers:
        rows += [(RB(body, eos=False),), (RT(), H("192.168.1.1:8000"), *due, T())]
    else:
        rows += [(RB(body), H("192.168.1.1:8000"), *due)]
    await epp.transcript(*rows)

    assert len(due) == SIZES[size]


@pytest.mark.parametrize("body", [b'{"model":"m","messages":[]}', b'{"model":"m"}'])
async def test_case_59_a_chat_without_messages_is_400(epp: Picker, body: bytes) -> None:
    epp.serves(P(0))

    await epp.transcript((RH(path="/v1/chat/completions"),), (RB(body), IR(400, CHAT_MISSING, "bad_request")))


@pytest.mark.parametrize("asked", ["my-model", None])
async def test_case_63_the_rewrite_header_names_the_model_where_no_rule_does(epp: Picker, asked: str | None) -> None:
    epp.serves(P(0))
    body = ask(asked)
    new = ask("other") if asked else b'{"model":"other",' + body[1:]

    await epp.transcript(
        (RH({REWRITE: "other"}),),
        (RB(body), H("192.168.1.1:8000", "other", len(new), removed=(REWRITE,)), B(new)),
    )


async def test_case_64_a_body_whose_model_stays_goes_on_byte_by_byte(epp: Picker) -> None:
    epp.serves(P(0))
    body = b'{ "prompt" : "<a&b> \xc3\xa9 \\u00e9",\n "model":"m", "n": 1.0, "n": 123456789012345678901234567890 }'

    await epp.transcript((RH(),), (RB(body), H("192.168.1.1:8000", "m"), B(body)))


async def subset_goes_to(epp: Picker, row: RB, *wanted: str) -> None:
    """With four streams open for each endpoint, all that may serve do, and no others."""
    calls = []
    found = set()
    for number in range(4 * len(epp.pool.endpoints)):
        calls.append(call := epp.open())
        await call.says((RH({"x-request-id": f"r{number}"}),))
        replies = await call.tell(row)
        if replies[0].WhichOneof("response") == "immediate_response":
            found.add(str(replies[0].immediate_response.status.code))
        else:
            found.add(replies[0].dynamic_metadata["envoy.lb"]["x-gateway-destination-endpoint"])
    for call in calls:
        await call.finish()

    assert found == set(wanted)


A, A2, THIRD = "192.168.1.1:8000", "192.168.1.2:8000", "192.168.1.3:8000"
HINTS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "nil": (None, (A, A2, THIRD)),
    "single": ([A2], (A2,)),
    "multi": ([A, A2], (A, A2)),
    "no match": (["10.9.9.9:8000"], ("503",)),
    "empty list": ([], ("503",)),
    "a number in it": ([A, 12345], (A,)),
}


async def test_case_79_only_if_the_prompt_is_cached(epp: Picker) -> None:
    epp.serves(P(0))
    long = ask("m", "what was said before, at length. " * 60)
    refused = IR(412, "no decode worker has the requested KV cache", "not_cached")

    await epp.transcript((RH({"prefer": "if-available", "x-request-id": "1"}),), (RB(long), refused))
    await epp.transcript((RH({"x-request-id": "2"}),), (RB(long), H("192.168.1.1:8000", "m"), B(long)))
    await epp.transcript(
        (RH({"prefer": "If-Available", "x-request-id": "3"}),), (RB(long), H("192.168.1.1:8000", "m"), B(long))
    )


async def test_case_68_filters_that_leave_nobody_are_a_429_and_a_failing_plugin_a_plain_pick(epp: Picker) -> None:
    epp.serves(P(0), profile=Profile("none", filters=[Nobody()], picker=MaxScorePicker()))
    saturated = IR(429, "no endpoints available for the given request", "saturated", "rejected-saturated", "1")
    await epp.transcript((RH(),), (RB(HI), saturated))

    epp.serves(P(0), profile=Profile("broken", scorers=[(Broken(), 1.0)], picker=MaxScorePicker()))
    await epp.transcript((RH(),), (RB(HI), H("192.168.1.1:8000"), B(HI)))


@pytest.mark.parametrize("hint", HINTS)
async def test_case_71_a_subset_hint_is_a_list_of_who_may_serve(epp: Picker, hint: str) -> None:
    epp.serves(P(0), P(1), P(2))
    subset, wanted = HINTS[hint]

    await subset_goes_to(epp, RB(HI, subset=subset), *wanted)


async def test_case_71_a_hint_in_another_namespace_is_none(epp: Picker) -> None:
    epp.serves(P(0), P(1), P(2))

    await subset_goes_to(epp, RB(HI, subset=[A2], namespace="envoy.lb"), A, A2, THIRD)


async def test_case_71_hints_may_be_left_unread(epp: Picker) -> None:
    epp.serves(P(0, 5), P(1), P(2, 5), subsets=False)

    await epp.transcript((RH(),), (RB(HI, subset=[A]), H(A2, "m"), B(HI)))


@pytest.mark.parametrize("hint", [f"{A},{A2}", f" {A} , {A2} "])
async def test_case_72_a_subset_hint_may_be_a_string_with_commas(epp: Picker, hint: str) -> None:
    epp.serves(P(0), P(1), P(2))

    await subset_goes_to(epp, RB(HI, subset=hint), A, A2)


RANKS = {
    "one port": (["10.0.0.1:3000"], ("10.0.0.1:3000",)),
    "all ports": (["10.0.0.1"], ("10.0.0.1:3000", "10.0.0.1:3001")),
    "both kinds": (["10.0.0.1:3001", "10.0.0.2"], ("10.0.0.1:3001", "10.0.0.2:3000", "10.0.0.2:3001")),
    "no such port": (["10.0.0.1:3002"], ("503",)),
}


@pytest.mark.parametrize("hint", RANKS)
async def test_case_73_a_subset_may_name_one_port_of_an_address_or_all(epp: Picker, hint: str) -> None:
    hosts = [(ip, port) for ip in ("10.0.0.1", "10.0.0.2") for port in (3000, 3001)]
    epp.serves(*(P(n, ip=ip, port=port) for n, (ip, port) in enumerate(hosts)))
    subset, wanted = RANKS[hint]

    await subset_goes_to(epp, RB(HI, subset=subset), *wanted)


async def test_case_82_a_pool_that_is_gone_and_comes_back_serves_again(epp: Picker) -> None:
    served = (RB(HI), H("192.168.1.1:8000", "m"), B(HI))
    epp.serves(P(0))

    await epp.transcript((RH(),), served)
    epp.lists()
    await epp.transcript((RH(),), (RB(HI), NO_PODS))
    epp.lists(P(0))
    await epp.transcript((RH(),), served)


async def test_case_83_a_post_without_any_endpoint_is_503(epp: Picker) -> None:
    await epp.transcript((RH(),), (RB(HI), NO_PODS))


async def test_case_84_the_last_piece_sent_twice_counts_once(epp: Picker) -> None:
    epp.serves(P(0))
    new = ask("other", "hi")

    await epp.transcript(
        (RH({REWRITE: "other"}),),
        (RB(HI), H("192.168.1.1:8000", "other", len(new), removed=(REWRITE,)), B(new)),
        (RB(HI),),
        (RB(b""),),
        (PH(), AH("other")),
    )


async def test_case_85_trailers_end_a_body_that_did_not(epp: Picker) -> None:
    epp.serves(P(0))

    await epp.transcript((RH(),), (RB(HI, eos=False),), (RT(), H("192.168.1.1:8000", "m"), B(HI, eos=False), T()))


async def test_case_86_ipv6_addresses_have_brackets(epp: Picker) -> None:
    epp.serves(P(0, ip="[fd00::1]"))
    get = RH(eos=True, method="GET", path="/health")

    await epp.transcript((get, H("[fd00::1]:8000")))
    await epp.transcript((RH(subset=["fd00::1"]),), (RB(HI), H("[fd00::1]:8000", "m"), B(HI)))


async def test_case_87_a_request_without_body_honours_the_subset(epp: Picker) -> None:
    epp.serves(P(0), P(1), P(2, 10))

    def get(*subset: str) -> RH:
        return RH(eos=True, method="GET", path="/health", subset=subset)

    await epp.transcript((get(THIRD), H(THIRD)))
    await epp.transcript((get("10.9.9.9:8000"), NO_PODS))


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "my-model" , "prompt":"<b>&\xe2\x82\xac \\ud83d\\ude00", "seed":123456789012345678901234567890}',
        b'{"prompt":"\\u003c","temperature":1.0,"z":{"model":"my-model"},"a":1e400,"model":"my-model"}',
    ],
)
async def test_case_89_a_rewrite_changes_the_models_value_and_no_other_byte(epp: Picker, body: bytes) -> None:
    epp.serves(P(0))
    before, after = body.rsplit(b'"my-model"', 1)
    new = before + b'"<other>"' + after

    await epp.transcript(
        (RH({OLD_REWRITE: "<other>"}),),
        (RB(body), H("192.168.1.1:8000", "<other>", len(new), removed=(OLD_REWRITE,)), B(new)),
    )
    assert json.loads(new)["model"] == "<other>"
