"""Which requests are traced is what the SDK would have drawn, and what it would have read of `traceparent`."""

from __future__ import annotations

import logging
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, ParentBasedTraceIdRatio
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from epp.domain import Receipt
from epp.edge import sampling
from epp.edge.otel import Tracing
from epp.edge.sampling import ARGUMENT, DISABLED, SAMPLER, Caller
from epp.outcome import Routed
from epp.protocol.exchange import Route

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
NAMES = [f"{before}{name}" for before in ("", "parentbased_") for name in ("always_on", "always_off", "traceidratio")]
hexadecimal = st.text("0123456789abcdef", min_size=1, max_size=40)
header = (
    st.builds(
        "{}{}-{}-{}-{}{}".format,
        st.sampled_from(["", " ", "\t", "x"]),
        st.sampled_from(["00", "01", "cc", "ff", "0", "AA"]),
        st.sampled_from([TRACE, "0" * 32, TRACE.upper(), TRACE[1:]]) | hexadecimal,
        st.sampled_from([SPAN, "0" * 16, SPAN.upper(), SPAN[1:]]) | hexadecimal,
        st.sampled_from(["00", "01", "02", "03", "ff", "0", "1", "zz"]),
        st.sampled_from(["", " ", "-", "-more", "-" + "m" * 600, "more", "\n", ",", "\u0660"]),
    )
    | st.text()
)


@given(header)
def test_a_header_is_read_as_the_sdk_reads_it(said: str) -> None:
    theirs = get_current_span(TraceContextTextMapPropagator().extract({"traceparent": said}, Context()))
    context = theirs.get_span_context()
    ids = f"{context.trace_id:032x}", f"{context.span_id:016x}"
    told = Caller(*ids, context.trace_flags.sampled) if context.is_valid else None

    assert sampling.caller(said) == told or said.endswith("\n"), "theirs takes a line's end, which no header holds"


def test_of_the_flags_the_last_bit_counts() -> None:
    for flags in range(256):
        said = sampling.caller(f"00-{TRACE}-{SPAN}-{flags:02x}")

        assert said == Caller(TRACE, SPAN, sampled=bool(flags & 1))


@pytest.fixture(params=["0.25", "1", "0", None], ids=lambda argument: f"argument={argument}")
def argument(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ARGUMENT, raising=False)
    if request.param is not None:
        monkeypatch.setenv(ARGUMENT, request.param)


@pytest.mark.usefixtures("argument")
@pytest.mark.parametrize("name", [*NAMES, "TraceIdRatio", "jaeger_remote"])
def test_every_sampler_draws_what_the_sdks_draws(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SAMPLER, name)
    ours, theirs, rng = sampling.sampler(None), TracerProvider(shutdown_on_exit=False).sampler, Random(1)
    drawn = []
    for flag in (None, False, True):
        caller = None if flag is None else Caller(TRACE, SPAN, flag)
        flags = TraceFlags(TraceFlags.SAMPLED if flag else 0)
        above = NonRecordingSpan(SpanContext(1, 1, is_remote=True, trace_flags=flags))
        context = Context() if flag is None else set_span_in_context(above, Context())
        for _ in range(200):
            trace = rng.getrandbits(128)
            decision = theirs.should_sample(context, trace, "name").decision
            drawn.append((ours.takes(trace, caller), decision is Decision.RECORD_AND_SAMPLE))

    assert [mine for mine, _ in drawn] == [his for _, his in drawn]


def test_the_flag_goes_before_the_variables_and_follows_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SAMPLER, "always_on")
    ours, theirs, rng = sampling.sampler(0.1), ParentBasedTraceIdRatio(0.1), Random(1)
    traces = [rng.getrandbits(128) for _ in range(500)]

    his = [theirs.should_sample(Context(), trace, "name").decision is Decision.RECORD_AND_SAMPLE for trace in traces]
    assert [ours.takes(trace, None) for trace in traces] == his
    assert 20 < sum(his) < 80
    assert ours.takes(traces[0], Caller(TRACE, SPAN, sampled=True))


def test_what_is_no_sampler_is_passed_over_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(SAMPLER, "xray")
    with caplog.at_level(logging.WARNING):
        assert sampling.sampler(None).takes(sampling.LOW, None)
    monkeypatch.setenv(SAMPLER, "traceidratio")
    monkeypatch.setenv(ARGUMENT, "7")
    with caplog.at_level(logging.WARNING):
        assert sampling.sampler(None).takes(sampling.LOW, None)

    assert ["xray" in caplog.messages[0], "'7'" in caplog.messages[1]] == [True, True]


def test_a_disabled_sdk_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DISABLED, "true")

    assert not sampling.sampler(1.0).takes(0, Caller(TRACE, SPAN, sampled=True))


@pytest.mark.parametrize(
    ("sampler", "said", "told"),
    [
        ("parentbased_always_off", None, "new trace, not sampled"),
        ("parentbased_always_off", "no header", "new trace, not sampled"),
        ("parentbased_always_off", f"00-{TRACE}-{SPAN}-00", None),
        ("parentbased_always_off", f"00-{TRACE}-{SPAN}-01", "same trace, sampled"),
        ("always_off", f"00-{TRACE}-{SPAN}-01", "same trace, not sampled"),
        ("always_off", f"00-{TRACE}-{SPAN}-00", None),
        ("always_on", f"00-{TRACE}-{SPAN}-00", "same trace, sampled"),
        ("always_on", None, "new trace, sampled"),
    ],
)
def test_the_model_server_is_told_unless_the_caller_has_said_it(
    sampler: str, said: str | None, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that draws by its parent's flag would else sample on its own what we did not."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    monkeypatch.setenv(SAMPLER, sampler)
    seen = set()
    for _ in range(20):
        routed = Routed(Route("10.0.0.1:8000", [("x", "y")], [], []), None, Receipt("i", "r", 0.0, "/v1", "m"))
        trace = Tracing().start({} if said is None else {"traceparent": said}, 0.0)
        trace.routed(routed)
        headers = dict(routed.route.set_headers)
        assert headers["x"] == "y"
        if told is None:
            assert headers.keys() == {"x"}
            continue
        caller = sampling.caller(headers["traceparent"])
        assert caller is not None
        assert caller.sampled == ("not sampled" not in told)
        assert (caller.trace == TRACE) == ("same" in told)
        assert caller.span != SPAN
        seen.add((caller.trace, caller.span))

    assert len(seen) == (0 if told is None else 20), "every request has ids of its own"
