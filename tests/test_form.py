"""Which form of the request path runs."""

from __future__ import annotations

import os

from epp.form import form


def test_the_form_that_was_asked_for_runs() -> None:
    """`make test-compiled` asks for the compiled one: its other tests would say nothing of it otherwise."""
    assert form() == os.environ.get("ONEHOP_FORM", "pure Python")
