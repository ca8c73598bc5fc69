"""Receipts as a person reads them."""

from __future__ import annotations

from typing import Any

import pytest

from epp.cli.receipt_table import lines
from epp.datastore.receipts import Receipts
from epp.domain import Candidate, Choice, Exclusion, GateView, Receipt, Spilled, SpillReason, Usage
from epp.scheduling.pick import Pick
from tests.scheduling.make import endpoint


def pick() -> Pick:
    ends = [endpoint("a"), endpoint("b"), endpoint("c")]
    columns = [("queue-scorer", 1.0, [0.5, 1.0, 0.5]), ("prefix-cache-scorer", 3.0, [1.0, 0.0, 1.0])]
    return Pick(0, ends, [3.5, 1.0, 3.5], columns, [(endpoint("d"), "reachable-filter")])


def receipt(**more: Any) -> dict[str, Any]:
    candidates = (Candidate("big", 0.0, 0.9), Candidate("small", 0.05), Candidate("blind", 0.1), Candidate("rest", 1.0))
    parts: dict[str, Any] = {
        "choice": Choice(candidates, "law_decision", "law", 0.83, "full", "the prompt looks like law (0.83)"),
        "model": "big",
        "excluded": {"blind": Exclusion.IMAGES},
        "picked": "a:8000",
        "pick": pick(),
        "outcome": "completed",
        "status": 200,
        "decided_s": 0.0012,
        "first_answer_s": 0.5012,
        "predicted_ttft_s": 0.4,
        "ended_s": 2.0,
        "prompt_tokens": 1200,
        "cached_tokens": 1024,
        "hashed_tokens": 1152,
    }
    made = Receipt("abc", "r-1", 0.0, "/v1/chat/completions", "auto", **{**parts, **more})
    return Receipts().render(made)


def said(width: int = 100, **more: Any) -> str:
    return "\n".join(lines(receipt(**more), width))


def squeezed(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_what_was_decided_is_said_in_order() -> None:
    rows = squeezed(said())

    assert rows[0] == "RECEIPT abc 1970-01-01 00:00:00 UTC completed (200)"
    for row in (
        "asked for auto, answered by big, decision law_decision",
        "signals domain law (0.83), classification full",
        "why the prompt looks like law (0.83)",
        "went to a:8000",
        "took decided after 1.2 ms, ended after 2.00 s",
        "first token predicted 0.40 s, came 0.50 s after the decision (1.25 of it)",
        "tokens about 1200 in the prompt, 1024 of 1152 looked up were thought to be cached",
    ):
        assert row in rows


def test_every_candidate_has_its_quality_and_why_it_does_not_answer() -> None:
    rows = squeezed(said())

    assert "> big 0.90 ################## answers" in rows
    assert "small 0.95 ###################" in rows
    assert "x blind 0.90 ################## it does not read images" in rows
    assert "rest - the default, where nobody else can answer" in rows


def test_every_endpoint_says_what_it_was_behind_in() -> None:
    rows = squeezed(said())

    assert "> a:8000 3.50 #################### queue 0.50, prefix-cache 1.00" in rows
    assert "b:8000 1.00 ###### 2.50 less, most in prefix-cache (0.00, not 1.00)" in rows
    assert "c:8000 3.50 #################### equal: drawn by lot" in rows
    assert "x d:8000 - left out by reachable-filter" in rows


@pytest.mark.parametrize(
    ("spill", "words"),
    [
        (
            Spilled("big", "small", SpillReason.WAIT, 4.0, 4.5, 0.05),
            "from big to small: it would have waited 4.00 s; first token predicted after 50.0 ms, not 4.50 s",
        ),
        (
            Spilled("big", None, SpillReason.HELD_SHARE, 4.0, 4.5, 0.5),
            "stayed with big in spite of a predicted wait of 4.00 s: enough requests had left it already",
        ),
        (
            Spilled("big", "small", SpillReason.NO_ENDPOINT),
            "from big to small: no endpoint of its own could be used",
        ),
        (
            Spilled("big", "small", SpillReason.SESSION, 0.0, 0.9, 0.1),
            "from big to small: its conversation had been sent there before; first token predicted after 0.10 s, not "
            "0.90 s",
        ),
    ],
)
def test_a_spill_is_said_in_words(spill: Spilled, words: str) -> None:
    assert f"spill {words}" in " ".join(said(spill=spill).split())


def test_what_another_endpoint_served_and_what_it_counted_is_said() -> None:
    text = said(served="b:8000", usage=Usage(1300, 20, 900), waited_s=1.5)

    assert "a:8000, but b:8000 served it" in text
    assert "by the server 1300 (900 cached) and 20 out" in " ".join(text.split())
    assert "waited 1.50 s for room" in text


def test_a_refusal_says_what_the_client_was_told() -> None:
    text = said(
        choice=None, model=None, picked=None, pick=None, outcome="bad_request", status=400, message="no JSON",
        decided_s=None, first_answer_s=None, predicted_ttft_s=None, ended_s=None, prompt_tokens=0,
    )  # fmt: skip

    assert "bad_request (400)" in text
    assert "refused      no JSON" in text
    assert "MODEL" not in text
    assert "ENDPOINT" not in text


@pytest.mark.parametrize("width", [80, 100, 140])
def test_no_line_is_too_long_and_no_name_moves_the_cursor(width: int) -> None:
    evil = "\x1b[2Jmodel\n" + "x" * 300
    text = said(width, model=evil, choice=Choice((Candidate(evil),), evil, evil, 0.5, "full", "so " * 200), tenant=evil)

    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text


def test_what_the_gate_saw_of_one_without_room_is_said() -> None:
    gate = GateView(
        0.5, 0.5, 3.0, True, ["10.0.0.1:8000", "10.0.0.2:8000"], [(4.0, 0.0, 0.0), (2.0, 0.5, 0.0)], [3, 1], [0, 0]
    )
    text = " ".join(said(gate=gate, slo_ttft_s=3.0, trace_id="4bf9").split())

    assert "trace 4bf9" in text
    assert "3.00 s of prompts waited before it, and the soonest of 2 endpoints, 10.0.0.2:8000, would have begun" in text
    assert "would have begun in 2.00 s; it takes 0.50 s" in text
    assert "it takes 0.50 s itself and was due in 3.00 s" in text


def test_what_took_no_time_at_the_gate_did_not_wait() -> None:
    assert "went on at once" in said(waited_s=0.0004)
    assert "waited 20.0 ms for room" in said(waited_s=0.02)


def test_a_scorer_without_its_input_is_named_with_what_it_lacks() -> None:
    unused = {"kv-cache-utilization-scorer": "no endpoint tells kv_usage"}

    assert "not asked    kv-cache-utilization (no endpoint tells kv_usage)" in said(
        pick=Pick(0, [endpoint("a")], [1.0], [], unused=unused)
    )


def test_signals_that_could_not_be_told_are_named_by_their_kind_once() -> None:
    receipt = {"signals": {"unknown": ["domain:math", "domain:law", "jailbreak:any"], "denied": []}}

    assert "signals      unknown: domain, jailbreak\n" in "\n".join(lines(receipt)) + "\n"


def test_the_quality_of_a_model_that_was_named_is_compared_with_nothing() -> None:
    candidates = [{"model": "m", "quality": 1.0, "margin": 0.0}]
    text = "\n".join(lines({"selected_model": "m", "candidates": candidates}))

    assert "> m" in text
    assert "1.00" not in text
