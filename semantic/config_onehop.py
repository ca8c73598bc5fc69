"""Reads the top-level block `onehop`: what vSR's format has no words for. Everything in it is off without it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from semantic.config_names import Names
from semantic.reading import Section, nearest
from semantic.rules import Decision

GuardKind = Literal["jailbreak", "pii"]
WAITING_REQUESTS = 4


@dataclass(frozen=True, slots=True)
class GuardRule:
    """What a guard that matches does, to requests for an alias and for an explicit model alike.

    `blocks` False observes. `blocks_unknown` is for what could not be judged in time or not be read at all.
    """

    kind: GuardKind
    name: str
    blocks: bool = False
    blocks_unknown: bool = False


@dataclass(frozen=True, slots=True)
class Extras:
    """`efforts`: by decision, how many requests must wait at an endpoint before reasoning is lowered there.

    `stay` keeps a follow-up with its model, `prior` is the weight of the conversation's earlier category when a turn
    alone is not clear (0 to 1).
    """

    guards: tuple[GuardRule, ...] = ()
    efforts: Mapping[str, float] = field(default_factory=dict)
    stay: bool = True
    prior: float = 0.5


def read_onehop(section: Section, names: Names, decisions: tuple[Decision, ...]) -> Extras:
    """The block, checked against what the file declares."""
    guards = tuple(guard for one in section.sections("guards") if (guard := _guard(one, names)) is not None)
    efforts: dict[str, float] = {}
    known = {decision.name for decision in decisions}
    for one in section.sections("effort_under_load"):
        name = one.required("decision")
        if name and name not in known:
            one.report.mistake(one.at("decision"), f"there is no decision {name!r}{nearest(name, known)}")
        efforts[name] = one.number("waiting_requests", WAITING_REQUESTS)
        one.done()
    conversation = section.section("conversation")
    stay = conversation.flag("stay", default=True)
    prior = conversation.number("prior", 0.5)
    if not 0 <= prior <= 1:
        conversation.report.mistake(conversation.at("prior"), "should lie between 0 and 1")
    conversation.done()
    section.done()
    return Extras(guards, efforts, stay, prior)


def _guard(section: Section, names: Names) -> GuardRule | None:
    kind, name = section.required("type"), section.required("name")
    action, unknown = section.text("action", "observe"), section.text("on_unknown", "allow")
    section.done()
    if action not in ("observe", "block"):
        section.report.mistake(section.at("action"), f"{action!r} is neither 'observe' nor 'block'")
    if unknown not in ("allow", "block"):
        section.report.mistake(section.at("on_unknown"), f"{unknown!r} is neither 'allow' nor 'block'")
    known = next((one for one in get_args(GuardKind) if one == kind), None)
    if known is None:
        if kind:
            section.report.mistake(section.at("type"), f"{kind!r} is neither 'jailbreak' nor 'pii'")
        return None
    declared = names.signals.get(kind, {})
    if name and name not in declared:
        hint = nearest(name, declared)
        section.report.mistake(section.at("name"), f"the {kind} {name!r} is not in routing.signals.{kind}{hint}")
        return None
    if declared.get(name) is None:
        # Not to be passed over, not even leniently: a guard that is asked to block and cannot is a hole.
        if action == "block":
            section.report.mistake(section.path, f"the {kind} {name!r} cannot be computed, so it could not block")
        return None
    return GuardRule(known, name, action == "block", unknown == "block")
