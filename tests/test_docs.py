"""The documents say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from epp.domain import Reason
from epp.telemetry import Telemetry
from tests.make import fleet, load, pool

DOCS = Path(__file__).parent.parent / "docs"
OPERATING = (DOCS / "operating.md").read_text()


def test_every_refusal_is_documented_with_its_status() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", OPERATING, re.MULTILINE))

    assert rows == {reason.code: str(reason.status) for reason in Reason}


def test_every_metric_is_documented_and_every_documented_metric_exists() -> None:
    documented = set(re.findall(r"^\| `((?:onehop|llm|inference)_\w+)` \|", OPERATING, re.MULTILINE))
    over = pool("a")
    over.endpoints[0].load = load(waiting=1)
    families = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in Telemetry(fleet(over)).registry.collect()
    }

    assert documented == families
