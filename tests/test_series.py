"""Counters, gauges and histograms of our own, held to what the client library makes of the same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Histogram as TheirHistogram
from prometheus_client.parser import text_string_to_metric_families as parsed

from epp.telemetry.series import Counter, Gauge, Histogram, Twin

LABELS = ("model", "tenant")
NAMES = st.sampled_from(["a", "b", 'quo"te', "back\\slash", "new\nline", "ümlaut", ""])
BUCKETS = (0.005, 0.1, 1, 2.5, 1048576)


def samples(text: str) -> Iterator[tuple[Any, ...]]:
    for family in parsed(text):
        for sample in family.samples:
            yield family.name, family.type, family.documentation, sample.name, sample.labels, sample.value


def rendered(family: Counter | Gauge | Histogram) -> str:
    return "".join(family.render())


@given(st.lists(st.tuples(NAMES, NAMES, st.floats(0, 2e6))))
def test_what_is_scraped_is_what_the_client_library_would_write(values: list[tuple[str, str, float]]) -> None:
    families = (
        Counter("things", "Things.", LABELS, [Twin("old_things", ("tenant",), (("tenant", "renter"),))]),
        Gauge("level", "A level.", LABELS, [Twin("old_level", LABELS)]),
        Histogram("spread_seconds", "A spread.", BUCKETS, LABELS, [Twin("old_spread", ("model",))]),
    )
    for model, tenant, value in values:
        families[0].child(model, tenant).inc(value)
        families[1].child(model, tenant).value = value
        families[2].child(model, tenant).observe(value)
    for family in families:
        registry = CollectorRegistry()
        registry.register(family)

        assert list(samples(rendered(family))) == list(samples(generate_latest(registry).decode()))


@given(st.lists(st.floats(0, 2e6) | st.sampled_from(BUCKETS)))
def test_buckets_hold_what_the_client_librarys_hold(values: list[float]) -> None:
    registry = CollectorRegistry()
    theirs = TheirHistogram("spread", "A spread.", buckets=BUCKETS, registry=registry)
    ours = Histogram("spread", "A spread.", BUCKETS)
    for value in values:
        theirs.observe(value)
        ours.child().observe(value)
    expected = {(s.name, *s.labels.values()): s.value for f in registry.collect() for s in f.samples}
    got = {(s.name, *s.labels.values()): s.value for f in ours.collect() for s in f.samples}

    assert got == {key: value for key, value in expected.items() if key != ("spread_created",)}


def test_a_twin_adds_up_what_it_does_not_tell_apart() -> None:
    family = Counter("things", "Things.", LABELS, [Twin("old_things", ("model",), (("model", "kind"),))])
    family.child("m", "one").inc(2)
    family.child("m", "two").inc(3)

    assert 'old_things_total{kind="m"} 5.0\n' in rendered(family)


def test_a_gauge_that_is_read_forgets_what_is_gone() -> None:
    rows = [(("m", "t"), 1.0), (("n", "t"), 2.0)]
    family = Gauge("level", "A level.", LABELS, read=lambda: rows)
    before = rendered(family)
    rows.pop()

    assert 'model="n"' in before
    assert 'model="n"' not in rendered(family)


def test_what_is_forgotten_is_not_shown() -> None:
    family = Counter("things", "Things.", LABELS)
    family.child("m", "t").inc()
    family.child("n", "t").inc()
    family.forget(lambda key: key[0] == "m")

    assert rendered(family).count("things_total{") == 1


@pytest.mark.parametrize("family", [Counter("x", "X."), Gauge("x", "X."), Histogram("x", "X.", BUCKETS)])
def test_a_family_without_labels_is_there_from_the_start(family: Counter | Gauge | Histogram) -> None:
    assert len(list(samples(rendered(family)))) > 0
