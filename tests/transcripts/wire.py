"""Transcripts as table rows: what the gateway says, and what it must hear, over a real gRPC connection.

    P(i, q, kv, models)      endpoint i at 192.168.1.{i+1}:8000 with q requests waiting, kv of its cache in use
    RH RB RT  PH PB PT       messages in: headers, body, trailers of the request and of the response
    H B C T   AH AB AC AT    replies to them: headers, a streamed piece, one reply to one body message, trailers
    IR X                     an answer of our own; more time, please

A row is a message and the replies to it; no replies means that none may come before the next message. What comes is
turned into the same values, so a row that fails shows both. Every reply is also checked for what always holds: header
and metadata name the same destination and nothing else, values are in `raw_value`, and old values are overwritten.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from envoy.extensions.filters.http.ext_proc.v3 import processing_mode_pb2 as modes_pb
from envoy.service.ext_proc.v3 import external_processor_pb2 as envoy

from epp.domain import Load

NONE, STREAMED, BUFFERED, DUPLEX = 0, 1, 2, 4
FULL_DUPLEX = (DUPLEX, DUPLEX)
PIECE_BYTES_MAX = 62_000
REWRITE = "x-llm-d-model-name-rewrite"
OLD_REWRITE = "x-gateway-model-name-rewrite"
DESTINATION = "x-gateway-destination-endpoint"
SUBSET = "x-gateway-destination-endpoint-subset"
CLIENT = {"hi": "mom", "x-request-id": "test-request-id"}


def ask(model: str | None = "my-model", prompt: str = "test1") -> bytes:
    """The reference's completion body, byte for byte."""
    named = {"model": model} if model is not None else {}
    return json.dumps({"max_tokens": 100, **named, "prompt": prompt, "temperature": 0}, separators=(",", ":")).encode()


@dataclass(frozen=True)
class P:
    """An endpoint."""

    number: int
    q: float = 0
    kv: float = 0.0
    models: Sequence[str] | None = None
    ip: str = ""
    port: int = 8000

    @property
    def address(self) -> str:
        return f"{self.ip or f'192.168.1.{self.number + 1}'}:{self.port}"

    @property
    def load(self) -> Load:
        return Load(at=0.0, waiting=self.q, running=0, kv_usage=self.kv)


@dataclass(frozen=True)
class RH:
    """Request headers. `raw` false puts the pseudo headers into `value`, last, as agentgateway does.

    `both` are further headers by key, raw value and value.
    """

    more: Mapping[str, str] = field(default_factory=dict)
    eos: bool = False
    method: str | None = "POST"
    path: str | None = "/v1/completions"
    modes: tuple[int, ...] | None = FULL_DUPLEX
    subset: Any = None
    raw: bool = True
    both: Sequence[tuple[str, bytes, str]] = ()

    def message(self) -> envoy.ProcessingRequest:
        message = envoy.ProcessingRequest()
        if self.modes is not None:
            config = message.protocol_config
            config.request_body_mode, config.response_body_mode = self.modes[:2]
            config.send_body_without_waiting_for_header_response = len(self.modes) > 2
        pseudo = {name: v for name, v in ((":method", self.method), (":path", self.path)) if v is not None}
        parts = (pseudo, {**CLIENT, **self.more})
        for part in parts if self.raw else reversed(parts):
            _headers(message.request_headers, part, self.raw or part is not pseudo)
        for key, raw_value, value in self.both:
            message.request_headers.headers.headers.add(key=key, raw_value=raw_value, value=value)
        message.request_headers.end_of_stream = self.eos
        _hint(message, self.subset)
        return message


@dataclass(frozen=True)
class RB:
    """A piece of the request's body."""

    data: bytes = b""
    eos: bool = True
    subset: Any = None
    namespace: str = "envoy.lb.subset_hint"

    def message(self) -> envoy.ProcessingRequest:
        message = envoy.ProcessingRequest()
        message.request_body.body, message.request_body.end_of_stream = self.data, self.eos
        _hint(message, self.subset, self.namespace)
        return message


@dataclass(frozen=True)
class RT:
    """Request trailers."""

    def message(self) -> envoy.ProcessingRequest:
        message = envoy.ProcessingRequest()
        message.request_trailers.SetInParent()
        return message


@dataclass(frozen=True)
class PH:
    """Response headers; `served` is what the gateway says of who answered."""

    kind: str = "application/json"
    status: int = 200
    more: Mapping[str, str] = field(default_factory=dict)
    served: str | None = None

    def message(self) -> envoy.ProcessingRequest:
        message = envoy.ProcessingRequest()
        _headers(message.response_headers, {":status": str(self.status), "content-type": self.kind, **self.more})
        if self.served is not None:
            message.metadata_context.filter_metadata["envoy.lb"].update({f"{DESTINATION}-served": self.served})
        return message


@dataclass(frozen=True)
class PB:
    """A piece of the response's body."""

    data: bytes = b""
    eos: bool = True

    def message(self) -> envoy.ProcessingRequest:
        message = envoy.ProcessingRequest()
        message.response_body.body, message.response_body.end_of_stream = self.data, self.eos
        return message


@dataclass(frozen=True)
class PT:
    """Response trailers."""

    def message(self) -> envoy.ProcessingRequest:
        message = envoy.ProcessingRequest()
        message.response_trailers.SetInParent()
        return message


Message = RH | RB | RT | PH | PB | PT


@dataclass(frozen=True)
class H:
    """The reply to request headers; a model in it means that the route is chosen anew. `asks` is a `mode_override`."""

    to: str | None = None
    model: str | None = None
    length: int | None = None
    more: Mapping[str, str] = field(default_factory=dict)
    removed: Sequence[str] = ()
    asks: tuple[int, int] | None = None
    skips_response: bool = False


@dataclass(frozen=True)
class C(H):
    """The one reply to one request body message, where bodies are not full duplex; `body` None leaves it as it is."""

    body: bytes | None = None


@dataclass(frozen=True)
class B:
    """A piece of the request's body that goes on (full duplex)."""

    data: bytes
    eos: bool = True


@dataclass(frozen=True)
class T:
    """The reply to request trailers."""


@dataclass(frozen=True)
class AH:
    """The reply to response headers: nothing, or where the request was ours (`ours`), what the client is told."""

    model: str | None = None
    ours: bool | None = None
    more: Mapping[str, str] = field(default_factory=dict)
    removed: Sequence[str] = ()
    asks: tuple[int, int] | None = None
    classification: str = "skipped"

    def __post_init__(self) -> None:
        if self.ours is None:
            object.__setattr__(self, "ours", self.model is not None)


@dataclass(frozen=True)
class AB:
    """A piece of the response's body that goes on (full duplex)."""

    data: bytes
    eos: bool = True


@dataclass(frozen=True)
class AC:
    """The one reply to one response body message, unchanged, where bodies are not full duplex."""


@dataclass(frozen=True)
class AT:
    """The reply to response trailers."""


@dataclass(frozen=True)
class IR:
    """An answer of our own: `says` is part of its message, `drop` the dropped reason; `code` is None in Anthropic's."""

    status: int
    says: str
    code: str | None = None
    drop: str | None = None
    retry_after: str | None = None


@dataclass(frozen=True)
class X:
    """No reply yet: so many more seconds, please (`override_message_timeout`)."""

    seconds: float


Reply = H | C | B | T | AH | AB | AC | AT | IR | X


NO_PODS = IR(
    503,
    "failed to find endpoint candidates for serving the request",
    "no_endpoints",
    "rejected-no-endpoints",
    retry_after="1",
)


def pieces(data: bytes, eos: bool = True) -> list[B]:
    """A long body as it must go on: pieces of at most 62,000 bytes, the end on the last."""
    starts = range(0, len(data) or 1, PIECE_BYTES_MAX)
    return [B(data[s : s + PIECE_BYTES_MAX], eos and s == starts[-1]) for s in starts]


def expect(heard: Sequence[envoy.ProcessingResponse], wanted: Sequence[Reply]) -> None:
    """These replies and no others."""
    replies = [read(message) for message in heard]
    for position, (reply, want) in enumerate(zip(replies, wanted, strict=False)):
        if isinstance(reply, IR) and isinstance(want, IR) and want.says in reply.says:
            replies[position] = replace(reply, says=want.says)

    assert replies == list(wanted)


def read(message: envoy.ProcessingResponse) -> Reply:
    """A reply as a value."""
    if message.HasField("override_message_timeout"):
        assert len(message.ListFields()) == 1, "Envoy looks at nothing else then"
        return X(message.override_message_timeout.ToMilliseconds() / 1000)
    kind = message.WhichOneof("response")
    assert kind is not None, "Envoy takes a reply without a kind for an error"
    if kind == "immediate_response":
        return _immediate(message.immediate_response)
    if kind.endswith("_trailers"):
        return T() if kind == "request_trailers" else AT()
    common = getattr(message, kind).response
    assert common.status == envoy.CommonResponse.CONTINUE
    if common.body_mutation.HasField("streamed_response"):
        piece = common.body_mutation.streamed_response
        assert not common.HasField("header_mutation")
        return (B if kind == "request_body" else AB)(piece.body, piece.end_of_stream)
    return _common(message, kind, common)


def _common(message: envoy.ProcessingResponse, kind: str, common: Any) -> H | C | AH | AC:
    headers = _set(common.header_mutation)
    removed = tuple(common.header_mutation.remove_headers)
    asks = _override(message)
    if kind == "response_body":
        assert not common.HasField("body_mutation")
        assert not headers
        return AC()
    if kind == "response_headers":
        return _answer_headers(headers, removed, asks)
    to = headers.pop(DESTINATION, None)
    told = {"envoy.lb": {DESTINATION: to}} if to is not None else {}
    assert _plain(message.dynamic_metadata) == told, "metadata is the destination of the header and nothing else"
    model = headers.pop("x-selected-model", None)
    assert common.clear_route_cache == (model is not None)
    length = headers.pop("content-length", None)
    edits = (to, model, None if length is None else int(length), headers, removed, asks)
    skips = message.mode_override.response_header_mode == modes_pb.ProcessingMode.SKIP
    if kind == "request_headers":
        assert not common.HasField("body_mutation")
        return H(*edits, skips)
    return C(*edits, body=common.body_mutation.body if common.HasField("body_mutation") else None)


def _answer_headers(headers: dict[str, str], removed: Sequence[str], asks: tuple[int, int] | None) -> AH:
    receipt = headers.pop("x-onehop-receipt", None)
    ours = receipt is not None
    classification = headers.pop("x-onehop-classification", "skipped")
    return AH(headers.pop("x-vsr-selected-model", None), ours, headers, removed, asks, classification)


def _immediate(answer: envoy.ImmediateResponse) -> IR:
    headers = _set(answer.headers)
    assert headers["content-type"] == "application/json"
    assert headers["x-onehop-receipt"]
    said = json.loads(answer.body)
    error = said["error"]
    code = error["code"] if set(error) == {"message", "type", "param", "code"} else None
    assert code is not None or (said["type"], set(error)) == ("error", {"type", "message"})
    drop, retry_after = headers.get("x-llm-d-request-dropped-reason"), headers.get("retry-after")
    return IR(answer.status.code, error["message"], code, drop, retry_after)


def _override(message: envoy.ProcessingResponse) -> tuple[int, int] | None:
    if not message.HasField("mode_override"):
        return None
    return message.mode_override.request_body_mode, message.mode_override.response_body_mode


def _set(mutation: Any) -> dict[str, str]:
    for option in mutation.set_headers:
        assert not option.header.value, "Envoy reads raw_value"
        assert option.append_action == option.OVERWRITE_IF_EXISTS_OR_ADD
    found = {option.header.key: option.header.raw_value.decode() for option in mutation.set_headers}
    assert len(found) == len(mutation.set_headers)
    return found


def _plain(struct: Any) -> Any:
    return {k: _plain(v) if hasattr(v, "keys") else v for k, v in struct.items()}


def _headers(part: Any, headers: Mapping[str, str], raw: bool = True) -> None:
    for key, value in headers.items():
        header = part.headers.headers.add(key=key)
        if raw:
            header.raw_value = value.encode()
        else:
            header.value = value


def _hint(message: envoy.ProcessingRequest, subset: Any, namespace: str = "envoy.lb.subset_hint") -> None:
    if subset is not None:
        message.metadata_context.filter_metadata[namespace].update({SUBSET: subset})
