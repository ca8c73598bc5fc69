"""What a turn has of the turns before it."""

from semantic.asked import Asked
from semantic.sessions import Keys, Sessions
from semantic.signals.api import DOMAIN
from tests.semantic.fakes import LONG_S, Told, chat
from tests.semantic.stage import chosen, edited, stage


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
