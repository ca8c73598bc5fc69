"""The documents say what the code does."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from epp.cli.plugins_page import page
from epp.domain import Reason
from epp.scheduling.refused import REFUSED
from epp.scheduling.registry import registered
from epp.telemetry import Telemetry
from tests.make import fleet, load, pool

DOCS = Path(__file__).parent.parent / "docs"
OPERATING = (DOCS / "operating.md").read_text()


def test_every_refusal_is_documented_with_its_status() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", OPERATING, re.MULTILINE))

    assert rows == {reason.code: str(reason.status) for reason in Reason}


def test_the_page_of_plugins_is_what_they_say_of_themselves() -> None:
    assert (DOCS / "plugins.md").read_text() == page(), "make plugins-page writes it"


def test_every_plugin_says_what_it_does_and_under_which_name() -> None:
    text = page()
    for name, cls in registered().items():
        assert f"### `{name}`" in text
        assert cls.__doc__ is not None
        assert cls.__doc__ != inspect.getdoc(cls.__mro__[1])
    assert all(f"| `{name}` | " in text for name in REFUSED)


def test_every_metric_is_documented_and_every_documented_metric_exists() -> None:
    documented = set(re.findall(r"^\| `((?:onehop|llm|inference)_\w+)` \|", OPERATING, re.MULTILINE))
    over = pool("a")
    over.endpoints[0].load = load(waiting=1)
    families = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in Telemetry(fleet(over)).registry.collect()
    }

    assert documented == families
