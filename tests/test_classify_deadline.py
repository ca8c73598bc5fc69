"""A classification may take no longer than the gateway waits for an answer, and the log says so at the start."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from epp.app import App
from epp.flow.settings import GatewayTimeouts
from epp.settings import parse
from tests.make import request
from tests.semantic.stage import FILE

UNBOUNDED = "--message-timeout=0"


class Given(Exception):
    """For how long a classification was told that it may take."""

    def __init__(self, deadline_s: float) -> None:
        self.deadline_s = deadline_s


class Router:
    """Says what it was given instead of an answer."""

    aliases = frozenset({"auto"})

    async def choose(self, asked: Any, deadline_s: float, measured: Any) -> Any:
        raise Given(deadline_s)

    async def check(self, asked: Any, deadline_s: float) -> Any:
        raise Given(deadline_s)


def app(tmp_path: Path, *flags: str) -> App:
    return App(parse([f"--discovery-file={tmp_path / 'endpoints.yaml'}", *flags]))


@pytest.mark.parametrize(
    ("message_s", "answer_s"),
    [(0.5, 0.4), (2.0, 1.6), (5.0, 4.0), (10.0, 9.0), (0.0, inf)],
    ids=["a fifth before", "the default", "a second before", "and no more", "no limit"],
)
def test_an_answer_is_due_a_fifth_of_the_gateways_limit_before_it_or_a_second(
    message_s: float, answer_s: float
) -> None:
    for extended_s in (0.0, 30.0):  # while it classifies nobody asks for more time
        assert GatewayTimeouts(message_s, extended_s).answer_s == pytest.approx(answer_s)


@pytest.mark.parametrize(
    ("flags", "deadline_s"),
    [
        ((), 0.25),
        (("--classify-deadline=5s",), 1.6),
        (("--message-timeout=200ms",), 0.16),
        (("--classify-deadline=5s", "--message-timeout=200ms", "--max-message-timeout=30s"), 0.16),
        (("--classify-deadline=5s", UNBOUNDED), 5.0),
    ],
    ids=["default", "longer than the gateway waits", "a gateway that waits less", "also one that extends", "no limit"],
)
async def test_a_classification_ends_before_the_gateways_patience(
    tmp_path: Path, flags: tuple[str, ...], deadline_s: float
) -> None:
    made = app(tmp_path, *flags)
    stage: Any = SimpleNamespace(router=Router())
    chooser = made._ports.chooser(made.fleet.all, stage)
    for asking in (chooser.choose(request("auto")), chooser.check(request("m"), "m")):
        with pytest.raises(Given) as given:
            await asking

        assert given.value.deadline_s == pytest.approx(deadline_s)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ("--classify-deadline=5s", "--message-timeout=2s"),
            ["--classify-deadline is 1.6 s and not 5: the gateway gives up after --message-timeout, 2 s"],
        ),
        (("--classify-deadline=5s", UNBOUNDED), []),
        ((), []),
    ],
    ids=["cut", "no limit", "default"],
)
async def test_a_deadline_that_is_cut_is_told_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, flags: tuple[str, ...], said: list[str]
) -> None:
    path = tmp_path / "semantic.yaml"
    path.write_text(FILE)
    made = app(tmp_path, f"--semantic-config-file={path}", *flags)
    with caplog.at_level(logging.WARNING, logger="epp.app"):
        async with AsyncExitStack() as closing:
            assert await made._semantic(closing) is not None

    assert [r.getMessage() for r in caplog.records if "--classify-deadline" in r.getMessage()] == said
    assert all(r.levelno == logging.WARNING for r in caplog.records)
