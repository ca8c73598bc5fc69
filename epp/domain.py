"""The values that cross seams: requests, endpoints, candidates, refusals, receipts.

No I/O, no clock, no plugin lives here. Times are monotonic seconds, fractions run 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Literal, Protocol

DEFAULT_TENANT = "default-flow"  # the Go picker's name for requests without a fairness id
Classification = Literal["full", "degraded", "skipped"]
# How an endpoint failed a request: took no connection, kept it waiting, answered 502, 503 or 504, another 5xx; or in
# one of these ways, and all that is known is that the gateway then sent the request elsewhere.
Fault = Literal["connect", "timeout", "unavailable", "server", "retried"]


class Reason(Enum):
    """Why a request is refused: code in the answer (and metric label), HTTP status, Retry-After seconds, drop reason.

    The drop reasons are the endpoint picker's own (`x-llm-d-request-dropped-reason`); none where it sends none.
    """

    BAD_REQUEST = ("bad_request", 400, None, None)
    DECISION_MISSING = ("decision_missing", 400, None, None)
    MODEL_MISSING = ("model_missing", 400, None, None)
    CONTEXT_TOO_LONG = ("context_length_exceeded", 400, None, None)
    CAPABILITY_MISSING = ("capability_missing", 400, None, None)
    MODEL_NOT_FOUND = ("model_not_found", 404, None, None)
    REQUEST_TIMEOUT = ("request_timeout", 408, None, None)
    NOT_CACHED = ("not_cached", 412, None, None)
    GUARD_JAILBREAK = ("guard_jailbreak", 403, None, None)
    GUARD_PII = ("guard_pii", 403, None, None)
    GUARD_UNKNOWN = ("guard_unknown", 503, 1, None)
    BODY_TOO_LARGE = ("body_too_large", 413, None, None)
    UNSUPPORTED_MEDIA = ("unsupported_media_type", 415, None, None)
    BUFFERS_FULL = ("buffers_full", 503, 1, "rejected-saturated")
    SATURATED = ("saturated", 429, 1, "rejected-saturated")
    SHED = ("shed", 429, 1, "rejected-saturated")
    WAIT_TOO_LONG = ("wait_too_long", 429, 1, "rejected-saturated")
    QUEUE_FULL = ("queue_full", 429, 1, "rejected-saturated")
    QUEUE_TIMEOUT = ("queue_timeout", 429, 1, "rejected-ttl-expired")
    DISPLACED = ("displaced", 429, 1, "evicted-queue-pressure")
    EVICTED = ("evicted", 429, 1, "evicted")
    NO_ENDPOINTS = ("no_endpoints", 503, 1, "rejected-no-endpoints")
    SHUTTING_DOWN = ("shutting_down", 503, 1, "rejected-shutting-down")

    def __init__(self, code: str, status: int, retry_after_s: int | None, dropped_reason: str | None) -> None:
        self.code = code
        self.status = status
        self.retry_after_s = retry_after_s
        self.dropped_reason = dropped_reason


class Refused(Exception):
    """An expected refusal: the reason decides the status, the message is for the client and holds no prompt text.

    `retry_after_s` is when waiting is predicted to have helped, None where nobody predicts.
    """

    def __init__(
        self, reason: Reason, message: str, param: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s


class ConfigError(Exception):
    """A mistake in a file or flag, with its path; stops the start, or keeps the state before a reload."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


class Exclusion(Enum):
    """Why a candidate does not answer a request; the value is its name in receipts."""

    CONTEXT_LENGTH = "context_length"
    TOOLS = "tools"
    IMAGES = "images"
    AUDIO = "audio"
    JSON_MODE = "json_mode"
    NEVER_DEGRADE = "never_degrade"
    NO_ENDPOINT = "no_endpoint"
    NO_ROOM = "no_room"
    SCREENED = "screened"


@dataclass(slots=True, frozen=True)
class Limits:
    """What a model can do, as far as the configuration says; None is not known, and counts as yes."""

    context_tokens: int | None = None
    tools: bool | None = None
    images: bool | None = None
    audio: bool | None = None
    json_mode: bool | None = None


NO_LIMITS = Limits()


@dataclass(slots=True, frozen=True)
class Needs:
    """What a request asks of a model, apart from its prompt: most tokens of output, tools, an answer in JSON."""

    output_tokens: int | None = None
    tools: bool = False
    json_mode: bool = False


NO_NEEDS = Needs()


@dataclass(slots=True, eq=False)
class Request:
    """What the client asked for.

    `model_span` is the byte range of the model's JSON value in the body, quotes included; an edit replaces these
    bytes and no others. An empty range is where a model may be put in; None means that the body is not to be edited.
    `prompt` holds the raw JSON of what the engine will prefill (messages, prompt or input): it is hashed for prefix
    affinity and never logged. `subset` is the gateway's hint of the endpoints it allows, or None. `priority` is that
    of the request's InferenceObjective (negative: may be shed), `tenant` the fairness id. `session` is the name that
    the client gives to the conversation, if it does. With `never_degrade` no weaker model may stand in. `headers` are
    the client's, by lower-case name, for plugins that go by one. `target` is the model that will most
    probably answer, known once one is chosen. `memo` keeps what was worked out of the prompt once
    and is looked at again.
    """

    id: str
    method: str = "POST"
    path: str = "/v1/chat/completions"
    model: str | None = None
    model_span: tuple[int, int] | None = None
    prompt: bytes = b""
    prompt_tokens: int = 0
    stream: bool = False
    body: bytes = b""
    subset: frozenset[str] | None = None
    tenant: str = DEFAULT_TENANT
    priority: int = 0
    needs: Needs = NO_NEEDS
    session: str | None = None
    never_degrade: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    memo: dict[Any, Any] = field(default_factory=dict, repr=False)


@dataclass(slots=True, frozen=True)
class Lora:
    """What an engine says of its LoRA adapters: how many may run at once, which run, which are waited for."""

    adapters_max: int | None = None
    running: frozenset[str] = frozenset()
    waiting: frozenset[str] = frozenset()


@dataclass(slots=True, frozen=True)
class Load:
    """One sample of what a model server says of itself; None where the series was missing.

    `waiting` and `running` count requests, `kv_usage` is a fraction, `at` the monotonic second of the sample; the
    tokens are those computed since the engine's start, the only count of them where a gateway shows no answers.
    `cache_queries` and `cache_hits` are prompt tokens looked up and found in the prefix cache since then, and
    `decode_tokens` the tokens whose time since the one before them, `decode_seconds` together, the engine has measured;
    `first_tokens` the requests that had their first token, `first_token_seconds` together after they came.
    `custom` are further numbers by the names that configuration gives them.
    """

    at: float
    waiting: float | None = None
    running: float | None = None
    kv_usage: float | None = None
    block_size: int | None = None
    num_blocks: int | None = None
    prompt_tokens: float | None = None
    generated_tokens: float | None = None
    cache_queries: float | None = None
    cache_hits: float | None = None
    decode_seconds: float | None = None
    decode_tokens: float | None = None
    first_tokens: float | None = None
    first_token_seconds: float | None = None
    lora: Lora | None = None
    custom: Mapping[str, float] | None = None


@dataclass(slots=True, frozen=True)
class Probe:
    """Which of the series that we look for an endpoint has: signal -> its name, or the names it was looked for under.

    A signal that its kind of engine never tells is in neither. Without an `engine` nothing there was understood.
    """

    engine: str | None
    found: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, eq=False, weakref_slot=True)
class Endpoint:
    """One (pod, port) we may send requests to; it keeps its identity while it is listed, so compare by identity.

    `address` is `ip:port`, IPv6 in brackets. `models` maps every name the server answers to onto its base model (its
    own name for a base model, the parent for a LoRA adapter); None while the list is not known. Until then `declared`
    counts, the same as discovery was told it (a pod label, configuration); None: the endpoint accepts any model.
    The rest is the ledger, which only leases change: requests in flight, the critical among them, and by LoRA adapter
    those of one, and by the hash of a prefix those whose prompts begin with it; prompt tokens that
    are not cached and not yet computed; tokens of context of the requests in flight; `work_s`, the predicted seconds of
    prefill outstanding, of so many `work_prompts`; `work_head_s`, the share of the oldest one, begun at the second
    `work_since`.
    An endpoint that fails requests is ejected until the second `ejected_until`; while it is `limited`, as a new one is,
    `HealthFilter` looks closer.
    """

    name: str
    address: str
    labels: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] | None = None
    declared: Mapping[str, str] | None = None
    load: Load | None = None
    probe: Probe | None = None
    reachable: bool = True
    inflight_requests: int = 0
    inflight_critical: int = 0
    inflight_adapters: dict[str, int] = field(default_factory=dict)
    inflight_prefixes: dict[int, int] = field(default_factory=dict, repr=False)
    inflight_tokens: int = 0
    context_tokens: int = 0
    work_s: float = 0.0
    work_prompts: int = 0
    work_head_s: float = 0.0
    work_since: float = 0.0
    line: Any = field(default=None, repr=False)  # the ledger's own: who waits for prefill here
    ejected_until: float = 0.0
    limited: bool = False
    standing: Any = field(default=None, repr=False)  # `HealthFilter`'s own: how requests have gone here

    @property
    def serves(self) -> Mapping[str, str] | None:
        """The names it answers to, from the best source there is; None when nobody has said."""
        return self.declared if self.models is None else self.models

    def outstanding_s(self, now: float) -> float:
        """Predicted seconds of prefill that are still to be done here."""
        done_s = max(0.0, now - self.work_since) if self.work_head_s else 0.0
        return self.work_s - (done_s if done_s < self.work_head_s else self.work_head_s)


@dataclass(slots=True)
class Cost:
    """What one request is thought to take: prompt tokens to be computed, all its tokens of context, seconds of prefill.

    `blind` where the gateway will not show when the first token comes: then the prefill is over when it should be.
    `ttft_s` is how long the first token is expected to take, None where nobody reckons. `critical` requests are counted
    apart, so that others can keep away from where they are; those of a LoRA `adapter` by its name; and by the hash of a
    prefix those whose prompts begin with it, each by its `prefixes`, no two of them alike.
    """

    tokens: int = 0
    context: int = 0
    work_s: float = 0.0
    blind: bool = False
    critical: bool = False
    ttft_s: float | None = None
    adapter: str | None = None
    prefixes: Sequence[int] = ()


@dataclass(slots=True, frozen=True)
class Edit:
    """One change of the request's JSON body; `path` leads from the top by names and places, `value` is JSON.

    `set` replaces the value there or makes it, `insert` puts an element before that place of an array, `prefix` puts
    the inside of a JSON string at the start of the string there, `remove` takes the member or element out.
    """

    mode: Literal["set", "insert", "prefix", "remove"]
    path: tuple[str | int, ...]
    value: bytes = b""


@dataclass(slots=True, frozen=True)
class Candidate:
    """A model that may answer this request, best first; `model` None means whatever the endpoint serves.

    `margin` is the quality lost against the first candidate, 0 for the first and 1 where nobody says that it may stand
    in. `quality` is the configured score, None where there is none. `edits` and `headers` (None removes) are what its
    request becomes; `lowered` takes the place of `edits` where more than `waiting_max` requests wait at the endpoint.
    """

    model: str | None
    margin: float = 0.0
    quality: float | None = None
    limits: Limits = NO_LIMITS
    edits: tuple[Edit, ...] = ()
    headers: tuple[tuple[str, str | None], ...] = ()
    lowered: tuple[Edit, ...] | None = None
    waiting_max: float | None = None

    def edits_at(self, endpoint: Endpoint) -> tuple[Edit, ...]:
        """What the request becomes for this endpoint, as busy as it says it is."""
        waiting = None if endpoint.load is None else endpoint.load.waiting
        busy = waiting is not None and self.waiting_max is not None and waiting > self.waiting_max
        return self.lowered if self.lowered is not None and busy else self.edits

    def unedited(self) -> Candidate:
        """The same model for a body that has had its edits."""
        return replace(self, edits=(), lowered=None) if self.edits or self.lowered else self


@dataclass(slots=True, frozen=True)
class Choice:
    """The semantic stage's answer: ordered candidates, and what they were chosen by.

    `answer` is a message to answer with at once, `refusal` why the request must not go on. `signals` are names and
    numbers for the receipt, never words of the prompt.
    """

    candidates: tuple[Candidate, ...]
    decision: str | None = None
    category: str | None = None
    confidence: float | None = None
    classification: Classification = "skipped"
    reason: str = ""
    answer: str | None = None
    refusal: Refused | None = None
    signals: Mapping[str, Any] = field(default_factory=dict)
    never_degrade: bool = False

    def unedited(self) -> Choice:
        """The same choice for a body that has had its edits."""
        return replace(self, candidates=tuple(candidate.unedited() for candidate in self.candidates))


class SpillReason(Enum):
    """Why a request left the model it was meant for, or (where it did not) what held it back."""

    NO_ENDPOINT = "no_endpoint"
    NO_ROOM = "no_room"
    WAIT = "wait"
    SESSION = "session"
    HELD_NO_OTHER = "held_no_other"
    HELD_NO_GAIN = "held_no_gain"
    HELD_SHARE = "held_share"


@dataclass(slots=True, frozen=True)
class Spilled:
    """A request that left `origin` for `to`, or would have (`to` None): predicted seconds at both.

    `wait_s` is the wait for others at the origin, `ttft_s` the first token there, `ttft_to_s` at the other.
    """

    origin: str | None
    to: str | None
    reason: SpillReason
    wait_s: float | None = None
    ttft_s: float | None = None
    ttft_to_s: float | None = None


class Chooser(Protocol):
    """What the director needs of a semantic stage: which model names are aliases, and which models may answer.

    `guards` says that requests for explicit models are to be checked, too; `closed` that none may go on unchecked,
    not even after a defect.
    """

    @property
    def aliases(self) -> frozenset[str]: ...

    @property
    def guards(self) -> bool: ...

    @property
    def closed(self) -> bool: ...

    async def choose(self, request: Request) -> Choice:
        """Ordered candidates for a request whose model is an alias; within the stage's own deadline."""

    async def check(self, request: Request, model: str | None) -> Choice:
        """That model alone for a request that names it, or a refusal by a guard; within the same deadline."""


@dataclass(slots=True, frozen=True)
class Usage:
    """Token counts of an answer; `cached` is the part of the prompt that came from the prefix cache."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0


@dataclass(slots=True, frozen=True)
class GateView:
    """What our own gate saw of a request that found no room.

    Predicted seconds of its prefill where most of it is cached and where nothing is, and of what stood before it
    (`contested`: for endpoints that it accepts, too); by endpoint the seconds until a prompt would begin, how full it
    would be, seconds from token to token, requests in flight, and critical ones among them.
    """

    own_s: float
    alone_s: float
    before_s: float
    contested: bool
    addresses: Sequence[str]
    meets: Sequence[tuple[float, float, float]]
    requests: Sequence[float]
    critical: Sequence[int]

    def told(self) -> dict[str, Any]:
        """JSON-ready."""
        columns = zip(self.addresses, self.meets, self.requests, self.critical, strict=True)
        return {
            "own_s": round(self.own_s, 6),
            "alone_s": round(self.alone_s, 6),
            "before_s": round(self.before_s, 6),
            "contested": self.contested,
            "endpoints": [
                {
                    "address": address,
                    "wait_s": round(wait_s, 6),
                    "full": round(full, 4),
                    "pace_s": round(pace_s, 6),
                    "inflight_requests": requests,
                    "inflight_critical": critical,
                }
                for address, (wait_s, full, pace_s), requests, critical in columns
            ],
        }


@dataclass(slots=True)
class Receipt:
    """Why this model and this endpoint. Content-free: names and numbers, never prompt text.

    `pick` is rendered on demand: most receipts are never read. `rewrite` names the InferenceModelRewrite that applied,
    `first` the receipt of the same request's first stream, where two filters ask us in turn. `chosen_s` is when the
    model was known, `waited_s` how long it waited for room from then on (its first token being due in `slo_ttft_s`, or
    in the `slo_asked_s` that it named itself), `decided_s` when the endpoint was. `labels` are the request's metric
    labels, fixed at the decision so that what is counted up then is counted down under the same name. `message` is what
    a refusal told the client. `predicted_ttft_s` counts from the decision on, `first_answer_s` from the whole request
    on. `work_s` is what the ledger was charged, in predicted seconds of prefill. `trace_id` is the hexadecimal id of
    the request's trace, where one is exported.
    """

    id: str
    request_id: str
    time: float
    path: str
    asked_model: str | None
    pool: str = ""
    tenant: str = DEFAULT_TENANT
    objective: str | None = None
    priority: int = 0
    rewrite: str | None = None
    first: str | None = None
    stream: bool = False
    body_bytes: int = 0
    prompt_tokens: int = 0
    needs: Needs = NO_NEEDS
    choice: Choice | None = None
    excluded: dict[str | None, Exclusion] = field(default_factory=dict)
    spill: Spilled | None = None
    pick: Explained | None = None
    cached_tokens: int = 0
    hashed_tokens: int = 0
    predicted_ttft_s: float | None = None
    work_s: float = 0.0
    waited_s: float | None = None
    slo_ttft_s: float | None = None
    slo_asked_s: float | None = None
    gate: GateView | None = None
    picked: str | None = None
    model: str | None = None
    served: str | None = None
    status: int | None = None
    outcome: str = "open"
    message: str = ""
    chosen_s: float | None = None
    decided_s: float | None = None
    first_answer_s: float | None = None
    ended_s: float | None = None
    usage: Usage | None = None
    answer_bytes: int | None = None
    fault: Fault | None = None
    labels: tuple[str, str, str, str] | None = None
    trace_id: str | None = None


class Explained(Protocol):
    """A pick that can say how it came about."""

    @property
    def unused(self) -> Mapping[str, str]:
        """Scorers that were not asked, with the reason."""

    def explain(self) -> list[dict[str, Any]]:
        """One row an endpoint: `address`, `scores`, `total`, `excluded`, `reason`."""

    def size(self) -> tuple[int, int]:
        """How many rows, and scores in each."""
