"""What is remembered of conversations, under which keys, and what is forgotten first."""

import pytest

from semantic.asked import Asked
from semantic.sessions import Keys, Remembered, Sessions
from tests.semantic.fakes import chat

LAW, MATHS, PHYSICS = (Remembered((name,)) for name in ("law", "maths", "physics"))


def test_the_next_turn_finds_what_the_last_one_led_to() -> None:
    sessions = Sessions()
    sessions.note(Keys.of(chat("about law")), LAW)
    sessions.note(Keys.of(chat("about law", "and maths")), MATHS)

    assert sessions.before(Keys.of(chat("about law", "anything"))) is LAW
    assert sessions.before(Keys.of(chat("about law", "and maths", "anything"))) is MATHS
    assert sessions.same(Keys.of(chat("about law"))) is LAW
    assert sessions.before(Keys.of(chat("about law"))) is None
    assert sessions.before(Keys.of(chat("about", "law", "anything"))) is None


@pytest.mark.parametrize("other", [{"tenant": "other"}, {"model": "other"}, {"session": "other"}])
def test_another_tenant_alias_or_session_is_another_conversation(other: dict[str, str]) -> None:
    known = {"tenant": "t", "model": "auto", "session": "s"}
    sessions = Sessions()
    first = [("user", "about law")]
    sessions.note(Keys.of(Asked(first, **known)), LAW)  # type: ignore[arg-type]  # texts, all three
    next_turn = [*first, ("user", "and why?")]

    assert sessions.before(Keys.of(Asked(next_turn, **known))) is LAW  # type: ignore[arg-type]
    assert sessions.before(Keys.of(Asked(next_turn, **{**known, **other}))) is None  # type: ignore[arg-type]


def test_a_request_without_words_of_a_user_has_no_keys_and_leaves_nothing() -> None:
    sessions = Sessions(entries_max=1)
    sessions.note(Keys.of(chat("about law")), LAW)
    sessions.note(Keys.of(Asked([("system", "about maths")])), MATHS)

    assert Keys.of(Asked([("system", "about maths")])) == Keys()
    assert sessions.same(Keys.of(chat("about law"))) is LAW
    assert sessions.before(Keys()) is None


def test_as_many_as_the_bound_are_kept_and_the_one_that_was_used_least_lately_goes() -> None:
    law, maths, physics = (Keys.of(chat(text)) for text in ("law", "maths", "physics"))
    sessions = Sessions(entries_max=2)
    sessions.note(law, LAW)
    sessions.note(maths, MATHS)
    both = sessions.same(maths), sessions.same(law)  # looked at: now law is the later one
    sessions.note(physics, PHYSICS)

    assert both == (MATHS, LAW)
    assert (sessions.same(law), sessions.same(maths), sessions.same(physics)) == (LAW, None, PHYSICS)


def test_one_that_is_noted_again_was_used_lately() -> None:
    law, maths, physics = (Keys.of(chat(text)) for text in ("law", "maths", "physics"))
    sessions = Sessions(entries_max=2)
    for keys, what in ((law, LAW), (maths, MATHS), (law, LAW), (physics, PHYSICS)):
        sessions.note(keys, what)

    assert (sessions.same(law), sessions.same(maths), sessions.same(physics)) == (LAW, None, PHYSICS)


def test_a_sessions_name_leads_to_its_last_turn_and_what_was_said_to_the_turn_itself() -> None:
    sessions = Sessions()
    sessions.note(Keys.of(Asked([("user", "law")], session="s")), LAW)
    sessions.note(Keys.of(Asked([("user", "maths")], session="s")), MATHS)

    assert sessions.before(Keys.of(Asked([("user", "why?")], session="s"))) is MATHS
    assert sessions.before(Keys.of(Asked([("user", "law"), ("user", "why?")], session="s"))) is LAW
