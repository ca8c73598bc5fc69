"""The cases that plugins of a configuration file decide."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import yaml

from epp.domain import Endpoint
from epp.options.requests import AgentIdentity
from epp.protocol.identity import Source
from epp.scheduling.assembly import load
from epp.scheduling.framework import Profile, Query, Scheduler, Scorer
from epp.scheduling.plugins.max_score import MaxScorePicker
from tests.transcripts.picker import Picker
from tests.transcripts.wire import AH, DUPLEX, IR, NONE, PB, PH, PT, RB, RH, STREAMED, B, H, P, ask

HI = ask("m", "hi")
A, B2, C = "192.168.1.1:8000", "192.168.1.2:8000", "192.168.1.3:8000"
COST = "x-gateway-inference-request-cost"
TEST = "test-epp-endpoint-selection"
SESSION, PREFILL_SESSION = "x-session-token", "x-prefill-session-token"
SSE = "text/event-stream"


def configured(*plugins: Any, profiles: Mapping[str, Sequence[str]] | None = None) -> Scheduler:
    """What a file with these plugins, by type or by (type, parameters), and profiles comes to."""
    file = {
        "apiVersion": "llm-d.ai/v1alpha1",
        "kind": "EndpointPickerConfig",
        "plugins": [{"type": p} if isinstance(p, str) else p for p in plugins],
    }
    if profiles is not None:
        file["schedulingProfiles"] = [
            {"name": name, "plugins": [{"pluginRef": ref} for ref in refs]} for name, refs in profiles.items()
        ]
    return load(yaml.safe_dump(file).encode(), experimental=True).scheduler


def plugin(kind: str, name: str = "", **parameters: Any) -> dict[str, Any]:
    return {"type": kind, "name": name or kind, "parameters": parameters}


async def answer(epp: Picker, headers: Mapping[str, str], request: str = "r") -> tuple[str, dict[str, str]]:
    """One request with its answer: where it went, and what the client was told."""
    call = epp.open()
    await call.tell(RH({"x-request-id": request, **headers}))
    reply, _ = await call.tell(RB(HI))
    (answered,) = await call.tell(PH())
    await call.tell(PB())
    await call.finish()
    told = answered.response_headers.response.header_mutation.set_headers
    to = reply.dynamic_metadata["envoy.lb"]["x-gateway-destination-endpoint"]
    return to, {option.header.key: option.header.raw_value.decode() for option in told}


async def test_case_03_an_adapter_that_runs_wins_over_a_fuller_cache(epp: Picker) -> None:
    scorers = ("queue-scorer", "kv-cache-utilization-scorer", "prefix-cache-scorer", "lora-affinity-scorer")
    models = ["foo", "sql"]
    epp.serves(
        P(0, 10, 0.2, models, adapters=["foo", "bar"]),
        P(1, 10, 0.4, models, adapters=["foo", "sql"]),
        P(2, 10, 0.3, models, adapters=["foo", "bar"]),
        profile=configured(*scorers),
    )
    body = ask("sql")

    await epp.transcript((RH(),), (RB(body), H("192.168.1.2:8000", "sql"), B(body)))


async def test_case_04_where_only_pass_through_is_configured_no_body_is_read(epp: Picker) -> None:
    epp.serves(P(0, 3), P(1, 0), P(2, 10), parsers=frozenset(), profile=configured("queue-scorer"))
    body = b"passthrough-parser"

    receipt = await epp.transcript((RH(),), (RB(body), H("192.168.1.2:8000"), B(body)))

    assert receipt is not None
    assert receipt.asked_model is None


@dataclass(slots=True)
class Telling(Scorer):
    """Has something for the gateway."""

    type: ClassVar[str] = "telling"

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        query.brings().metadata = {"envoy.lb": {"tier": "gold"}, "billing": {"units": 3.0}}
        return [0.0] * len(endpoints)


async def test_case_45_what_a_plugin_tells_the_gateway_stands_beside_the_destination(epp: Picker) -> None:
    epp.serves(P(0), profile=Profile("telling", scorers=[(Telling(), 1.0)], picker=MaxScorePicker()))
    call = epp.open()
    await call.says((RH(),))
    headers, _ = await call.tell(RB(HI))
    await call.finish()

    told = {namespace: dict(values) for namespace, values in headers.dynamic_metadata.items()}
    assert told == {
        "envoy.lb": {"x-gateway-destination-endpoint": A, "tier": "gold"},
        "billing": {"units": 3.0},
    }


def reporting(**condition: str) -> Scheduler:
    attributes = [{"key": {"name": COST}, "expression": "usage.completion_tokens", **condition}]
    return configured("queue-scorer", plugin("request-attribute-reporter", attributes=attributes))


def metadata(reply: Any) -> dict[str, Any]:
    return {namespace: dict(values) for namespace, values in reply.dynamic_metadata.items()}


USAGE = b'{"usage":{"prompt_tokens":7,"completion_tokens":10,"total_tokens":17}}'


async def test_case_53_the_gateway_is_told_the_cost_with_the_last_piece(epp: Picker) -> None:
    epp.serves(P(0), profile=reporting())
    call = epp.open()
    for message in (RH(), RB(HI), PH()):
        await call.tell(message)
    (first,), (last,) = await call.tell(PB(USAGE[:20], eos=False)), await call.tell(PB(USAGE[20:]))
    await call.finish()

    assert (metadata(first), metadata(last)) == ({}, {"envoy.lb": {COST: 10.0}})


@pytest.mark.parametrize("trailers", [False, True])
async def test_case_54_and_of_events_with_the_last_one_only(epp: Picker, trailers: bool) -> None:
    epp.serves(P(0), profile=reporting())
    call = epp.open()
    for message in (RH(), RB(HI), PH(SSE)):
        await call.tell(message)
    events = [b"data: {}\n\n", b"data: " + USAGE + b"\n\n", b"data: [DONE]\n\n"]
    told = [metadata(reply) for event in events for reply in await call.tell(PB(event, eos=False))]
    (last,) = await call.tell(PT() if trailers else PB(b""))
    await call.finish()

    assert (told, metadata(last)) == ([{}, {}, {}], {"envoy.lb": {COST: 10.0}})


async def test_case_54_where_pieces_are_answered_one_by_one_too(epp: Picker) -> None:
    epp.serves(P(0), profile=reporting())
    call = epp.open()
    for message in (RH(modes=(DUPLEX, STREAMED)), RB(HI), PH()):
        await call.tell(message)
    (last,) = await call.tell(PB(USAGE))
    await call.finish()

    assert metadata(last) == {"envoy.lb": {COST: 10.0}}


@pytest.mark.parametrize("condition", ["usage.prompt_tokens > 7", "false"])
async def test_case_53_a_condition_that_does_not_hold_tells_nothing(epp: Picker, condition: str) -> None:
    epp.serves(P(0), profile=reporting(condition=condition))
    call = epp.open()
    for message in (RH(), RB(HI), PH()):
        await call.tell(message)
    (last,) = await call.tell(PB(USAGE))
    await call.finish()

    assert metadata(last) == {}


async def test_case_60_a_picker_may_be_asked_for_a_list(epp: Picker) -> None:
    picker = plugin("max-score-picker", maxNumOfEndpoints=3)
    epp.serves(P(0, 9), P(1, 3), P(2), P(3, 6), profile=configured("queue-scorer", picker))
    best_first = "192.168.1.3:8000,192.168.1.2:8000,192.168.1.4:8000"

    await epp.transcript((RH(),), (RB(HI), H(best_first, "m"), B(HI)))


@pytest.mark.parametrize(
    ("headers", "tenant"),
    [
        ({"x-claude-code-session-id": "agent"}, "agent"),
        ({"x-team-session": "ours"}, "ours"),
        ({"session_id": "later", "x-session-affinity": "agent"}, "agent"),
        ({"x-claude-code-session-id": "agent", "x-llm-d-inference-fairness-id": "team"}, "team"),
        ({}, "default-flow"),
    ],
)
async def test_case_65_an_agents_session_is_the_tenant_of_a_request_without_one(
    epp: Picker, headers: dict[str, str], tenant: str
) -> None:
    agent = AgentIdentity(("X-Team-Session",))
    epp.serves(P(0), agent=Source("headers", agent.headers))
    removed = tuple(name for name in headers if name.startswith("x-llm-d"))
    await epp.transcript((RH(headers),), (RB(HI), H(A, "m", removed=removed), B(HI)))

    assert epp.receipt is not None
    assert epp.receipt.tenant == tenant


REVISION = "disaggregatedset.x-k8s.io/revision"


async def test_case_67_screeners_that_leave_nobody_are_a_503(epp: Picker) -> None:
    screener = plugin("disaggregatedset-rollout-screener", headerName="x-revision")
    epp.serves(P(0, labels={REVISION: "old"}), P(1, labels={REVISION: "new"}), profile=configured(screener))
    refused = IR(503, "screeners eliminated all endpoint candidates", "no_endpoints", "rejected-no-endpoints", "1")

    await epp.transcript((RH({"x-revision": "new"}),), (RB(HI), H(B2, "m"), B(HI)))
    assert epp.receipt is not None
    rows = epp.receipts.render(epp.receipt)["endpoints"]
    left_out = [(row["address"], row["reason"]) for row in rows if row["excluded"]]
    assert left_out == [(A, "disaggregatedset-rollout-screener")]

    await epp.transcript((RH({"x-revision": "newer"}),), (RB(HI), refused))
    told = epp.receipts.render(epp.receipt)
    assert told["outcome"] == "no_endpoints"
    assert [(row["model"], row["reason"]) for row in told["candidates"]] == [("m", "screened")]


async def test_case_67_a_rollout_keeps_prefill_and_decode_on_one_revision(epp: Picker) -> None:
    pods = [P(n, labels={REVISION: "old" if n % 2 else "new", **ROLES[n // 2]}) for n in range(6)]
    epp.serves(*pods, profile=disaggregated("disaggregatedset-rollout-screener"))
    revision = {pod.address: pod.labels[REVISION] for pod in pods}
    pairs = set()
    for n in range(20):
        _, told = await answer(epp, {}, f"r{n}")
        decode, prefill = (b64decode(told[name]).decode() for name in (SESSION, PREFILL_SESSION))
        pairs.add(tuple(revision[pods[int(name.removeprefix("pod"))].address] for name in (decode, prefill)))

    assert pairs == {("old", "old"), ("new", "new")}


@pytest.mark.parametrize(
    ("asked", "subset", "to"),
    [
        ("192.168.1.3", None, C),
        ("192.168.1.9, 192.168.1.3:8000", None, C),
        ("192.168.1.3,192.168.1.1", ["192.168.1.1:8000"], A),
    ],
)
async def test_case_74_a_test_names_its_endpoint_among_those_allowed(
    epp: Picker, asked: str, subset: list[str] | None, to: str
) -> None:
    epp.serves(P(0), P(1), P(2, 50), profile=configured("header-based-testing-filter", "queue-scorer"))

    await epp.transcript((RH({TEST: asked}),), (RB(HI, subset=subset), H(to, "m"), B(HI)))


async def test_case_74_who_served_is_told_where_a_test_asks_for_it(epp: Picker) -> None:
    epp.serves(P(0), profile=configured("destination-endpoint-served-verifier", "queue-scorer"))
    name = "x-conformance-test-served-endpoint"

    for served in (A, None):
        said = served or "fail: missing destination endpoint served metadata"
        await epp.transcript((RH(),), (RB(HI), H(A, "m"), B(HI)), (PH(served=served), AH("m", more={name: said})))


@pytest.mark.parametrize("kind", ["session-affinity-filter", "session-affinity-scorer"])
async def test_case_75_a_session_stays_where_its_token_says(epp: Picker, kind: str) -> None:
    epp.serves(*map(P, range(6)), profile=configured(kind))
    first, told = await answer(epp, {})
    again = {(await answer(epp, {SESSION: told[SESSION]}, f"r{n}"))[0] for n in range(10)}

    number = int(first.split(".")[3].split(":")[0]) - 1
    assert told[SESSION] == b64encode(f"pod{number}".encode()).decode()
    assert again == {first}


async def test_case_75_the_token_names_who_served(epp: Picker) -> None:
    epp.serves(P(0), P(1), profile=configured("session-affinity-filter"))
    call = epp.open()
    await call.tell(RH())
    await call.tell(RB(HI))
    (answered,) = await call.tell(PH(served="192.168.1.2:8000"))
    await call.finish()

    told = {o.header.key: o.header.raw_value for o in answered.response_headers.response.header_mutation.set_headers}
    assert told[SESSION] == b64encode(b"pod1")


ROLES = ({"llm-d.ai/role": "prefill"}, {"llm-d.ai/role": "prefill"}, {"llm-d.ai/role": "decode"})


def disaggregated(*more: Any, decider: str = "") -> Scheduler:
    sticky = plugin(
        "session-affinity-filter", "sticky", profileName="prefill", encodedEndpointHeader={"header": PREFILL_SESSION}
    )
    return configured(
        "decode-filter",
        "prefill-filter",
        "session-affinity-filter",
        sticky,
        *more,
        plugin("disagg-profile-handler", **({"deciders": {"prefill": decider}} if decider else {})),
        profiles={"decode": ["decode-filter", "session-affinity-filter"], "prefill": ["prefill-filter", "sticky"]},
    )


async def test_case_76_prefill_and_decode_have_a_token_each(epp: Picker) -> None:
    pods = [P(n, labels=labels) for n, labels in enumerate(ROLES)]
    epp.serves(*pods, profile=disaggregated())
    to, told = await answer(epp, {})
    tokens = {name: told[name] for name in (SESSION, PREFILL_SESSION)}
    again = [(await answer(epp, tokens, f"r{n}"))[1] for n in range(6)]

    assert to == C
    assert tokens[SESSION] == b64encode(b"pod2").decode()
    assert tokens[PREFILL_SESSION] in {b64encode(name).decode() for name in (b"pod0", b"pod1")}
    assert all(answered.items() >= tokens.items() for answered in again)


async def test_case_76_where_nobody_prefills_apart_there_is_no_token_for_it(epp: Picker) -> None:
    pods = [P(n, labels=labels) for n, labels in enumerate(ROLES)]
    epp.serves(*pods, profile=disaggregated("prefix-based-pd-decider", decider="prefix-based-pd-decider"))
    _, told = await answer(epp, {})

    assert SESSION in told
    assert PREFILL_SESSION not in told


async def test_case_77_a_session_is_pinned_by_its_own_name_before_its_agents(epp: Picker) -> None:
    sources = [{"header": "x-session-id"}, {"header": "x-claude-code-session-id"}]
    pinned = plugin("session-affinity-filter", strategy="session_id", sessionId={"sources": sources})
    epp.serves(*map(P, range(6)), profile=configured(pinned))
    both = {"x-session-id": "s", "x-claude-code-session-id": "agent"}
    first, told = await answer(epp, both)
    by_name = {(await answer(epp, {**both, "x-claude-code-session-id": f"a{n}"}, f"r{n}"))[0] for n in range(8)}
    by_agent = {(await answer(epp, {"x-claude-code-session-id": "s"}, f"s{n}"))[0] for n in range(8)}

    assert SESSION not in told
    assert by_name == by_agent == {first}


@pytest.mark.parametrize("headers", [{}, {"x-prefiller-host-port": "6.6.6.6:1", "x-encoder-hosts-ports": "6.6.6.6:1"}])
async def test_case_78_the_prefill_endpoint_is_ours_to_name(epp: Picker, headers: dict[str, str]) -> None:
    profile = configured(
        "decode-filter",
        "prefill-filter",
        plugin("prefix-based-pd-decider", nonCachedTokens=100),
        plugin("disagg-profile-handler", deciders={"prefill": "prefix-based-pd-decider"}),
        profiles={"decode": ["decode-filter"], "prefill": ["prefill-filter"]},
    )
    pods = (P(0, labels=ROLES[0], ip="fd00::7"), P(2, labels=ROLES[2]))
    epp.serves(*(P(p.number, ip=f"[{p.ip}]" if p.ip else "", labels=p.labels) for p in pods), profile=profile)
    long = ask("m", "what was said before, at length. " * 60)
    encoders = tuple(name for name in headers if name == "x-encoder-hosts-ports")

    call = epp.open()
    await call.says(
        (RH(headers),),
        (RB(long), H(C, "m", more={"x-prefiller-host-port": "[fd00::7]:8000"}, removed=encoders), B(long)),
    )
    working, tokens = epp.inflight, [e.inflight_tokens for e in epp.pool.endpoints]
    await call.says((PH(), AH("m")))
    await call.tell(PB(b"{", eos=False))
    decoding = epp.inflight
    await call.tell(PB(b"}"))
    await call.finish()
    await epp.transcript((RH(headers),), (RB(HI), H(C, "m", removed=tuple(sorted(headers))), B(HI)))

    assert (working, decoding, epp.inflight) == ([1, 1], [0, 1], [0, 0])
    assert tokens[0] > 400, "the prompt is for the prefill endpoint to compute"
    assert tokens[1] == 0


async def test_case_78_who_prefills_is_let_go_when_the_client_gives_up(epp: Picker) -> None:
    profile = configured(
        "decode-filter",
        "prefill-filter",
        "disagg-profile-handler",
        profiles={"decode": ["decode-filter"], "prefill": ["prefill-filter"]},
    )
    epp.serves(P(0, labels=ROLES[0]), P(2, labels=ROLES[2]), profile=profile)
    call = epp.open()
    await call.tell(RH())
    await call.tell(RB(HI))
    working = epp.inflight
    await call.reset()

    assert (working, epp.inflight) == ([1, 1], [0, 0])


@pytest.mark.parametrize("modes", [(DUPLEX, NONE), (DUPLEX, DUPLEX)])
async def test_case_78_a_rank_is_named_and_the_request_goes_to_the_primary_port(
    epp: Picker, modes: tuple[int, int]
) -> None:
    ranks = [P(0, port=8000 + rank, q=5 - rank) for rank in range(3)]
    profile = configured("queue-scorer", "data-parallel-profile-handler", profiles={"default": ["queue-scorer"]})
    epp.serves(*ranks, profile=profile, fallbacks=2)
    call = epp.open()
    more = {"x-data-parallel-host-port": "192.168.1.1:8002"}
    await call.says((RH(modes=modes),), (RB(HI), H(A, "m", more=more), B(HI)))
    before = epp.inflight
    await call.says((PH(served=A), AH("m")))
    after = epp.inflight
    await call.finish()

    assert before == after == [0, 0, 1], "the gateway says that the primary port served, and it did for the rank"
