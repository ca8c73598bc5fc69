"""What cards say together, and what is lost by taking another model."""

import pytest

from semantic.cards import Abilities, abilities, margins


def test_a_word_that_some_card_uses_is_a_no_for_lists_without_it() -> None:
    found = abilities({"big": frozenset({"chat", "Tools"}), "small": frozenset({"chat"}), "new": None})

    assert found == {"big": Abilities(tools=True), "small": Abilities(tools=False), "new": Abilities()}


def test_spellings_of_one_ability_are_the_same_word() -> None:
    found = abilities(
        {
            "a": frozenset({"function-calling", "Structured Outputs"}),
            "b": frozenset({"tools", "json"}),
            "c": frozenset({"omni"}),
            "d": frozenset({"vision", "speech"}),
        }
    )

    assert found["a"] == Abilities(images=False, audio=False, tools=True, json_mode=True)
    assert found["b"] == found["a"]
    assert found["c"] == found["d"] == Abilities(images=True, audio=True, tools=False, json_mode=False)


@pytest.mark.parametrize(
    ("models", "weights", "qualities", "lost"),
    [
        (["a"], [1.0], {}, (0.0,)),
        (["a", "b", "c"], [1.0, 1.0, 1.0], {"a": 0.9, "b": 0.75, "c": 0.95}, (0.0, 0.15, 0.0)),
        (["a", "b"], [1.0, 1.0], {}, (0.0, 0.0)),
        (["a", "b"], [4.0, 3.0], {}, (0.0, 0.25)),
        (["a", "b"], [4.0, 3.0], {"a": 0.5, "b": 0.4}, (0.0, 0.1)),
        (["a", "b"], [4.0, 3.0], {"a": 0.5}, (0.0, 0.25)),
        (["a", "b"], [4.0, 3.0], {"b": 0.4}, (0.0, 0.25)),
        (["a", "b"], [0.0, 0.0], {}, (0.0, 0.0)),
        (["a", "default"], [1.0], {}, (0.0, 1.0)),
        (["a", "default"], [1.0], {"a": 0.9, "default": 0.8}, (0.0, 0.1)),
        (["default"], [], {}, (0.0,)),
    ],
)
def test_margins_come_from_scores_else_from_weights(
    models: list[str], weights: list[float], qualities: dict[str, float], lost: tuple[float, ...]
) -> None:
    assert margins(models, weights, qualities) == lost
