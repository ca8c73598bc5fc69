"""A request's trace from the caller through a real Envoy and OneHop to the model server, as a collector gets it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import Answer, Site, chat
from tests.edge.collector import FLUSH_MS, Collector, collecting

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{CALLER}-01", f"00-{TRACE}-{CALLER}-00"
SECRET = "Solve 3 * x + 7 = 22 for x, then factor x**2 - 9. Call the answer xyzzy-4711."
SERVER, CLIENT = 2, 3
STEPS = ["onehop.gather", "onehop.choose", "onehop.wait", "onehop.pick"]  # the first and third if they took any time

Start = Callable[..., Any]


@asynccontextmanager
async def traced(start: Start, monkeypatch: pytest.MonkeyPatch, **more: Any) -> AsyncIterator[tuple[Site, Collector]]:
    """A stack that exports to a collector of this process; the child inherits the environment."""
    async with collecting() as collector:
        for name, value in {**FLUSH_MS, **more.pop("environment", {})}.items():
            monkeypatch.setenv(name, value.format(http=collector.http_url, grpc=collector.grpc_url))
        flags = [flag.format(http=collector.http_url, grpc=collector.grpc_url) for flag in more.pop("flags", [])]
        async with start(serve_flags=["--classify-deadline=5s", "--tracing", *flags], **more) as site:
            yield site, collector


def told(answer: Answer) -> tuple[str, str, bool]:
    """Trace, parent and whether it is sampled, as the model server was told them."""
    version, trace, parent, flags = answer.headers["x-simulated-traceparent"].split("-")
    assert version == "00"
    return trace, parent, bool(int(flags, 16) & 1)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("wiring", "streams"), [("buffered", False), ("duplex", True)])
async def test_one_tree_joins_the_caller_and_the_model_server(
    start: Start, monkeypatch: pytest.MonkeyPatch, wiring: str, streams: bool, workers: int
) -> None:
    flags = ["--tracing-endpoint={grpc}", f"--workers={workers}"]
    async with traced(start, monkeypatch, wiring=wiring, flags=flags) as (site, collector):
        ask = chat("auto", SECRET, stream=streams, stream_options={"include_usage": True}) if streams else None
        answer = await site.post(ask or chat("auto", SECRET), traceparent=SAMPLED, tracestate="vendor=1")
        spans = await collector.whole()
        receipt = await site.receipt(answer)

    request, call = collector.named("gateway.request"), collector.named("chat phi4-mini")
    assert {span["trace"] for span in spans} == {TRACE} == {receipt["trace_id"]}
    assert (request["parent"], request["kind"]) == (CALLER, SERVER)
    assert told(answer) == (TRACE, call["id"], True)
    assert (call["parent"], call["kind"]) == (request["id"], CLIENT)
    steps = sorted((span for span in spans if span["name"] in STEPS), key=lambda span: STEPS.index(span["name"]))
    assert {"onehop.choose", "onehop.pick"} <= {step["name"] for step in steps}
    assert {step["parent"] for step in steps} == {request["id"]}
    ends = [request["start"], *(step["end"] for step in steps), call["start"]]
    assert ends == sorted(ends)
    assert request["end"] == call["end"] > call["start"]
    assert not any(span["failed"] for span in spans)
    assert request["attributes"]["onehop.receipt.id"] == answer.headers["x-onehop-receipt"]
    assert request["attributes"]["gen_ai.request.model"] == "auto"
    assert call["attributes"]["gen_ai.request.model"] == "phi4-mini"
    assert call["attributes"]["gen_ai.operation.name"] == "chat"
    assert call["attributes"]["gen_ai.provider.name"] == "vllm"
    assert f"{call['attributes']['server.address']}:{call['attributes']['server.port']}" == receipt["picked"]
    assert collector.named("onehop.choose")["attributes"]["onehop.decision"] == "math_decision"
    if streams:
        assert call["attributes"]["gen_ai.usage.output_tokens"] == receipt["usage"]["completion"] > 0
        assert 0 < call["attributes"]["gen_ai.response.time_to_first_chunk"] == receipt["ttft_from_decision_s"]
    assert "xyzzy" not in repr((spans, collector.resources))
    assert collector.resources[0]["service.name"] == "onehop"


async def test_over_http_with_the_standard_variables_alone(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "{http}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_TRACES_SAMPLER": "always_on",
        "OTEL_SERVICE_NAME": "picker-of-team-a",
    }
    async with traced(start, monkeypatch, environment=environment) as (site, collector):
        answer = await site.post(chat("phi4-mini"))
        spans = await collector.whole()

    assert collector.resources[0]["service.name"] == "picker-of-team-a"
    assert told(answer) == (spans[0]["trace"], collector.named("chat phi4-mini")["id"], True)
    assert collector.named("gateway.request")["parent"] == ""


async def test_what_is_not_sampled_is_told_so_and_not_exported(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--tracing-endpoint={grpc}", "--tracing-sample=0"]
    async with traced(start, monkeypatch, flags=flags) as (site, collector):
        fresh = await site.post(chat("phi4-mini"))
        declined = await site.post(chat("phi4-mini"), traceparent=UNSAMPLED)
        await site.post(chat("phi4-mini"), traceparent=SAMPLED)
        spans = await collector.whole()
        receipt = await site.receipt(declined)

    assert not told(fresh)[2]
    assert (told(declined)[0], told(declined)[2]) == (TRACE, False)
    assert {span["trace"] for span in spans} == {TRACE}
    assert sum(span["name"] == "gateway.request" for span in spans) == 1
    assert receipt["trace_id"] is None


@pytest.mark.parametrize("workers", [1, 2])
async def test_refusals_and_failures_are_marked(start: Start, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    flags = ["--tracing-endpoint={grpc}", "--tracing-sample=1", f"--workers={workers}"]
    async with traced(start, monkeypatch, flags=flags) as (site, collector):
        unknown = await site.post(chat("gpt-9"))
        await collector.whole()
        refused = collector.named("gateway.request")
        collector.spans.clear()
        await site.post(chat("phi4-mini"), **{"x-simulate-status": "500"})
        await collector.whole()

    assert unknown.status == 404
    assert refused["attributes"]["onehop.outcome"] == "model_not_found"
    assert refused["attributes"]["onehop.receipt.id"] == unknown.headers["x-onehop-receipt"]
    assert not refused["failed"], "a client's mistake is no error of the server"
    failed = collector.named("chat phi4-mini")
    assert failed["failed"]
    assert failed["attributes"]["error.type"] == "500"


async def test_a_collector_that_is_not_there_keeps_nobody_waiting(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--tracing-endpoint=http://127.0.0.1:1", "--tracing-sample=1"]
    async with traced(start, monkeypatch, flags=flags) as (site, collector):
        answers = await asyncio.gather(*(site.post(chat("phi4-mini")) for _ in range(20)))
        process = site.stack.onehop
        assert process is not None
        process.terminate()
        code = await asyncio.to_thread(process.wait, 20)

    assert {answer.status for answer in answers} == {200}
    assert code == 0
    assert collector.spans == []


async def test_nothing_of_opentelemetry_is_loaded_where_tracing_is_off(tmp_path: Path) -> None:
    code = (
        "import sys, epp.app, epp.edge.stream, epp.cli.serve, epp.semantic_stage\n"
        "sys.exit(any(name.partition('.')[0] == 'opentelemetry' for name in sys.modules))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=tmp_path)

    assert await process.wait() == 0
