"""What a trace says of a request, and that a stream's trace ends once, however the stream does."""

from __future__ import annotations

from typing import Any

import pytest

from epp.domain import Candidate, Choice, Receipt, Spilled, SpillReason, Usage
from epp.edge.methods import Disconnected
from epp.edge.stream import Shared, Stream
from epp.outcome import Routed
from epp.protocol.exchange import Buffers
from epp.telemetry import Telemetry, spans
from tests.edge.test_stream import answer_head, opening, piece
from tests.make import chat, director, fleet, pool

CHOICE = Choice((Candidate("m"),), "maths", "math", 0.9, "full", "because")


def receipt(**more: Any) -> Receipt:
    parts: dict[str, Any] = {"id": "i", "request_id": "r", "time": 10.0, "path": "/v1/chat/completions"}
    parts |= {"asked_model": "auto", "model": "m", "picked": "10.0.0.1:8000", "outcome": "completed", "status": 200}
    parts |= {"choice": CHOICE, "chosen_s": 0.1, "waited_s": 0.5, "decided_s": 0.75, "ended_s": 2.0}
    return Receipt(**{**parts, **more})


def test_steps_follow_each_other_without_a_gap() -> None:
    steps = spans.steps(receipt(), began=9.5)

    assert [(step.name.removeprefix("onehop."), step.start, step.end) for step in steps] == [
        ("gather", 9.5, 10.0),
        ("choose", 10.0, 10.1),
        ("wait", 10.1, 10.6),
        ("pick", 10.6, 10.75),
    ]


def test_what_took_no_time_has_no_span() -> None:
    steps = spans.steps(receipt(waited_s=0.0001), began=10.0)

    assert [step.name for step in steps] == ["onehop.choose", "onehop.pick"]


def test_a_refusal_ends_where_it_was_made() -> None:
    refused = receipt(picked=None, model=None, outcome="model_not_found", status=404, waited_s=None)

    assert [step.name for step in spans.steps(refused, 10.0)] == ["onehop.choose"]
    assert spans.request(refused, 10.0, 10.75).error is None
    assert spans.request(receipt(outcome="no_endpoints", status=503, picked=None), 10.0, 11.0).error == "no_endpoints"


def test_the_call_is_named_and_described_by_the_conventions() -> None:
    call = spans.call(receipt(stream=True, first_answer_s=1.0, usage=Usage(7, 10, 3)), 12.0, "vllm")

    assert (call.name, call.start, call.end, call.error) == ("chat m", 10.75, 12.0, None)
    assert call.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "m",
        "gen_ai.request.stream": True,
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 10,
        "gen_ai.usage.cache_read.input_tokens": 3,
        "http.response.status_code": 200,
        "server.address": "10.0.0.1",
        "server.port": 8000,
    }


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("/v1/chat/completions?x=1", "chat"),
        ("/v1/completions", "text_completion"),
        ("/v1/embeddings", "embeddings"),
        ("/v1/responses", "chat"),
    ],
)
def test_operations_are_told_by_the_path(path: str, operation: str) -> None:
    assert spans.operation(path) == operation


def test_spill_and_prediction_are_told_with_the_pick() -> None:
    spilled = receipt(spill=Spilled("a", "m", SpillReason.WAIT), predicted_ttft_s=0.3, cached_tokens=5)
    pick = spans.steps(spilled, 10.0)[-1]

    assert pick.attributes["onehop.spill.from"] == "a"
    assert pick.attributes["onehop.spill.reason"] == "wait"
    assert pick.attributes["onehop.predicted_ttft_s"] == 0.3


class Traced:
    """A tracer and the one trace it starts; `told` is what it hears."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def start(self, headers: object, began: float) -> Traced:
        self.told.append("start")
        return self

    def routed(self, routed: Routed) -> None:
        self.told.append("routed")

    def ended(self, receipt: Receipt) -> None:
        self.told.append(receipt.outcome)

    def abandoned(self) -> None:
        self.told.append("abandoned")


async def told(*messages: bytes, ends: Exception | None = None) -> list[str]:
    """What a tracer hears of a stream of these messages that then ends, well or with an error."""
    tracer, over, left = Traced(), pool("a", models={"a": ["llama3-8b"]}), list(messages)
    shared = Shared(Buffers(10_000, 100_000), tracer=tracer)

    async def read() -> bytes | None:
        if left:
            return left.pop(0)
        if ends is not None:
            raise ends
        return None

    async def write(message: bytes) -> None:
        pass

    await Stream(director(over), Telemetry(fleet(over)), lambda: 0.0, shared).run(read, write)
    return tracer.told


WHOLE = (opening(), piece(chat()))


async def test_a_trace_goes_from_the_decision_to_the_end_of_the_answer() -> None:
    answer = (answer_head(), piece(b"{}", side="response_body"))

    assert await told(*WHOLE, *answer) == ["start", "routed", "completed"]


async def test_a_client_that_leaves_ends_it() -> None:
    assert await told(*WHOLE, ends=Disconnected()) == ["start", "routed", "disconnected"]


async def test_a_refusal_ends_it() -> None:
    assert (await told(opening(), piece(chat("gpt-9"))))[:2] == ["start", "model_not_found"]
    assert (await told(opening(), piece(b"x" * 20_000)))[:2] == ["start", "body_too_large"]


async def test_what_is_chosen_anew_stays_one_trace() -> None:
    heard = await told(opening("streamed"), piece(chat()))

    assert heard.count("start") == 1
    assert "superseded" not in heard
