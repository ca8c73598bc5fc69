"""What guards make of the facts: nothing, or a refusal. Pure.

Must stay true: a guard observes unless it is told to block; one that blocks is not talked out of it by an error.
"""

from collections.abc import Sequence

from semantic.asked import Asked
from semantic.choice import Refusal
from semantic.config_onehop import GuardRule
from semantic.rules import UNKNOWN, Facts, Truth


def verdict_of(rules: Sequence[GuardRule], facts: Facts, asked: Asked) -> tuple[Refusal | None, str | None]:
    """The first guard that objects, in the file's order, and its name; a match comes before what nobody could tell."""
    blocking = [rule for rule in rules if rule.blocks]
    truths = {rule: facts.get((rule.kind, rule.name), UNKNOWN).truth for rule in blocking}
    for rule, truth in truths.items():
        if truth is Truth.YES:
            return ("guard_jailbreak" if rule.kind == "jailbreak" else "guard_pii"), f"{rule.kind}:{rule.name}"
    for rule, truth in truths.items():
        if rule.blocks_unknown and (truth is Truth.UNKNOWN or not asked.legible):
            return "guard_unknown", f"{rule.kind}:{rule.name}"
    return None, None
