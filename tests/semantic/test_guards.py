"""What guards make of facts, each by itself."""

import pytest

from semantic.asked import Asked
from semantic.config_onehop import GuardRule
from semantic.guards import verdict_of
from semantic.rules import NO, UNKNOWN, Facts, yes

ATTACK, MAIL = ("jailbreak", "attack"), ("pii", "mail")
BLOCKS = GuardRule("jailbreak", "attack", blocks=True)
STRICT = GuardRule("pii", "mail", blocks=True, blocks_unknown=True)


@pytest.mark.parametrize(
    ("facts", "refusal", "guard"),
    [
        ({ATTACK: NO, MAIL: NO}, None, None),
        ({ATTACK: yes(0.9), MAIL: NO}, "guard_jailbreak", "jailbreak:attack"),
        ({ATTACK: NO, MAIL: yes()}, "guard_pii", "pii:mail"),
        ({ATTACK: yes(0.9), MAIL: yes()}, "guard_jailbreak", "jailbreak:attack"),
        ({ATTACK: UNKNOWN, MAIL: NO}, None, None),
        ({ATTACK: NO, MAIL: UNKNOWN}, "guard_unknown", "pii:mail"),
        ({ATTACK: NO}, "guard_unknown", "pii:mail"),
    ],
)
def test_a_match_blocks_and_the_unknown_where_the_file_says_so(
    facts: Facts, refusal: str | None, guard: str | None
) -> None:
    assert verdict_of((BLOCKS, STRICT), facts, Asked()) == (refusal, guard)


def test_a_match_comes_before_what_nobody_could_tell_whatever_the_order() -> None:
    assert verdict_of((STRICT, BLOCKS), {ATTACK: yes(0.9)}, Asked()) == ("guard_jailbreak", "jailbreak:attack")


def test_one_that_observes_refuses_nothing_beside_one_that_blocks() -> None:
    """Not even what it was told to do with the unknown."""
    observes = GuardRule("jailbreak", "attack", blocks_unknown=True)

    assert verdict_of((observes, STRICT), {ATTACK: yes(0.9), MAIL: NO}, Asked()) == (None, None)
    assert verdict_of((observes, STRICT), {MAIL: NO}, Asked()) == (None, None)


def test_what_cannot_be_read_is_unknown_whatever_was_found_in_the_rest() -> None:
    unread = Asked(legible=False)

    assert verdict_of((BLOCKS,), {ATTACK: NO}, unread) == (None, None)
    assert verdict_of((STRICT,), {MAIL: NO}, unread) == ("guard_unknown", "pii:mail")
