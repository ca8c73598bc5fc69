"""From the semantic stage to the wire: body and header edits, guards, answers of our own, effort by load."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from epp.chooser import SemanticChooser, asked
from epp.domain import Candidate, Choice, Edit, Load, Request
from epp.outcome import Answered, Routed
from epp.protocol.messages import Decide
from semantic.router import SemanticRouter
from semantic.signals.api import DOMAIN, PII
from tests.make import POST, FixedChooser, chat, director, pool
from tests.semantic.fakes import Told
from tests.semantic.stage import GUARDS, edited, stage

MODELS = {"a": ["big", "small", "small-law"], "b": ["eyes-7b-instruct"]}
LONG_S = 30.0


def ask(body: bytes, path: str = "/v1/chat/completions", **headers: str) -> Decide:
    return Decide({**POST, ":path": path, **headers}, body, None)


def over(router: SemanticRouter) -> SemanticChooser:
    return SemanticChooser(lambda: router, LONG_S)


async def outcome_of(router: SemanticRouter, decide: Decide, **more: Any) -> Routed | Answered:
    return await director(pool("a", "b", models=MODELS), over(router), **more).decide(decide)


async def routed(router: SemanticRouter, decide: Decide, **more: Any) -> Routed:
    found = await outcome_of(router, decide, **more)
    assert isinstance(found, Routed), found
    return found


async def answered(router: SemanticRouter, decide: Decide) -> Answered:
    found = await outcome_of(router, decide)
    assert isinstance(found, Answered), found
    return found


def body_of(found: Routed) -> dict[str, Any]:
    assert found.route.body is not None
    out: dict[str, Any] = json.loads(found.route.body)
    return out


async def test_reasoning_is_edited_into_the_body_beside_the_model() -> None:
    found = await routed(stage(), ask(chat("auto", "about physics", seed=12345678901234567890123)))

    assert body_of(found)["model"] == "big"
    assert body_of(found)["chat_template_kwargs"] == {"enable_thinking": True}
    assert found.route.body is not None
    assert b'"seed": 12345678901234567890123' in found.route.body
    assert dict(found.route.response_headers)["x-vsr-selected-decision"] == "physics"


async def test_the_clients_own_reasoning_stays_as_it_is() -> None:
    own = {"chat_template_kwargs": {"enable_thinking": False}}
    found = await routed(stage(), ask(chat("auto", "about physics", **own)))

    assert found.route.body == chat("big", "about physics", **own)


PLUGINS = [
    {"type": "system_prompt", "configuration": {"system_prompt": "Be exact.", "mode": "insert"}},
    {
        "type": "header_mutation",
        "configuration": {"add": [{"name": "X-Tier", "value": "premium"}], "delete": ["X-Debug", "X-None"]},
    },
    {"type": "request_params", "configuration": {"blocked_params": ["logprobs"], "max_tokens_limit": 10}},
]


async def test_plugins_change_body_and_headers() -> None:
    decisions = [{"name": "all", "modelRefs": [{"model": "small"}], "plugins": PLUGINS}]
    sent = chat("auto", "hello", logprobs=True, max_tokens=99)
    found = await routed(stage(edited(decisions=decisions)), ask(sent, **{"x-debug": "1"}))
    body = body_of(found)

    assert [m["content"] for m in body["messages"]] == ["Be exact.", "hello"]
    assert (body["model"], body["max_tokens"], "logprobs" in body) == ("small", 10, False)
    assert ("x-tier", "premium") in found.route.set_headers
    assert found.route.remove_headers == ["x-debug"]


async def test_servers_get_their_name_and_routes_get_the_models() -> None:
    decisions = [{"name": "all", "modelRefs": [{"model": "eyes"}]}]
    found = await routed(stage(edited(decisions=decisions)), ask(chat("auto", "hello")))

    assert body_of(found)["model"] == "eyes-7b-instruct"
    assert [value for name, value in found.route.set_headers if name == "x-selected-model"] == ["eyes"]
    assert found.route.model_changed


async def test_a_lora_is_what_the_request_asks_for() -> None:
    found = await routed(stage(), ask(chat("auto", "about law")))

    assert body_of(found)["model"] == "small-law"


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [("a jailbreak", 403, "guard_jailbreak"), ("from a@b.c", 403, "guard_pii")],
)
@pytest.mark.parametrize("model", ["auto", "big"])
async def test_guards_that_block_refuse_aliases_and_explicit_models(
    model: str, text: str, status: int, code: str
) -> None:
    found = await answered(stage(edited(onehop={"guards": GUARDS})), ask(chat(model, text)))
    error = json.loads(found.immediate.body)["error"]

    assert (found.immediate.status, error["code"]) == (status, code)
    assert found.receipt.outcome == code
    assert text not in error["message"]


async def test_guards_that_observe_let_explicit_models_be() -> None:
    told = Told()
    found = await routed(stage(told=told), ask(chat("big", "a jailbreak")))

    assert (found.receipt.model, told.asked) == ("big", [])


async def test_an_explicit_model_that_passes_its_guards_goes_where_it_asked_to() -> None:
    found = await routed(stage(edited(onehop={"guards": GUARDS})), ask(chat("small", "hello")))

    assert (found.receipt.model, found.route.body) == ("small", None)


@pytest.mark.parametrize("body", [b"\x1f\x8b compressed", b"not json"])
async def test_what_cannot_be_read_does_not_pass_a_guard_that_must_know(body: bytes) -> None:
    router = stage(edited(onehop={"guards": GUARDS}))
    found = await answered(router, ask(body, **{"content-type": "text/plain", "content-encoding": "gzip"}))

    assert found.receipt.outcome == "guard_unknown"


async def test_a_guard_that_must_know_is_not_talked_out_of_it_by_a_defect() -> None:
    router = stage(edited(onehop={"guards": GUARDS}))

    class Broken(SemanticChooser):
        async def choose(self, request: Request) -> Choice:
            raise RuntimeError("defect")

    broken = director(pool("a", models=MODELS), Broken(lambda: router, LONG_S))
    open_one = director(pool("a", models=MODELS), Broken(stage, LONG_S))
    found = await broken.decide(ask(chat("auto", "hello")))

    assert isinstance(found, Answered)
    assert found.receipt.outcome == "guard_unknown"
    assert isinstance(await open_one.decide(ask(chat("auto", "hello"))), Routed)


async def test_a_guard_in_time_that_may_be_unknown_lets_the_request_go_on() -> None:
    router = stage(edited(onehop={"guards": GUARDS[:1]}), Told(silent=frozenset({"safety"})))

    assert isinstance(await outcome_of(router, ask(chat("auto", "about math"))), Routed)


async def test_one_that_may_not_be_unknown_does_not() -> None:
    router = stage(edited(onehop={"guards": GUARDS}), Told(silent=frozenset({PII})))

    assert (await answered(router, ask(chat("big", "hello")))).receipt.outcome == "guard_unknown"


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("/v1/chat/completions", chat("auto", "forbidden"), lambda d: d["choices"][0]["message"]["content"]),
        ("/v1/completions", b'{"model":"auto","prompt":"forbidden"}', lambda d: d["choices"][0]["text"]),
        (
            "/v1/messages",
            b'{"model":"auto","max_tokens":9,"messages":[{"role":"user","content":"forbidden"}]}',
            lambda d: d["content"][0]["text"],
        ),
        ("/v1/responses", b'{"model":"auto","input":"forbidden"}', lambda d: d["output"][0]["content"][0]["text"]),
    ],
)
async def test_a_fast_response_looks_like_an_answer_of_its_api(path: str, body: bytes, text: Any) -> None:
    found = await answered(stage(), ask(body, path))
    headers = dict(found.immediate.headers)

    assert (found.immediate.status, text(json.loads(found.immediate.body))) == (200, "No.")
    assert headers["content-type"] == "application/json"
    assert headers["x-vsr-fast-response"] == "true"
    assert headers["x-vsr-response-path"] == "fast_response"
    assert headers["x-vsr-selected-decision"] == "blocked"


async def test_a_fast_response_to_a_stream_is_a_stream() -> None:
    found = await answered(stage(), ask(chat("auto", "forbidden", stream=True)))
    lines = found.immediate.body.decode().strip().split("\n\n")
    deltas = [json.loads(line.removeprefix("data: "))["choices"][0] for line in lines[:-1]]

    assert dict(found.immediate.headers)["content-type"] == "text/event-stream"
    assert [d["delta"].get("content") for d in deltas] == ["No.", None]
    assert deltas[-1]["finish_reason"] == "stop"
    assert lines[-1] == "data: [DONE]"


async def test_an_anthropic_stream_has_events_of_its_own() -> None:
    body = b'{"model":"auto","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"forbidden"}]}'
    found = await answered(stage(), ask(body, "/v1/messages"))
    names = [line.removeprefix("event: ") for line in found.immediate.body.decode().splitlines() if line[:5] == "event"]

    assert names[0] == "message_start"
    assert names[-1] == "message_stop"


async def test_where_no_text_is_expected_a_fast_response_is_a_refusal() -> None:
    found = await answered(stage(), ask(b'{"model":"auto","input":"forbidden"}', "/v1/embeddings"))

    assert (found.immediate.status, found.receipt.outcome) == (400, "bad_request")


async def test_a_refusal_that_its_receipt_keeps_keeps_nothing_of_the_request() -> None:
    found = await answered(stage(edited(onehop={"guards": GUARDS})), ask(chat("auto", "a jailbreak about math")))
    choice = found.receipt.choice

    assert found.immediate.status == 403
    assert choice is not None
    assert choice.refusal is not None
    assert choice.refusal.__traceback__ is None  # whose frames would hold the body, and the stream


@pytest.mark.parametrize(("waiting", "thinking"), [(0, True), (3, True), (4, False)])
async def test_effort_is_lowered_before_the_model_is_changed(waiting: int, thinking: bool) -> None:
    router = stage(edited(onehop={"effort_under_load": [{"decision": "physics", "waiting_requests": 3}]}))
    busy = pool("a", "b", models=MODELS)
    busy.endpoints[0].load = Load(0.0, waiting=waiting)
    found = await director(busy, over(router)).decide(ask(chat("auto", "about physics")))

    assert isinstance(found, Routed)
    assert body_of(found)["model"] == "big"
    assert body_of(found)["chat_template_kwargs"] == {"enable_thinking": thinking}


async def test_the_receipt_holds_names_and_numbers() -> None:
    router = stage()
    made = director(pool("a", "b", models=MODELS), over(router))
    found = await made.decide(ask(chat("auto", "about math, from a@b.c")))
    shown = made._receipts.get(found.receipt.id)  # what /debug/decisions shows

    assert shown is not None
    assert shown["signals"]["domain"]["label"] == "math"
    assert shown["signals"]["matched"]["pii:mail"] == 1.0
    assert shown["signals"]["coverage"] == {"scanned_bytes": 22, "total_bytes": 22}
    assert "a@b.c" not in json.dumps(shown)


async def test_edits_are_made_once_where_two_filters_ask_in_turn() -> None:
    edit = Edit("set", ("x",), b"1")
    chooser = FixedChooser("big")
    chooser.choice = replace(chooser.choice, candidates=(Candidate("big", edits=(edit,)),))
    over_pool = pool("a", models=MODELS)
    first = await director(over_pool, chooser, first_of_two=True).decide(ask(chat("auto", "hello")))

    assert isinstance(first, Routed)
    assert body_of(first)["x"] == 1


async def test_a_second_filter_that_sees_the_edited_body_does_not_edit_it_again() -> None:
    prompt = {"type": "system_prompt", "configuration": {"system_prompt": "Be exact."}}
    decisions = [{"name": "all", "modelRefs": [{"model": "small"}], "plugins": [prompt]}]
    made = director(pool("a", models=MODELS), over(stage(edited(decisions=decisions))))
    first = await made.decide(ask(chat("auto", "hello")))
    assert isinstance(first, Routed)
    assert first.route.body is not None
    second = await made.decide(ask(first.route.body))
    again = await made.decide(ask(chat("auto", "hello")))

    assert isinstance(second, Routed)
    assert second.route.body is None
    assert isinstance(again, Routed)
    assert again.route.body == first.route.body


async def test_the_load_of_a_model_is_that_of_its_endpoints() -> None:
    made = pool("a", "b", models={"a": ["m"], "b": ["m"]})
    made.endpoints[0].inflight_requests, made.endpoints[0].work_s = 4, 2.0
    made.endpoints[1].inflight_requests, made.endpoints[1].work_s = 2, 0.5
    chooser = SemanticChooser(stage, LONG_S, made)
    known, unknown = chooser._measured("m"), chooser._measured("other")

    assert (known.inflight, known.wait_s) == (3.0, 0.5)
    assert (unknown.inflight, unknown.wait_s) == (None, None)


def test_a_request_is_seen_with_its_body_and_session() -> None:
    body = chat("auto", "hi", big=12345678901234567890123, tools=[{}])
    seen = asked(Request("r", model="auto", body=body, prompt=b"[...]", session="s", tenant="t"))

    assert (seen.turns, seen.session, seen.tenant, seen.kind) == ([("user", "hi")], "s", "t", "chat")
    assert seen.body["tools"] == [{}]
    assert seen.legible
    assert not asked(Request("r", body=b"\x1f\x8b")).legible
    assert not asked(Request("r")).legible
    assert asked(Request("r", method="GET")).legible


async def test_a_session_header_names_the_conversation() -> None:
    told = Told()
    router = stage(told=told)
    await routed(router, ask(chat("auto", "about law"), **{"x-session-id": "s-1"}))
    before = len(told.asked)
    again = await routed(router, ask(chat("auto", "and why?"), **{"x-session-id": "s-1"}))

    assert body_of(again)["model"] == "small-law"
    assert DOMAIN not in {name for _, names in told.asked[before:] for name in names}


async def test_a_request_that_is_given_up_while_it_is_checked_leaves_nothing() -> None:
    router = stage(edited(onehop={"guards": GUARDS}), Told(slow=True))
    made_pool = pool("a", models=MODELS)
    made = director(made_pool, SemanticChooser(lambda: router, 60.0))
    deciding = asyncio.create_task(made.decide(ask(chat("big", "hello"))))
    await asyncio.sleep(0.01)
    deciding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await deciding

    assert made_pool.endpoints[0].inflight_requests == 0


IMAGE = [{"type": "text", "text": "about math"}, {"type": "image_url", "image_url": {"url": "data:"}}]


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (chat("auto", "about math"), "small"),
        (chat("auto", "about math", tools=[{"type": "function"}]), "big"),
        (json.dumps({"model": "auto", "messages": [{"role": "user", "content": IMAGE}]}).encode(), "eyes-7b-instruct"),
        (chat("auto", "about math", response_format={"type": "json_object"}), "small"),
    ],
)
async def test_what_a_request_needs_restricts_its_models(body: bytes, model: str) -> None:
    assert (await routed(stage(), ask(body))).receipt.model == model
