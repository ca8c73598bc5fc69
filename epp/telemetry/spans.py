"""What a trace says of a request: spans and their attributes, worked out of the receipt when the request is over.

Names and attributes of the call to the model server follow OpenTelemetry's semantic conventions for generative AI
(https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/), that of the request the name the Go picker gives
it; what only we know is under `onehop.`. Must stay true: no text of a prompt or an answer is in any of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from epp.domain import Receipt

Value = str | bool | int | float
REQUEST = "gateway.request"
SHORTEST_S = 0.001  # a body that is there at once, a wait that is none: no span; each costs more than it tells
OPERATIONS = {"completions": "text_completion", "embeddings": "embeddings"}  # else it is a chat


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a request: monotonic seconds, attributes (None: nobody said), and the `error.type` where it failed."""

    name: str
    start: float
    end: float
    attributes: Mapping[str, Value | None] = field(default_factory=dict)
    error: str | None = None


def operation(path: str) -> str:
    """`gen_ai.operation.name` by the path of an API."""
    plain, _, _ = path.partition("?")
    if plain.endswith("/chat/completions"):
        return "chat"
    return OPERATIONS.get(plain.rpartition("/")[2], "chat")


def request(receipt: Receipt, began: float, ended: float) -> Span:
    """The whole of it, from the start of its stream on. A refusal by us is an error from 500 on, as for any server."""
    choice = receipt.choice
    attributes: dict[str, Value | None] = {
        "onehop.receipt.id": receipt.id,
        "onehop.request.id": receipt.request_id,
        "onehop.outcome": receipt.outcome,
        "onehop.pool": receipt.pool,
        "onehop.tenant": receipt.tenant,
        "onehop.priority": receipt.priority,
        "onehop.decision": choice.decision if choice else None,
        "onehop.classification": choice.classification if choice else None,
        "gen_ai.operation.name": operation(receipt.path),
        "gen_ai.request.model": receipt.asked_model,
        "http.response.status_code": receipt.status,
        "url.path": receipt.path.partition("?")[0],
    }
    error = _error(receipt, HTTPStatus.INTERNAL_SERVER_ERROR)
    return Span(REQUEST, began, ended, attributes, error)


def steps(receipt: Receipt, began: float) -> list[Span]:
    """What came before the decision, one after the other: the body, the choice of the model, the wait, the pick."""
    whole, found = receipt.time, []
    if whole - began >= SHORTEST_S:
        found.append(Span("onehop.gather", began, whole, {"onehop.body_bytes": receipt.body_bytes}))
    if receipt.chosen_s is None:
        return found
    chosen = whole + receipt.chosen_s
    found.append(Span("onehop.choose", whole, chosen, _chosen(receipt)))
    if receipt.waited_s is not None and receipt.waited_s >= SHORTEST_S:
        priority = {"onehop.priority": receipt.priority}
        found.append(Span("onehop.wait", chosen, chosen + receipt.waited_s, priority))
        chosen += receipt.waited_s
    if receipt.decided_s is not None and receipt.picked is not None:
        found.append(Span("onehop.pick", chosen, whole + receipt.decided_s, _picked(receipt)))
    return found


def call(receipt: Receipt, ended: float, engine: str | None) -> Span:
    """The model server's work, from the decision to the end of its answer. `engine` is its kind, if that is known."""
    doing, model = operation(receipt.path), receipt.model or receipt.asked_model
    start = receipt.time + (receipt.decided_s or 0.0)
    first, usage = receipt.first_answer_s, receipt.usage
    address, _, port = (receipt.served or receipt.picked or "").rpartition(":")
    attributes: dict[str, Value | None] = {
        "gen_ai.operation.name": doing,
        "gen_ai.provider.name": engine,
        "gen_ai.request.model": model,
        "gen_ai.request.stream": receipt.stream,
        "gen_ai.response.time_to_first_chunk": None if first is None else receipt.time + first - start,
        "gen_ai.usage.input_tokens": usage.prompt if usage else None,
        "gen_ai.usage.output_tokens": usage.completion if usage else None,
        "gen_ai.usage.cache_read.input_tokens": usage.cached if usage else None,
        "http.response.status_code": receipt.status,
        "server.address": address.strip("[]"),
        "server.port": int(port) if port.isdigit() else None,
    }
    return Span(f"{doing} {model or ''}".strip(), start, ended, attributes, _error(receipt))


def _chosen(receipt: Receipt) -> dict[str, Value | None]:
    choice = receipt.choice
    if choice is None:
        return {}
    coverage = choice.signals.get("coverage") or {}
    attributes: dict[str, Value | None] = {
        "onehop.classification": choice.classification,
        "onehop.decision": choice.decision,
        "onehop.category": choice.category,
        "onehop.confidence": choice.confidence,
        "onehop.candidates": len(choice.candidates),
        "onehop.scanned_bytes": coverage.get("scanned_bytes"),
        "onehop.rewrite": receipt.rewrite,
    }
    return attributes


def _picked(receipt: Receipt) -> dict[str, Value | None]:
    spill = receipt.spill
    attributes: dict[str, Value | None] = {
        "onehop.model": receipt.model,
        "onehop.endpoint": receipt.picked,
        "onehop.prompt_tokens": receipt.prompt_tokens,
        "onehop.cached_tokens": receipt.cached_tokens,
        "onehop.predicted_ttft_s": receipt.predicted_ttft_s,
        "onehop.spill.from": spill.origin if spill else None,
        "onehop.spill.to": spill.to if spill else None,
        "onehop.spill.reason": spill.reason.value if spill else None,
    }
    return attributes


def _error(receipt: Receipt, lowest: int = HTTPStatus.BAD_REQUEST) -> str | None:
    """What to call the failure; None where there was none."""
    status = receipt.status or 0
    if status >= lowest:
        return str(status) if receipt.outcome == "completed" else receipt.outcome
    return receipt.outcome if receipt.outcome in ("error", "disconnected") else None
