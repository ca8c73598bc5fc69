"""The documents say what the code does."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from epp.cli.plugins_page import page
from epp.datastore.receipts import Receipts
from epp.domain import Reason, Receipt
from epp.protocol.headers import SESSION
from epp.scheduling.refused import REFUSED
from epp.scheduling.registry import registered
from epp.telemetry import Telemetry
from epp.telemetry.families import REQUEST
from tests.make import fleet, load, pool

DOCS = Path(__file__).parent.parent / "docs"
OPERATING = (DOCS / "operating.md").read_text()


def test_every_refusal_is_documented_with_its_status() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", OPERATING, re.MULTILINE))

    assert rows == {reason.code: str(reason.status) for reason in Reason}


def test_every_field_of_a_receipt_is_documented_and_no_other() -> None:
    documented = {name for cells in rows("| Field | |") for name in re.findall(r"`(\w+)`", cells[0])}

    assert documented == Receipts().render(Receipt("i", "r", 0.0, "/", None)).keys()


@pytest.mark.parametrize("page_name", ["operating.md", "semantic.md"])
def test_the_headers_that_name_a_conversation_are_all_documented_in_their_order(page_name: str) -> None:
    (told,) = re.findall(r"the first of (?:the headers )?([^.]*?), (?:or|else) by", (DOCS / page_name).read_text())

    assert tuple(re.findall(r"`([^`]+)`", told)) == SESSION


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


def rows(heading: str) -> list[list[str]]:
    """The rows of the table with that first line, cell by cell."""
    lines = OPERATING[OPERATING.index(heading) :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def test_every_metric_says_what_it_is_and_what_to_do() -> None:
    table = rows("| Metric | Labels | Meaning | What to do |")

    assert len(table) > 80
    for name, _, meaning, advice in table:
        assert meaning, name
        assert advice, name


def test_the_labels_of_metrics_are_those_that_are_documented() -> None:
    families = Telemetry(fleet(pool("a"))).families
    names = {f.name + f.suffix: f.labels for f in families} | {
        twin.name + f.suffix: tuple(dict(twin.renamed).get(label, label) for label in twin.labels)
        for f in families
        for twin in f.twins
        if twin.text
    }
    table = rows("| Metric | Labels | Meaning | What to do |") + rows("| Metric | Labels | The same as |")
    before: tuple[str, ...] = ()

    for name, cell, *_ in table:
        said = tuple(re.findall(r"`(\w+)`", cell))
        if cell.startswith("request"):
            said = (*REQUEST, *said)
        elif cell == "likewise":
            said = before
        assert set(said) == set(names[name.strip("`")]), name
        before = said
