"""What the logging flags change."""

from __future__ import annotations

import io
import json
import logging
import sys
import time
from typing import Any

import pytest

from epp.cli import logs
from epp.settings import parse


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        ([], logging.INFO),
        (["-v=0"], logging.ERROR),
        (["-v=1"], logging.WARNING),
        (["--v", "4"], logging.DEBUG),
        (["--zap-log-level=error"], logging.ERROR),
        (["--zap-log-level=panic"], logging.CRITICAL),
        (["--zap-log-level=info", "-v=5"], logging.INFO),
        (["--zap-log-level=5", "-v=0"], logging.DEBUG),
    ],
)
def test_levels_are_what_the_flags_ask_for(flags: list[str], level: int) -> None:
    assert logs.level(parse(flags)) == level


def test_json_is_one_object_a_line_whatever_is_said() -> None:
    record = logging.LogRecord("epp.app", logging.WARNING, __file__, 1, 'two\nlines of "%s"', ("text",), None)
    line = logs.JsonLines().format(record)
    told = json.loads(line)

    assert "\n" not in line
    assert (told["level"], told["logger"], told["msg"]) == ("warning", "epp.app", 'two\nlines of "text"')
    assert told["ts"].endswith("+00:00")


def test_json_keeps_the_traceback() -> None:
    try:
        raise KeyError("gone")
    except KeyError:
        record = logging.LogRecord("epp", logging.ERROR, __file__, 1, "defect", (), sys.exc_info())
    told = json.loads(logs.JsonLines().format(record))

    assert "KeyError: 'gone'" in told["stacktrace"]


def test_what_a_line_is_about_is_in_both_forms() -> None:
    record = logging.LogRecord("epp.digest", logging.WARNING, __file__, 1, "a request was refused", (), None)
    record.told = {"reason": "queue_full", "receipt": "c0ffee"}

    assert json.loads(logs.JsonLines().format(record))["receipt"] == "c0ffee"
    assert logs.Text().format(record).endswith("a request was refused (reason=queue_full receipt=c0ffee)")


class Lines:
    """A logger that writes to memory, on a clock that is set."""

    def __init__(self) -> None:
        self.at = 0.0
        self.written = io.StringIO()
        self.handler = logs.Bounded(self.written, now=lambda: self.at)
        self.handler.setFormatter(logs.JsonLines())
        self.log = logging.Logger("epp.test")
        self.log.addHandler(self.handler)

    @property
    def said(self) -> list[Any]:
        return [json.loads(line) for line in self.written.getvalue().splitlines()]


def test_a_flood_of_one_kind_is_bounded_and_counted_and_keeps_no_other_line_out() -> None:
    lines = Lines()
    for n in range(1000):
        lines.log.warning("endpoint %d is gone", n)
    lines.log.warning("the lease is lost")
    lines.at = logs.EVERY_S
    lines.log.warning("endpoint %d is gone", 1000)

    told = [each["msg"] for each in lines.said]
    assert len(told) == logs.BURST + 3
    assert told[logs.BURST] == "the lease is lost"
    assert told[logs.BURST + 1] == f"{1000 - logs.BURST} more lines like this were left out: endpoint %d is gone"
    assert lines.said[logs.BURST + 1]["suppressed"] == 1000 - logs.BURST
    assert told[-1] == "endpoint 1000 is gone"


def test_what_was_left_out_is_said_though_nothing_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "EVERY_S", 0.05)
    lines = Lines()
    for n in range(logs.BURST + 5):
        lines.log.warning("endpoint %d is gone", n)
    for _ in range(200):
        if len(lines.said) > logs.BURST:
            break
        time.sleep(0.02)

    assert [each.get("suppressed") for each in lines.said][-1] == 5


def test_what_was_left_out_is_said_at_the_end() -> None:
    lines = Lines()
    for n in range(logs.BURST + 5):
        lines.log.warning("endpoint %d is gone", n)
    lines.handler.close()

    assert lines.said[-1]["suppressed"] == 5


def test_kinds_are_bounded() -> None:
    lines = Lines()
    for n in range(3 * logs.KINDS_MAX):
        lines.log.warning(f"made up anew {n}")

    assert len(lines.handler._kinds) <= logs.KINDS_MAX
