"""The cases of the reference's table that are about what becomes of a response."""

from __future__ import annotations

from typing import Any

import pytest

from epp.domain import Usage
from tests.transcripts.picker import Picker
from tests.transcripts.wire import AB, AH, AT, PB, PH, PT, RB, REWRITE, RH, B, H, P, ask

SSE = "text/event-stream"
HI = ask("m", "hi")
STREAMING = HI[:-1] + b',"stream":true}'


def routed(body: bytes = HI) -> tuple[Any, ...]:
    """The rows of a request that went through."""
    return (RH(),), (RB(body), H("192.168.1.1:8000", "m"), B(body))


async def test_case_16_a_stream_that_begins_with_a_response_is_passed_on_piece_by_piece(epp: Picker) -> None:
    await epp.transcript(
        (PH(), AH()),
        (PB(b'{"max_tokens":1', eos=False), AB(b'{"max_tokens":1', eos=False)),
        (PB(b"00}"), AB(b"00}")),
    )


async def test_case_17_a_response_that_is_not_json_goes_on_as_it_is(epp: Picker) -> None:
    await epp.transcript((PH(), AH()), (PB(b"no healthy upstream"), AB(b"no healthy upstream")))


async def test_case_18_an_empty_last_piece_ends_the_response(epp: Picker) -> None:
    await epp.transcript((PH(), AH()), (PB(HI, eos=False), AB(HI, eos=False)), (PB(b""), AB(b"")))


async def test_case_19_events_go_on_one_by_one_and_their_usage_is_noted(epp: Picker) -> None:
    epp.serves(P(0))
    usage = (
        b'data: {"object":"text_completion","choices":[],'
        b'"usage":{"prompt_tokens":7,"total_tokens":17,"completion_tokens":10}}\n\ndata: [DONE]\n\n'
    )

    receipt = await epp.transcript(
        *routed(),
        (PH(SSE), AH("m")),
        (PB(b"data: {}\n\n", eos=False), AB(b"data: {}\n\n", eos=False)),
        (PB(usage, eos=False), AB(usage, eos=False)),
        (PB(b""), AB(b"")),
    )

    assert receipt is not None
    assert receipt.usage == Usage(prompt=7, completion=10)
    assert epp.metric("llm_d_epp_request_input_tokens_sum") == 7
    assert epp.metric("inference_objective_input_tokens_sum") == 7


WAYS = {
    "32": (HI, SSE, True),
    "33": (HI, "application/json", True),
    "34": (HI, SSE, False),
    "35": (HI, "application/json", False),
    "36": (STREAMING, SSE, True),
    "37": (STREAMING, "application/json", True),
    "38": (HI, f"{SSE}; charset=utf-8", True),
}


async def passes_on(epp: Picker, case: str) -> None:
    """One reply per piece at once, whatever the request and the response say of streaming."""
    body, kind, trailers = WAYS[case]
    epp.serves(P(0))
    last = (PT(), AT()) if trailers else (PB(b"c"), AB(b"c"))

    await epp.transcript(
        *routed(body),
        (PH(kind), AH("m")),
        (PB(b"a", eos=False), AB(b"a", eos=False)),
        (PB(b"b", eos=False), AB(b"b", eos=False)),
        last,
    )


async def test_case_32_events_with_trailers_go_on_at_once(epp: Picker) -> None:
    await passes_on(epp, "32")


async def test_case_33_json_with_trailers_goes_on_at_once(epp: Picker) -> None:
    await passes_on(epp, "33")


async def test_case_34_events_without_trailers_end_with_their_last_piece(epp: Picker) -> None:
    await passes_on(epp, "34")


async def test_case_35_json_without_trailers_ends_with_its_last_piece(epp: Picker) -> None:
    await passes_on(epp, "35")


async def test_case_36_a_request_for_a_stream_changes_nothing(epp: Picker) -> None:
    await passes_on(epp, "36")


async def test_case_37_a_request_for_a_stream_that_is_answered_as_json_changes_nothing(epp: Picker) -> None:
    await passes_on(epp, "37")


async def test_case_38_only_the_response_says_that_it_is_a_stream(epp: Picker) -> None:
    await passes_on(epp, "38")


async def test_case_49_system_headers_of_a_response_are_not_sent_again(epp: Picker) -> None:
    epp.serves(P(0))
    system = {
        "x-gateway-destination-endpoint": "10.9.9.9:8000",
        "x-gateway-destination-endpoint-served": "10.9.9.9:8000",
        "x-llm-d-request-dropped-reason": "evil",
        "content-length": "1",
    }

    await epp.transcript(*routed(), (PH(more=system), AH("m")), (PB(b"a"), AB(b"a")))


NAMED = {
    "tight": (b'{"model":"T","n":1}', b'{"model":"my-model","n":1}'),
    "spaced": (b'{"model": "T"}', b'{"model": "my-model"}'),
    "twice, once inside": (b'{"model":"T","x":{"model":"T"}}', b'{"model":"my-model","x":{"model":"T"}}'),
    "another's": (b'{"model":"U"}', b'{"model":"U"}'),
    "none": (b"{}", b"{}"),
}


@pytest.mark.parametrize("name", NAMED)
async def test_case_50_the_model_is_called_as_the_client_called_it_where_that_is_asked_for(
    epp: Picker, name: str
) -> None:
    epp.serves(P(0), restore_model=True)
    said, heard = NAMED[name]
    new = ask("T")

    await epp.transcript(
        (RH({REWRITE: "T"}),),
        (RB(ask()), H("192.168.1.1:8000", "T", len(new), removed=(REWRITE,)), B(new)),
        (PH(), AH("T", removed=("content-length",))),
        (PB(said), AB(heard)),
    )


async def test_case_50_in_events_too_and_across_pieces(epp: Picker) -> None:
    epp.serves(P(0), restore_model=True)
    new = ask("T")
    said = b'data: {"model": "T"}\n\ndata: {"model":"T","choices":[]}\n\n'
    rows = [(PB(bytes([byte]), eos=False),) for byte in said]
    call = epp.open()

    await call.says(
        (RH({REWRITE: "T"}),),
        (RB(ask()), H("192.168.1.1:8000", "T", len(new), removed=(REWRITE,)), B(new)),
        (PH(SSE), AH("T", removed=("content-length",))),
    )
    heard = [reply for (message,) in rows for reply in await call.tell(message)]
    heard += await call.tell(PB(b""))
    await call.finish()

    body = b"".join(reply.response_body.response.body_mutation.streamed_response.body for reply in heard)
    assert body == said.replace(b'"T"', b'"my-model"')


async def usage_of(epp: Picker, kind: str, *said: bytes) -> Usage | None:
    """The tokens noted for an answer that came in these pieces."""
    epp.serves(P(0))
    rows = [(PB(piece, eos=False), AB(piece, eos=False)) for piece in said]
    receipt = await epp.transcript(*routed(), (PH(kind), AH("m")), *rows, (PB(b""), AB(b"")))
    assert receipt is not None
    return receipt.usage


async def test_case_51_usage_that_grows_over_events_is_counted_once(epp: Picker) -> None:
    said = [
        b'data: {"usage":{"prompt_tokens":7,"completion_tokens":%d,"total_tokens":%d}}\n\n' % (n, 7 + n)
        for n in (1, 2, 3)
    ]
    cut = b"".join(said)

    assert await usage_of(epp, SSE, cut[:40], cut[40:77], cut[77:], b"data: [DONE]\n\n") == Usage(7, 3)


async def test_case_52_anthropics_usage_is_in_the_first_and_the_last_event(epp: Picker) -> None:
    start = (
        b'event: message_start\ndata: {"type":"message_start","message":{"model":"m",'
        b'"usage":{"input_tokens":1000,"cache_read_input_tokens":800,"output_tokens":1}}}\n\n'
    )
    delta = b'event: message_delta\ndata: {"type":"message_delta","delta":{},"usage":{"output_tokens":200}}\n\n'

    assert await usage_of(epp, SSE, start, delta) == Usage(1000, 200, 800)


async def test_case_56_a_reset_after_the_choice_gives_everything_back(epp: Picker) -> None:
    epp.serves(P(0))
    call = epp.open()
    await call.says(*routed())
    before = epp.inflight

    await call.reset()

    assert before == [1]
    assert epp.inflight == [0]
    assert epp.receipt is not None
    assert epp.receipt.outcome == "disconnected"


async def test_case_88_an_error_of_the_model_server_is_counted_by_its_status(epp: Picker) -> None:
    epp.serves(P(0))

    await epp.transcript(*routed(), (PH(status=503), AH("m")), (PB(b"busy"), AB(b"busy")))

    assert epp.metric("llm_d_epp_request_error_total", error_code="ModelServerError") == 1
    assert epp.metric("inference_objective_request_error_total", error_code="ModelServerError") == 1


async def test_case_90_the_endpoint_that_served_takes_over_the_request_and_the_prompt(epp: Picker) -> None:
    epp.serves(P(0), P(1), P(2))
    call = epp.open()
    prompt = "what was said before, at length. " * 60
    body = ask("m", prompt)
    await call.says((RH(),))
    chosen = (await call.tell(RB(body)))[0].dynamic_metadata["envoy.lb"]["x-gateway-destination-endpoint"]
    other = next(e.address for e in epp.pool.endpoints if e.address != chosen)

    await call.says((PH(served=other), AH("m")))
    charged = {e.address: e.inflight_requests for e in epp.pool.endpoints if e.inflight_requests}
    await call.finish()
    for number in range(5):  # chance would have to choose it each time
        longer = ask("m", f"{prompt}{number}")
        await epp.transcript((RH({"x-request-id": f"r{number}"}),), (RB(longer), H(other, "m"), B(longer)))

    assert charged == {other: 1}
