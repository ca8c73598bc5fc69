"""Two streams of one request: what the first decides, it tells the second, which takes the lease.

Must stay true: what we did not sign, or said of another request, decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from epp import outcome
from epp.arrival import Rules
from epp.domain import Candidate, Endpoint, Reason, Receipt, Refused, Request
from epp.outcome import Routed
from epp.protocol import decision
from epp.protocol.decision import Decision
from epp.protocol.headers import DECISION, SELECTED_MODEL
from epp.protocol.messages import Decide


def told(ask: Decide, request_id: str, rules: Rules, wall: Callable[[], float]) -> Decision | None:
    """What the first stream decided about this request, if it said so. Raises Refused where it must have."""
    if rules.signer is None or rules.first_of_two:
        return None
    found = rules.signer.verify(ask.headers, wall())
    if found is None and rules.second_of_two:
        # A client that names the model in this header makes Envoy take the second filter's settings for the first
        # one, too; the answers of two full-duplex filters then come cut, or empty with a 200.
        message = f"the header `{SELECTED_MODEL}` is not for clients to send; name the model in the body"
        raise Refused(Reason.DECISION_MISSING, message)
    same = found is not None and found.about == decision.about(request_id, ask.headers, ask.body or b"")
    return found if same else None


def pass_on(ask: Decide, request: Request, receipt: Receipt, candidate: Candidate, likely: Endpoint) -> Routed:
    """The model is chosen, the endpoint is for the second stream to choose; so nothing is leased."""
    way = outcome.route(ask.headers, request, None, receipt.model, receipt, edits=candidate.edits_at(likely))
    return Routed(outcome.with_headers(way, candidate.headers, ask.headers), None, receipt, None)


def sign(routed: Routed, ask: Decide, rules: Rules, wall: Callable[[], float]) -> None:
    """Tell the second stream what the first decided."""
    way, receipt = routed.route, routed.receipt
    choice = receipt.choice
    if rules.signer is None or choice is None:
        return
    body = way.body if way.body is not None else ask.body or b""
    value = rules.signer.sign(
        Decision(
            until=wall() + decision.LIFETIME_S,
            about=decision.about(receipt.request_id, ask.headers, body),
            receipt=receipt.id,
            asked=receipt.asked_model,
            model=receipt.model,
            decision=choice.decision,
            category=choice.category,
            confidence=choice.confidence,
            classification=choice.classification,
        )
    )
    way.set_headers = [*way.set_headers, (DECISION, value)]
    way.remove_headers = [name for name in way.remove_headers if name != DECISION]
