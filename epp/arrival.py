"""What is known of a request before anything is decided: what is settled for all, and what its headers say."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from random import Random

from epp.datastore.pool import Pool
from epp.domain import DEFAULT_TENANT, Reason, Receipt, Refused, Request
from epp.protocol import openai
from epp.protocol.decision import Signer
from epp.protocol.headers import FAIRNESS, OBJECTIVE, REQUEST_ID, SLO_TTFT, first
from epp.protocol.identity import Source
from epp.protocol.messages import Decide
from epp.protocol.paths import PARSERS, path_of

ID_LENGTH_MAX, PATH_LENGTH_MAX = 128, 1024  # in receipts, of which thousands are kept
FAIRNESS_HEADER = Source("headers", FAIRNESS)
OBJECTIVE_HEADER = Source("headers", OBJECTIVE)
NOWHERE = Source("none")


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator has settled for all requests.

    With `scores` the gateway is told every endpoint's; without `subsets` its own hint at some of them is ignored.

    `parsers` are whose bodies are understood. `tenant` and `objective` say where those names are looked for, `agent`
    where the tenant's is where there is none. A destination lists up to `fallbacks` more endpoints
    for the gateway's own retries. `signer` carries a decision from the first of two streams of a request
    (`first_of_two`, which takes no lease) to the second (`second_of_two`, which refuses what did not pass the first).
    """

    unparsed: openai.Unparsed = "pass"
    parsers: Collection[str] = PARSERS
    tenant: Source = FAIRNESS_HEADER
    agent: Source = NOWHERE
    objective: Source = OBJECTIVE_HEADER
    fallbacks: int = 0
    scores: bool = False
    subsets: bool = True
    signer: Signer | None = None
    first_of_two: bool = False
    second_of_two: bool = False


DEFAULT_RULES = Rules()


def receipt_of(ask: Decide, rules: Rules, pool: Pool, now: float, rng: Random) -> Receipt:
    """The receipt of a request that has come whole, with an id made up for it; the request's own where it has none."""
    made_up = f"{rng.getrandbits(128):032x}"
    headers, attributes = ask.headers, ask.attributes
    objective = rules.objective.find(headers, attributes)
    return Receipt(
        id=made_up[:16],
        request_id=(headers.get(REQUEST_ID) or made_up)[:ID_LENGTH_MAX],
        time=now,
        path=path_of(headers)[-PATH_LENGTH_MAX:],
        asked_model=None,
        pool=pool.name,
        tenant=rules.tenant.find(headers, attributes) or rules.agent.find(headers, None) or DEFAULT_TENANT,
        objective=objective,
        priority=pool.policies.priority(objective),
        body_bytes=len(ask.body or b""),
    )


def note(request: Request, receipt: Receipt) -> None:
    """What the receipt says of the request, and the request of who asks."""
    receipt.asked_model, receipt.prompt_tokens = request.model, request.prompt_tokens
    receipt.stream, receipt.needs = request.stream, request.needs
    request.tenant, request.priority = receipt.tenant, receipt.priority


def model_in(headers: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    """The model that a header names, if one does. Raises Refused for what no body may name either."""
    model = first(headers, names)
    if model is not None and len(model) > openai.MODEL_LENGTH_MAX:
        message = f"a model in the header `{names[0]}` must have at most {openai.MODEL_LENGTH_MAX} characters"
        raise Refused(Reason.BAD_REQUEST, message)
    return model


def slo_s(headers: Mapping[str, str]) -> float | None:
    """The seconds within which the client wants its first token, if it says so."""
    told = first(headers, SLO_TTFT)
    if told is None:
        return None
    try:
        seconds = float(told) / 1000
    except ValueError:
        return None
    return seconds if 0 < seconds < math.inf else None
