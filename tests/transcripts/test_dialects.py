"""The dialects of ext_proc, by what each gateway really sends: one transcript each (`docs/protocol-cases.md`)."""

from __future__ import annotations

from typing import Any

import pytest

from epp.domain import Usage
from epp.protocol.decision import Signer
from epp.protocol.headers import DECISION
from tests.make import FixedChooser
from tests.transcripts.picker import Picker
from tests.transcripts.wire import (
    AB,
    AC,
    AH,
    AT,
    BUFFERED,
    DUPLEX,
    IR,
    NO_PODS,
    NONE,
    PB,
    PH,
    PT,
    RB,
    REWRITE,
    RH,
    RT,
    STREAMED,
    B,
    C,
    H,
    P,
    T,
    ask,
    expect,
    pieces,
)

TO = "192.168.1.1:8000"
OTHER = "192.168.1.2:8000"
HI, NEW = ask("m", "hi"), ask("new", "hi")
SSE = "text/event-stream"


async def test_full_duplex_both_ways_with_trailers(epp: Picker) -> None:
    epp.serves(P(0), P(1, 9))
    body = ask("m", "x" * 200_000)
    new = ask("new", "x" * 200_000)

    await epp.transcript(
        (RH({REWRITE: "new"}, modes=(DUPLEX, DUPLEX)),),
        (RB(body[:70_000], eos=False),),
        (RB(b"", eos=False),),
        (RB(body[70_000:], eos=False),),
        (RT(), H(TO, "new", len(new), removed=(REWRITE,)), *pieces(new, eos=False), T()),
        (PH(SSE), AH("new")),
        (PB(b"data: 1\n\n", eos=False), AB(b"data: 1\n\n", eos=False)),
        (PB(b"", eos=False),),
        (PB(b"data: 2\n\n", eos=False), AB(b"data: 2\n\n", eos=False)),
        (PT(), AT()),
    )


async def test_one_hop_w1_decides_at_the_body_and_costs_nothing_per_token(epp: Picker) -> None:
    epp.serves(P(0), P(1, 9))

    receipt = await epp.transcript(
        (RH({REWRITE: "new"}, modes=(BUFFERED, NONE)), H()),
        (RB(HI), C(TO, "new", len(NEW), removed=(REWRITE,), body=NEW)),
        (PH(SSE), AH("new")),
        (PT(), AT()),
    )

    assert receipt is not None
    assert (receipt.outcome, receipt.status) == ("completed", 200)


async def test_one_hop_w1_leaves_a_body_alone_that_does_not_change(epp: Picker) -> None:
    epp.serves(P(0))

    await epp.transcript((RH(modes=(BUFFERED, NONE)), H()), (RB(HI), C(TO, "m")), (PH(), AH("m")))


async def test_one_hop_w1_asks_to_see_a_sample_of_the_answers(epp: Picker) -> None:
    epp.serves(P(0), sample_every=2)
    rows = ((RH(modes=(BUFFERED, NONE)), H()), (RB(HI), C(TO, "m")))
    said = b'{"usage":{"prompt_tokens":7,"completion_tokens":10}}'

    unseen = await epp.transcript(*rows, (PH(), AH("m")), (PT(), AT()))
    seen = await epp.transcript(
        *rows, (PH(), AH("m", asks=(BUFFERED, STREAMED))), (PB(said[:9], eos=False), AC()), (PB(said[9:]), AC())
    )

    assert unseen is not None
    assert unseen.usage is None
    assert seen is not None
    assert seen.usage == Usage(7, 10)


async def test_one_hop_w1_may_have_request_trailers(epp: Picker) -> None:
    epp.serves(P(0))

    await epp.transcript(
        (RH(modes=(BUFFERED, NONE)), H()), (RB(HI, eos=False), C(TO, "m")), (RT(), T()), (PH(), AH("m"))
    )


async def test_one_hop_w1_refuses_at_the_body(epp: Picker) -> None:
    await epp.transcript((RH(modes=(BUFFERED, NONE)), H()), (RB(HI), NO_PODS))


async def test_one_hop_w1_answers_a_request_without_body_at_its_headers(epp: Picker) -> None:
    epp.serves(P(0))

    await epp.transcript(
        (RH(modes=(BUFFERED, NONE), eos=True, method="GET", path="/health"), H(TO)), (PH(), AH(ours=True)), (PT(), AT())
    )


async def test_streamed_where_the_gateway_grants_a_whole_body(epp: Picker) -> None:
    epp.serves(P(0, 0, 0, ["m"]), P(1, 9, 0, ["phi"]), chooser=FixedChooser("phi", classification="skipped"))
    auto, phi = ask("auto", "hi"), ask("phi", "hi")

    await epp.transcript(
        (RH(modes=(STREAMED, STREAMED)), H(TO, asks=(BUFFERED, STREAMED))),
        (RB(auto), C(OTHER, "phi", len(phi), body=phi)),
        (PH(SSE), AH("phi")),
        (PB(b"a", eos=False), AC()),
        (PB(b"b"), AC()),
    )


async def test_streamed_where_the_gateway_goes_on_piece_by_piece(epp: Picker) -> None:
    epp.serves(P(0))

    await epp.transcript(
        (RH({"x-selected-model": "m"}, modes=(STREAMED, STREAMED)), H(TO, asks=(BUFFERED, STREAMED))),
        (RB(HI[:9], eos=False), C()),
        (RB(HI[9:], eos=False), C()),
        (RT(), T()),
        (PH(SSE), AH("m")),
        (PB(b"a", eos=False), AC()),
        (PT(), AT()),
    )


async def test_streamed_that_does_not_wait_for_the_headers_reply(epp: Picker) -> None:
    epp.serves(P(0))
    headers = H(TO, "new", len(NEW), removed=(REWRITE,))

    await epp.transcript(
        (RH({REWRITE: "new"}, modes=(STREAMED, STREAMED, True)),),
        (RB(HI[:9], eos=False),),
        (RB(HI[9:]), headers, C(body=NEW), C(body=b"")),
        (PH(), AH("new")),
        (PB(b"a"), AC()),
    )


async def test_headers_only_takes_the_model_from_its_header(epp: Picker) -> None:
    epp.serves(P(0, 0, 0, ["m"]), P(1, 9, 0, ["n"]))

    await epp.transcript((RH({"x-selected-model": "n"}, modes=(NONE, NONE)), H(OTHER)), (PH(), AH("n")), (PT(), AT()))


async def test_headers_only_without_a_model_goes_to_the_best_endpoint(epp: Picker) -> None:
    epp.serves(P(0, 9), P(1))

    await epp.transcript((RH(modes=(NONE, NONE)), H(OTHER)), (PH(), AH(ours=True)))


async def test_agentgateway_puts_pseudo_headers_last_and_takes_one_address(epp: Picker) -> None:
    epp.serves(P(0), P(1))
    body = b'{"model":"m","messages":[]}'
    says = "invalid chat completions request: must have valid messages field"

    # A path that was not read would be a completion.
    await epp.transcript((RH(path="/v1/chat/completions", raw=False),), (RB(body), IR(400, says, "bad_request")))
    # Pieces come without waiting for the headers reply; the end is a piece of its own.
    call = epp.open()
    await call.says((RH(raw=False),), (RB(HI, eos=False),))
    replies = await call.tell(RB(b""))
    to = replies[0].dynamic_metadata["envoy.lb"]["x-gateway-destination-endpoint"]
    expect(replies, [H(to, "m"), B(HI)])
    [other] = {TO, OTHER} - {to}

    assert "," not in to
    # It is asked again for each attempt, on a stream of its own, while the first is open.
    again = epp.open()
    await again.says((RH({"x-retry-attempt": "1"}, raw=False),), (RB(HI), H(other, "m"), B(HI)))
    await call.finish()
    await again.says((PH(served=other), AH("m")), (PB(b"a", eos=False), AB(b"a", eos=False)), (PB(b""), AB(b"")))
    await again.finish()


async def test_nginx_gateway_fabric_sends_headers_one_body_and_half_closes(epp: Picker) -> None:
    epp.serves(P(0), P(1, 9))
    call = epp.open()

    heard = await call.shot(RH(modes=None, method=None, path=None, raw=False), RB(HI))

    expect(heard, [H(TO, "m"), B(HI)])


async def test_nginx_gateway_fabric_is_refused_when_there_is_no_endpoint(epp: Picker) -> None:
    heard = await epp.open().shot(RH(modes=None, method=None, path=None, raw=False), RB(HI))

    expect(heard, [NO_PODS])


@pytest.mark.parametrize("modes", [(DUPLEX, DUPLEX), (BUFFERED, NONE), (STREAMED, STREAMED), (NONE, NONE), None])
async def test_a_stream_that_ends_at_once_is_no_error(epp: Picker, modes: Any) -> None:
    epp.serves(P(0))
    call = epp.open()

    await call.tell(RH(modes=modes))
    await call.finish()


GUIDE = (BUFFERED, NONE)  # of the guide's first filter; the second is Istio's, in full duplex
SIGNER = Signer(b"k" * 32)


async def test_the_guides_two_filters_are_one_decision(epp: Picker) -> None:
    auto, chosen = ask("auto", "hi"), ask("new", "hi")
    epp.serves(P(0), chooser=FixedChooser("new", decision="math"), first_of_two=True, signer=SIGNER)
    first = epp.open()
    await first.says((RH(modes=GUIDE), H(asks=(2, 0), skips_response=True)))
    (reply,) = await first.tell(RB(auto))
    common = reply.request_body.response
    told = {o.header.key: o.header.raw_value.decode() for o in common.header_mutation.set_headers}
    await first.finish()
    assert epp.receipt is not None
    before, leased = epp.receipt, epp.inflight

    epp.serves(P(0), P(1, 9), signer=SIGNER)
    await epp.transcript(
        (RH({DECISION: told[DECISION], "x-selected-model": "new"}, modes=(DUPLEX, DUPLEX)),),
        (RB(chosen), H(TO, removed=(DECISION,)), B(chosen)),
        (PH(), AH("new", more={"x-vsr-selected-decision": "math"}, classification="full")),
        (PB(b"{}"), AB(b"{}")),
    )

    assert common.body_mutation.body == chosen
    assert common.clear_route_cache
    assert told["content-length"] == str(len(chosen))
    assert told["x-selected-model"] == "new"
    assert "x-gateway-destination-endpoint" not in told
    assert (leased, before.outcome, before.picked) == ([0], "passed_on", None)
    assert (epp.receipt.first, epp.receipt.asked_model, epp.receipt.outcome) == (before.id, "auto", "completed")
    assert epp.metric("llm_d_epp_request_total") == 1


async def test_the_guides_first_filter_answers_a_request_without_body_at_its_headers(epp: Picker) -> None:
    epp.serves(P(0), first_of_two=True)

    await epp.transcript((RH(method="GET", path="/health", eos=True, modes=GUIDE), H(asks=(2, 0), skips_response=True)))


async def test_the_guides_first_filter_refuses_what_nobody_serves(epp: Picker) -> None:
    epp.serves(P(0, models=["other"]), first_of_two=True)

    await epp.transcript(
        (RH(modes=GUIDE), H(asks=(2, 0), skips_response=True)),
        (RB(ask("nobody")), IR(404, "the model `nobody` does not exist here", "model_not_found")),
    )
