"""Builders for tests: say what matters, default the rest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any, Literal

from epp.datastore.fleet import Fleet
from epp.datastore.pool import Listed, Pool
from epp.datastore.receipts import Receipts
from epp.director import Director, Rules
from epp.domain import Candidate, Choice, Chooser, Load, Request
from epp.picking import Picking
from epp.protocol.messages import Body, BodyMode, Headers, Modes, Side, Trailers
from epp.scheduling.framework import Profile
from epp.scheduling.plugins.max_score import MaxScorePicker
from epp.telemetry import Telemetry

DUPLEX = Modes(BodyMode.FULL_DUPLEX_STREAMED, BodyMode.FULL_DUPLEX_STREAMED)
ONE_HOP = Modes(BodyMode.BUFFERED, BodyMode.NONE)
POST = {":method": "POST", ":path": "/v1/chat/completions", "x-request-id": "r-1"}
GET = {":method": "GET", ":path": "/v1/models", "x-request-id": "r-1"}


def chat(model: str = "llama3-8b", text: str = "hello", **more: Any) -> bytes:
    """A chat completions body."""
    return json.dumps({"model": model, "messages": [{"role": "user", "content": text}], **more}).encode()


def head(modes: Modes | None = None, end: bool = False, **headers: str) -> Headers:
    return Headers(Side.REQUEST, {**POST, **headers}, end, modes)


def body(data: bytes = b"", end: bool = True, side: Side = Side.REQUEST) -> Body:
    return Body(side, data, end)


def answer_head(status: int = 200) -> Headers:
    return Headers(Side.RESPONSE, {":status": str(status), "content-type": "application/json"})


def trailers(side: Side = Side.REQUEST) -> Trailers:
    return Trailers(side)


def request(model: str | None = "llama3-8b", prompt: bytes = b"", **more: Any) -> Request:
    return Request(id="r-1", model=model, prompt=prompt, **more)


def pool(*names: str, models: dict[str, Sequence[str]] | None = None) -> Pool:
    """A pool of endpoints `name` at 10.0.0.n:8000; `models` gives model lists by endpoint name."""
    made = Pool()
    made.relist(Listed(name, f"10.0.0.{n}:8000") for n, name in enumerate(names or ("a", "b")))
    for endpoint in made.endpoints:
        served = (models or {}).get(endpoint.name)
        endpoint.models = None if served is None else {m: m for m in served}
    return made


def load(at: float = 0.0, waiting: float = 0, kv_usage: float = 0.0, running: float = 0) -> Load:
    return Load(at=at, waiting=waiting, running=running, kv_usage=kv_usage)


class FixedChooser:
    """A semantic stage that always says the same."""

    aliases = frozenset({"auto"})
    guards = closed = False

    def __init__(self, *models: str, **choice: Any) -> None:
        candidates = tuple(Candidate(m) for m in models)
        self.choice = Choice(candidates, reason="fixed", **{"classification": "full", **choice})

    async def choose(self, request: Request) -> Choice:
        return self.choice

    async def check(self, request: Request, model: str | None) -> Choice:
        return Choice((Candidate(model),))


def fleet(over: Pool) -> Fleet:
    """A fleet of this pool alone."""
    made = Fleet(over.name)
    made.pools[over.name] = made.all = over
    return made


def director(
    over: Pool,
    chooser: Chooser | None = None,
    *,
    profile: Profile | None = None,
    unknown_model: Literal["refuse", "forward"] = "refuse",
    rules: Rules | None = None,
    **more: Any,
) -> Director:
    """A director with a plain profile, clocks that stand still and seeded dice; `more` are rules or parts."""
    named = {name: more.pop(name) for name in list(more) if name in Rules.__dataclass_fields__}
    rng = more.pop("rng", None) or Random(1)
    parts: dict[str, Any] = {
        "picking": Picking(over, profile or Profile("test", picker=MaxScorePicker()), rng, unknown_model),
        "chooser": chooser or FixedChooser("phi4-mini"),
        "receipts": Receipts(),
        "telemetry": Telemetry(fleet(over)),
        "now": lambda: 0.0,
        "wall": lambda: 0.0,
        "rng": rng,
        "rules": rules or Rules(**named),
    }
    return Director(**{**parts, **more})
