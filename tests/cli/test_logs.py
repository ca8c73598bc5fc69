"""What the logging flags change."""

from __future__ import annotations

import json
import logging
import sys

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
