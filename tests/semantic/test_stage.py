"""The stage from request to choice: what is asked of models, conversations, needs, guards, plugins, recipes."""

import asyncio
import textwrap
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import yaml

from semantic.asked import Asked
from semantic.choice import Choice
from semantic.config import read_config
from semantic.judges.known import Known
from semantic.judges.words import Keywords
from semantic.router import SemanticRouter
from semantic.rules import Key, Verdict
from semantic.select import Measured
from semantic.sessions import Keys, Sessions
from semantic.signals.api import DOMAIN, EMBEDDING, PII, SAFETY, Answer, Seen
from tests.semantic.fakes import EVERYTHING, LONG_S, Told, chat

FILE = textwrap.dedent("""\
    version: v0.3
    providers:
      defaults:
        default_model: big
        default_reasoning_effort: medium
        reasoning_families: {qwen3: {type: chat_template_kwargs, parameter: enable_thinking}}
      models:
        - {name: big, reasoning_family: qwen3, pricing: {prompt_per_1m: 2, completion_per_1m: 4}}
        - {name: small, pricing: {prompt_per_1m: 0.1}}
        - {name: eyes, provider_model_id: eyes-7b-instruct}
    routing:
      modelCards:
        - {name: big, capabilities: [chat, tools], quality_score: 0.9, context_window_size: 100000}
        - {name: small, capabilities: [chat], quality_score: 0.5, loras: [{name: small-law}]}
        - {name: eyes, capabilities: [chat, vision], quality_score: 0.7, context_window_size: 8000}
      signals:
        domains: [{name: math}, {name: law}, {name: physics}, {name: other}]
        keywords: [{name: urgent, keywords: [urgent]}, {name: stop, keywords: [forbidden]}]
        jailbreak: [{name: attack}]
        pii: [{name: mail}]
        language: [{name: es}]
        context: [{name: long, min_tokens: 32K}]
        embeddings: [{name: setup, threshold: 0.8, candidates: [install]}]
        complexity:
          - name: depth
            threshold: 0.5
            hard: {candidates: [proof]}
            easy: {candidates: [quick]}
            composer: {type: domain, name: math}
      decisions:
        - {name: blocked, priority: 99, rules: {type: keyword, name: stop},
           plugins: [{type: fast_response, configuration: {message: No.}}]}
        - {name: hurry, priority: 50, rules: {type: keyword, name: urgent}, modelRefs: [{model: small}]}
        - {name: maths, priority: 10, rules: {type: domain, name: math}, modelRefs: [{model: small}, {model: big}]}
        - {name: laws, priority: 10, rules: {type: domain, name: law},
           modelRefs: [{model: small, lora_name: small-law}]}
        - {name: physics, priority: 10, rules: {type: domain, name: physics},
           modelRefs: [{model: big, use_reasoning: true}, {model: eyes}]}
        - {name: rest, priority: 1, rules: {type: domain, name: other}, modelRefs: [{model: big}]}
    """)


def edited(**changes: object) -> str:
    """FILE with parts of `routing`, or other top-level blocks, replaced."""
    document = yaml.safe_load(FILE)
    for key, value in changes.items():
        if key in document["routing"]:
            document["routing"][key] = value
        else:
            document[key] = value
    return yaml.safe_dump(document)


def stage(text: str = FILE, told: Told | None = None, **more: object) -> SemanticRouter:
    config = read_config(text, provides=EVERYTHING)
    router = SemanticRouter(config, told or Told(), **more)  # type: ignore[arg-type]  # a test's shorthand
    router.prepare()
    return router


async def chosen(router: SemanticRouter, *said: str, **body: object) -> Choice:
    return await router.choose(chat(*said, **body), LONG_S)


async def test_only_what_rules_and_guards_wait_for_is_asked() -> None:
    told = Told()
    await chosen(stage(told=told), "about math, at length and in detail")

    assert {name for _, names in told.asked for name in names} == {DOMAIN, SAFETY, PII}


async def test_each_text_is_looked_at_once() -> None:
    told = Told()
    await chosen(stage(told=told), "about math, at length and in detail")

    assert [text for text, _ in told.asked] == ["about math, at length and in detail"]


async def test_a_rule_that_needs_no_model_is_not_kept_waiting_by_one() -> None:
    told = Told()
    signals = {**yaml.safe_load(FILE)["routing"]["signals"], "jailbreak": [], "pii": []}
    choice = await chosen(stage(edited(signals=signals), told), "this is urgent, and about math")

    assert (choice.decision, choice.classification, told.asked) == ("hurry", "skipped", [])


async def test_where_models_are_silent_rules_are_unknown_and_the_default_answers() -> None:
    choice = await chosen(stage(told=Told(silent=frozenset({DOMAIN}))), "about math")

    assert (choice.decision, choice.models, choice.classification) == (None, ("big",), "degraded")
    assert "domain:math" in choice.unknown


async def test_past_the_deadline_everything_is_unknown() -> None:
    choice = await stage(told=Told(slow=True)).choose(chat("about math"), 0.01)

    assert (choice.decision, choice.classification) == (None, "degraded")


class Nonsense(Told):
    """Answers with what is no number."""

    async def see(self, text: str, wanted: frozenset[str], deadline: float) -> Seen:
        nan = float("nan")
        answers = {name: Answer("benign", nan, {"benign": nan, "jailbreak": nan}) for name in wanted}
        return Seen(answers, (), np.full(9, nan, dtype=np.float32))


async def test_what_is_no_number_is_unknown_and_not_a_no() -> None:
    rules = {
        "operator": "OR",
        "conditions": [
            {"operator": "NOT", "conditions": [{"type": "jailbreak", "name": "attack"}]},
            {"operator": "NOT", "conditions": [{"type": "embedding", "name": "setup"}]},
        ],
    }
    decisions = [{"name": "safe", "rules": rules, "modelRefs": [{"model": "small"}]}]
    choice = await chosen(stage(edited(decisions=decisions), Nonsense()), "hello")

    assert choice.decision is None
    assert {"jailbreak:attack", "embedding:setup"} <= set(choice.unknown)


async def test_words_of_a_long_text_are_compared_beside_the_loop() -> None:
    signals = {**yaml.safe_load(FILE)["routing"]["signals"]}
    signals["keywords"] = [{"name": "urgent", "method": "fuzzy", "keywords": ["urgent"]}, signals["keywords"][1]]
    router = stage(edited(signals=signals))
    text = "word " * 2000 + "urgnt"

    assert (await chosen(router, text)).decision == "hurry"
    assert (await router.choose(chat(text), 0.0)).decision != "hurry"


async def test_no_signal_is_begun_beside_the_loop_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    signals = {**yaml.safe_load(FILE)["routing"]["signals"]}
    first, second = signals["keywords"]
    router, judged, judge = stage(edited(signals=signals)), [], Keywords.judge
    began, ended = threading.Event(), threading.Event()

    def slowly(self: Keywords, known: Known) -> Iterator[tuple[Key, Verdict]]:
        judged.append(self.name)
        began.set()
        assert ended.wait(10)
        return judge(self, known)

    monkeypatch.setattr(Keywords, "judge", slowly)
    late = await router.choose(chat("word " * 2000 + first["keywords"][0] + second["keywords"][0]), 0.5)
    ended.set()
    await asyncio.get_running_loop().shutdown_default_executor()  # the thread is through

    assert began.is_set()
    assert late.decision != "hurry"
    assert len(judged) == 1


async def test_a_fast_response_needs_no_model() -> None:
    choice = await chosen(stage(), "something forbidden")

    assert (choice.answer, choice.candidates, choice.decision) == ("No.", (), "blocked")


async def test_loras_and_provider_names_are_what_servers_are_asked_for() -> None:
    router = stage()
    law = await chosen(router, "about law")
    physics = await chosen(router, "about physics")
    by_name = {candidate.model: candidate for candidate in physics.candidates}

    assert law.models == ("small-law", "big")
    assert physics.models == ("big", "eyes-7b-instruct")
    assert [(h.name, h.value) for h in by_name["eyes-7b-instruct"].headers] == [("x-selected-model", "eyes")]


async def test_reasoning_belongs_to_the_candidate_that_has_it() -> None:
    physics = await chosen(stage(), "about physics")

    assert [len(candidate.edits) for candidate in physics.candidates] == [1, 0]


IMAGE = [{"role": "user", "content": [{"type": "text", "text": "about math"}, {"type": "image_url", "image_url": {}}]}]


@pytest.mark.parametrize(
    ("body", "models"),
    [
        ({}, ("small", "big")),
        ({"tools": [{"type": "function"}]}, ("small", "big")),
        ({"messages": IMAGE}, ("small", "big", "eyes-7b-instruct")),
        ({"response_format": {"type": "json_object"}}, ("small", "big")),
    ],
)
async def test_where_no_model_of_a_decision_can_do_a_task_one_that_can_is_added(
    body: dict[str, object], models: tuple[str, ...]
) -> None:
    choice = await chosen(stage(), "about math", **body)

    assert choice.models == models
    assert {
        c.model: (c.abilities.tools, c.abilities.images) for c in choice.candidates if c.model != "eyes-7b-instruct"
    } == {
        "small": (False, False),
        "big": (True, False),
    }


@pytest.mark.parametrize(
    ("prompt_tokens", "limits", "fits"),
    [
        (99_000, {"max_tokens": 1000}, True),
        (99_000, {"max_tokens": 1001}, False),
        (99_000, {"max_completion_tokens": 1000, "max_tokens": 9999}, True),
        (99_000, {"max_output_tokens": 1001}, False),
        (100_000, {"max_tokens": -5}, True),
        (100_001, {"max_tokens": -5}, False),
        (99_744, {}, True),
        (99_745, {}, False),
        (99_800, {"max_tokens": True}, False),
        (99_800, {"max_tokens": "1"}, False),
    ],
)
async def test_where_prompt_and_answer_fit_into_no_model_of_a_decision_one_with_room_is_added(
    prompt_tokens: int, limits: dict[str, object], fits: bool
) -> None:
    """`big` reads 100,000 tokens and `eyes` 8,000; of `small` nobody says. An answer is taken for 256 tokens."""
    router = stage(edited(decisions=[{"name": "all", "modelRefs": [{"model": "big"}]}]))
    asked = Asked([("user", "about math")], model="auto", body=limits, prompt_tokens=prompt_tokens)

    assert (await router.choose(asked, LONG_S)).models == (("big",) if fits else ("big", "small"))


async def test_how_much_a_model_can_read_is_told() -> None:
    refs = [{"model": "eyes"}, {"model": "big"}]
    decisions = [{"name": "all", "modelRefs": refs}]
    asked = chat("about math")
    long = Asked(asked.turns, model="auto", body={**asked.body, "max_tokens": 2000}, prompt_tokens=7000)

    router = stage(edited(decisions=decisions))
    assert [c.context_tokens for c in (await router.choose(long, LONG_S)).candidates] == [8000, 100000]


async def test_a_follow_up_stays_with_its_model_and_is_not_classified() -> None:
    told = Told()
    router = stage(told=told)
    await chosen(router, "about law")
    before = len(told.asked)
    choice = await chosen(router, "about law", "and why?")

    assert (choice.decision, choice.category, choice.models) == ("laws", "law", ("small-law", "big"))
    assert DOMAIN not in {name for _, names in told.asked[before:] for name in names}


async def test_a_turn_with_words_of_its_own_goes_where_it_belongs() -> None:
    router = stage()
    await chosen(router, "about law")
    choice = await chosen(router, "about law", "now something about math")

    assert choice.decision == "maths"


async def test_a_tool_that_has_answered_changes_nothing() -> None:
    told = Told()
    router = stage(told=told)
    asked = chat("about physics", tools=[{}])
    first = await router.choose(asked, LONG_S)
    before = len(told.asked)
    after_tool = Asked([*asked.turns, ("assistant", ""), ("tool", "about law")], model="auto", body=asked.body)
    second = await router.choose(after_tool, LONG_S)

    assert (second.decision, second.models) == (first.decision, first.models)
    assert DOMAIN not in {name for _, names in told.asked[before:] for name in names}


async def test_the_same_words_asked_anew_are_classified_anew() -> None:
    router = stage()
    first, second = await chosen(router, "about law"), await chosen(router, "about law")

    assert (first.classification, second.classification) == ("full", "full")


async def test_an_unclear_turn_has_the_conversation_as_its_prior() -> None:
    router = stage()
    await chosen(router, "about law")
    alone = await chosen(router, "tell me something else altogether, please")
    within = await chosen(router, "about law", "tell me something else altogether, please")

    assert (alone.category, within.category) == ("other", "law")


async def test_without_a_prior_an_unclear_turn_stands_alone() -> None:
    router = stage(edited(onehop={"conversation": {"prior": 0, "stay": False}}))
    await chosen(router, "about law")

    assert (await chosen(router, "about law", "tell me something else altogether, please")).category == "other"
    assert (await chosen(router, "about law", "and why?")).reason.startswith("the prompt looks like")


async def test_a_conversation_of_another_tenant_is_not_known() -> None:
    router = stage()
    await chosen(router, "about law")
    asked = chat("about law", "and why?")
    other = Asked(asked.turns, model="auto", body=asked.body, tenant="other")

    assert (await router.choose(other, LONG_S)).classification == "full"


async def test_a_session_that_has_a_name_is_known_by_it() -> None:
    router = stage()
    first = Asked([("user", "about law")], model="auto", session="s-1")
    await router.choose(first, LONG_S)
    trimmed = Asked([("user", "and why?")], model="auto", session="s-1")
    another = Asked([("user", "and why?")], model="auto", session="s-2")

    assert (await router.choose(trimmed, LONG_S)).decision == "laws"
    assert (await router.choose(another, LONG_S)).decision != "laws"


async def test_conversations_that_are_remembered_are_bounded() -> None:
    sessions = Sessions(entries_max=2)
    router = stage(sessions=sessions)
    for text in ("about law", "about math", "about physics"):
        await chosen(router, text)

    assert sessions.same(Keys.of(chat("about law"))) is None
    assert sessions.same(Keys.of(chat("about physics"))) is not None


GUARDS = [
    {"type": "jailbreak", "name": "attack", "action": "block"},
    {"type": "pii", "name": "mail", "action": "block", "on_unknown": "block"},
]


async def test_guards_observe_by_default() -> None:
    router = stage()
    choice = await chosen(router, "a jailbreak about math, from a@b.c")

    assert (choice.refusal, choice.decision) == (None, "maths")
    assert {"jailbreak:attack", "pii:mail"} <= set(choice.matched)
    assert not router.blocks


@pytest.mark.parametrize(
    ("text", "silent", "refusal", "guard"),
    [
        ("a jailbreak about math", [], "guard_jailbreak", "jailbreak:attack"),
        ("write to a@b.c about math", [], "guard_pii", "pii:mail"),
        ("about math", [PII], "guard_unknown", "pii:mail"),
        ("about math", [SAFETY], None, None),
        ("about math", [], None, None),
    ],
)
async def test_guards_that_block_cover_aliases_and_explicit_models(
    text: str, silent: list[str], refusal: str | None, guard: str | None
) -> None:
    router = stage(edited(onehop={"guards": GUARDS}), Told(silent=frozenset(silent)))
    by_alias = await chosen(router, text)
    explicit = await router.check(chat(text, model="big"), LONG_S)

    assert router.blocks
    assert (by_alias.refusal, by_alias.guard) == (refusal, guard)
    assert (explicit.refusal, explicit.guard) == (refusal, guard)
    assert bool(by_alias.candidates) == (refusal is None)


async def test_what_cannot_be_read_is_unknown_to_guards_and_no_text_is_nothing_to_object_to() -> None:
    router = stage(edited(onehop={"guards": GUARDS}))
    unread = await router.check(Asked(legible=False), LONG_S)
    nothing = await router.check(Asked(turns=[("user", "")]), LONG_S)

    assert (unread.refusal, nothing.refusal) == ("guard_unknown", None)


async def test_a_guard_looks_at_follow_ups_too() -> None:
    router = stage(edited(onehop={"guards": GUARDS}))
    await chosen(router, "about law")

    assert (await chosen(router, "about law", "and a jailbreak")).refusal == "guard_jailbreak"


async def test_not_an_attack_is_unknown_while_the_guard_is_silent() -> None:
    rules = {"operator": "NOT", "conditions": [{"type": "jailbreak", "name": "attack"}]}
    decisions = [{"name": "safe", "rules": rules, "modelRefs": [{"model": "small"}]}]

    assert (await chosen(stage(edited(decisions=decisions)), "hello")).decision == "safe"
    assert (await chosen(stage(edited(decisions=decisions)), "a jailbreak")).decision is None
    silent = Told(silent=frozenset({SAFETY}))
    assert (await chosen(stage(edited(decisions=decisions), silent), "hello")).decision is None


@pytest.mark.parametrize(
    ("rule", "text", "holds"),
    [
        ({"type": "embedding", "name": "setup"}, "please install it", True),
        ({"type": "embedding", "name": "setup"}, "my cat", False),
        ({"type": "complexity", "name": "depth:hard"}, "a proof about math", True),
        ({"type": "complexity", "name": "depth:hard"}, "a proof about law", False),
        ({"type": "complexity", "name": "depth:easy"}, "quick, about math", True),
        ({"type": "language", "name": "es"}, "hola", True),
    ],
)
async def test_signals_of_models_reach_their_rules(rule: dict[str, str], text: str, holds: bool) -> None:
    told = Told()
    decisions = [{"name": "it", "rules": rule, "modelRefs": [{"model": "small"}]}]
    choice = await chosen(stage(edited(decisions=decisions), told), text)

    assert (choice.decision == "it") is holds
    if rule["type"] != "language":
        assert EMBEDDING in {name for _, names in told.asked for name in names}


FACTORS = {"type": "multi_factor", "multi_factor": {"weights": {"quality": 1, "latency": 0, "cost": 0, "load": 0}}}


def factored(**multi: object) -> str:
    algorithm = {"type": "multi_factor", "multi_factor": multi}
    refs = [{"model": "small"}, {"model": "big"}]
    return edited(decisions=[{"name": "all", "modelRefs": refs, "algorithm": algorithm}])


def weights(**given: float) -> dict[str, float]:
    return {"quality": 0.0, "latency": 0.0, "cost": 0.0, "load": 0.0, **given}


LOADS = {"small": Measured(9, 0.1), "big": Measured(1, 3.0)}


@pytest.mark.parametrize(
    ("multi", "first"),
    [
        ({"weights": weights(quality=1)}, "big"),
        ({"weights": weights(cost=1)}, "small"),
        ({"weights": weights(load=1)}, "big"),
        ({"weights": weights(latency=1)}, "small"),
        ({"weights": weights(quality=1), "slo": {"max_ttft_ms": 1000}}, "small"),
        ({"weights": weights(cost=1), "slo": {"max_inflight": 5}}, "big"),
        ({"weights": weights(quality=1), "slo": {"max_cost_per_1m": 5}}, "small"),
        ({"slo": {"max_inflight": 0.5}, "on_no_candidates": "cheapest"}, "small"),
        ({"slo": {"max_inflight": 0.5}, "on_no_candidates": "first"}, "small"),
    ],
)
async def test_several_factors_order_the_models(multi: dict[str, object], first: str) -> None:
    choice = await stage(factored(**multi)).choose(chat("x"), LONG_S, lambda model: LOADS[model])

    assert choice.models[0] == first


async def test_a_follow_up_stays_with_its_model_though_another_would_be_better_now() -> None:
    router = stage(factored(weights=weights(load=1)))
    turned = {"small": LOADS["big"], "big": LOADS["small"]}
    first = await router.choose(chat("x"), LONG_S, lambda model: LOADS[model])
    follow_up = await router.choose(chat("x", "and why?"), LONG_S, lambda model: turned[model])
    anew = await router.choose(chat("something else"), LONG_S, lambda model: turned[model])

    assert (first.models[0], follow_up.models[0], anew.models[0]) == ("big", "big", "small")


async def test_a_decision_may_rather_fail_than_go_over_its_limits() -> None:
    router = stage(factored(slo={"max_inflight": 0.5}, on_no_candidates="fail"))
    choice = await router.choose(chat("x"), LONG_S, lambda model: LOADS[model])

    assert (choice.refusal, choice.candidates) == ("no_candidates", ())


async def test_effort_is_lowered_only_where_the_decision_allows_it() -> None:
    allowed = stage(edited(onehop={"effort_under_load": [{"decision": "physics", "waiting_requests": 3}]}))
    (big, *_) = (await chosen(allowed, "about physics")).candidates
    (plain, *_) = (await chosen(stage(), "about physics")).candidates

    assert big.waiting_max == 3
    assert big.lowered is not None
    assert [e.value for e in big.edits] == [b'{"enable_thinking": true}']
    assert [e.value for e in big.lowered] == [b'{"enable_thinking": false}']
    assert (plain.lowered, plain.waiting_max) == (None, None)


RECIPES = {
    "entrypoints": [{"model_names": ["vllm-sr/private"], "recipe": "private"}],
    "recipes": [
        {
            "name": "private",
            "routing": {
                "strategy": "confidence",
                "signals": {"keywords": [{"name": "secret", "keywords": ["secret"]}]},
                "decisions": [
                    {"name": "kept", "rules": {"type": "keyword", "name": "secret"}, "modelRefs": [{"model": "small"}]}
                ],
            },
        }
    ],
}


async def test_a_virtual_model_name_leads_to_its_recipe() -> None:
    router = stage(edited(**RECIPES))
    private = await chosen(router, "a secret about math", model="vllm-sr/private")
    usual = await chosen(router, "a secret about math")

    assert "vllm-sr/private" in router.aliases
    assert (private.decision, private.category) == ("kept", None)
    assert usual.decision == "maths"
