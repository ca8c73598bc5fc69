"""What an alias means while semantic routing is off."""

from __future__ import annotations

import pytest

from epp.chooser import DefaultModelChooser
from epp.domain import Reason, Refused
from tests.make import pool, request

TWO = {"a": ["llama3-8b"], "b": ["phi4-mini"]}


@pytest.mark.parametrize(
    ("models", "default", "expected"),
    [
        (TWO, "phi4-mini", "phi4-mini"),
        ({"a": ["llama3-8b"], "b": ["llama3-8b"]}, None, "llama3-8b"),
        ({"a": ["llama3-8b", "auto"], "b": ["llama3-8b", "auto"]}, None, "llama3-8b"),
        ({"a": ["llama3-8b", "auto"], "b": ["phi4-mini"]}, None, "auto"),
    ],
)
async def test_it_is_the_default_the_only_model_or_a_servers_own_name(
    models: dict[str, list[str]], default: str | None, expected: str
) -> None:
    chooser = DefaultModelChooser(pool("a", "b", models=models), default)

    assert "auto" in chooser.aliases
    assert (await chooser.choose(request("auto"))).candidates[0].model == expected


async def test_it_means_nothing_where_there_is_a_choice_and_no_default() -> None:
    with pytest.raises(Refused, match="semantic routing is off and no default is set") as refused:
        await DefaultModelChooser(pool("a", "b", models=TWO), None).choose(request("auto"))
    assert refused.value.reason is Reason.MODEL_NOT_FOUND
