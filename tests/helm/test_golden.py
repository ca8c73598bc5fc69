"""A change of the chart shows as a change of the files in golden/; `python -m tests.helm.golden` writes them anew."""

from __future__ import annotations

import pytest

from .chart import needs_helm
from .golden import CASES, FOLDER, rendered


@needs_helm
@pytest.mark.parametrize("name", CASES)
def test_the_chart_renders_what_it_did(name: str) -> None:
    expected = (FOLDER / f"{name}.yaml").read_text()

    assert rendered(CASES[name]) == expected, "on purpose? python -m tests.helm.golden, and read the difference"


def test_every_golden_file_has_its_case() -> None:
    assert {file.stem for file in FOLDER.glob("*.yaml")} == set(CASES)
