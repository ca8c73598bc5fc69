"""Guards within the stage: aliases and explicit models, follow-ups, silence."""

import pytest

from semantic.asked import Asked
from semantic.signals.api import PII, SAFETY
from tests.semantic.fakes import LONG_S, Told, chat
from tests.semantic.stage import GUARDS, chosen, edited, stage


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
