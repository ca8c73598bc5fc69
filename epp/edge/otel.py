"""Traces by OpenTelemetry: imported only where tracing is on, as it alone, with `otlp.py`, imports the SDK.

A request's spans are made when it is over, of its receipt, so a request that is not sampled costs the dice and a
header (no header where its caller has sent one that says so), and one that is sampled pays after its answer. Only the
identities that the model server must be told are made before. Must stay true: whatever the collector does, no request
waits for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import getrandbits

from opentelemetry.sdk.environment_variables import OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from epp.domain import Receipt
from epp.edge import sampling
from epp.edge.otlp import Export, Tree, export
from epp.outcome import Routed
from epp.telemetry import otlp, package_version, spans
from epp.telemetry.otlp import Kind

_IDS, _SPAN = 128 + 64, 64  # bits of a trace's id and a span's behind it
_NOT_NULL = 1 << _SPAN | 1  # an id of zeros is none
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_KINDS = {Kind.INTERNAL: SpanKind.INTERNAL, Kind.SERVER: SpanKind.SERVER, Kind.CLIENT: SpanKind.CLIENT}
_UNSET, _FAILED = Status(StatusCode.UNSET), Status(StatusCode.ERROR)


@dataclass(frozen=True, slots=True)
class Placed:
    """A span in its trace: its own id and that of the one above it (0 is none), a caller's where it is `remote`."""

    said: spans.Span
    own: int
    above: int
    kind: Kind
    remote: bool = False


class Tracing:
    """A `Tracer`. `sample` and `endpoint` go before the SDK's environment variables, which say everything else."""

    def __init__(
        self, sample: float | None = None, endpoint: str | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises ConfigError for an environment that asks for what there is not."""
        self.now = now
        self._resource = _resource()
        self._scope = InstrumentationScope("onehop", package_version())
        self._export: Export | None = export(endpoint, self._resource, self._scope)
        self._sampler = sampling.sampler(sample)

    def start(self, headers: Mapping[str, str], began: float) -> _Sampled | _Untraced:
        """The caller's trace goes on; without one, or with one that we cannot read, a new one begins."""
        told = headers.get("traceparent")
        caller = None if told is None else sampling.caller(told)
        if caller is None:
            ids = getrandbits(_IDS) | _NOT_NULL
            trace = ids >> _SPAN
            return _Sampled(self, trace, 0, began) if self._sampler.takes(trace, None) else _Unsampled(ids)
        if not caller.sampled and self._sampler.follows:
            return _UNTRACED
        trace = int(caller.trace, 16)
        if self._sampler.takes(trace, caller):
            return _Sampled(self, trace, int(caller.span, 16), began)
        return _Unsampled(trace << _SPAN | self.identity()) if caller.sampled else _UNTRACED

    def identity(self) -> int:
        """The id of one more span."""
        return getrandbits(_SPAN) | 1

    def emit(self, trace: int, tree: list[Placed]) -> None:
        """The spans of a request that is over go to whoever exports them."""
        if self._export is None:
            return
        clock = time.time_ns() - int(self.now() * 1e9)
        if self._export.plain:
            made = [self._made(trace, placed, clock) for placed in tree]
            self._export.emit(Tree(len(tree), made=made))
            return
        encoded = [
            otlp.encode(
                placed.said,
                otlp.identity(trace, placed.own),
                placed.above.to_bytes(8, "big") if placed.above else b"",
                placed.kind,
                clock,
                remote=placed.remote,
            )
            for placed in tree
        ]
        self._export.emit(Tree(len(tree), b"".join(encoded)))

    def _made(self, trace: int, placed: Placed, clock: int) -> ReadableSpan:
        """The SDK's span. Whole from the start: one that changes on its way costs far more."""
        said = placed.said
        failed = {} if said.error is None else {"error.type": said.error}
        told = {name: value for name, value in said.attributes.items() if value is not None}
        above = SpanContext(trace, placed.above, placed.remote, _SAMPLED) if placed.above else None
        return ReadableSpan(
            said.name,
            SpanContext(trace, placed.own, is_remote=False, trace_flags=_SAMPLED),
            above,
            self._resource,
            {**told, **failed},
            kind=_KINDS[placed.kind],
            status=_FAILED if failed else _UNSET,
            start_time=clock + int(said.start * 1e9),
            end_time=clock + int(said.end * 1e9),
            instrumentation_scope=self._scope,
        )

    def fates(self) -> dict[str, int]:
        """Spans by what became of them."""
        return {} if self._export is None else self._export.fates()

    def trouble(self) -> str | None:
        """Why the last export failed; None where it did not."""
        return None if self._export is None else self._export.trouble()

    def flush(self) -> None:
        """Export what there is. Blocking; for measuring."""
        if self._export is not None:
            self._export.flush()

    def close(self) -> None:
        """Export what is left, as far as the collector takes it in time. Blocking."""
        if self._export is not None:
            self._export.close()


class _Sampled:
    """A request whose spans are exported."""

    __slots__ = ("_above", "_began", "_call", "_engine", "_over", "_own", "_trace", "_tracing")

    def __init__(self, tracing: Tracing, trace: int, above: int, began: float) -> None:
        self._tracing = tracing
        self._trace = trace
        self._own = tracing.identity()
        self._above = above
        self._began = began
        self._call = 0
        self._engine: str | None = None
        self._over = False

    def routed(self, routed: Routed) -> None:
        routed.receipt.trace_id = f"{self._trace:032x}"
        if routed.lease is None:  # the second stream of the request goes on under this one
            _tell(routed, self._trace << _SPAN | self._own, "01")
            return
        if self._call == 0:
            self._call = self._tracing.identity()
        probe = routed.lease.endpoint.probe
        self._engine = None if probe is None else probe.engine
        _tell(routed, self._trace << _SPAN | self._call, "01")

    def ended(self, receipt: Receipt) -> None:
        if self._over:
            return
        self._over = True
        receipt.trace_id = f"{self._trace:032x}"
        tracing, own = self._tracing, self._own
        after_s = receipt.decided_s if receipt.ended_s is None else receipt.ended_s
        ended = tracing.now() if after_s is None else receipt.time + after_s
        tree = [Placed(step, tracing.identity(), own, Kind.INTERNAL) for step in spans.steps(receipt, self._began)]
        if self._call:
            tree.append(Placed(spans.call(receipt, ended, self._engine), self._call, own, Kind.CLIENT))
        tree.append(self._whole(spans.request(receipt, self._began, ended)))
        tracing.emit(self._trace, tree)

    def abandoned(self) -> None:
        if self._over:
            return
        self._over = True
        said = spans.Span(spans.REQUEST, self._began, self._tracing.now(), error="disconnected")
        self._tracing.emit(self._trace, [self._whole(said)])

    def _whole(self, said: spans.Span) -> Placed:
        return Placed(said, self._own, self._above, Kind.SERVER, remote=self._above != 0)


class _Untraced:
    """A request of which nothing is exported, and whose caller has told everybody so."""

    __slots__ = ()

    def routed(self, routed: Routed) -> None:
        pass

    def ended(self, receipt: Receipt) -> None:
        pass

    def abandoned(self) -> None:
        pass


_UNTRACED = _Untraced()


class _Unsampled(_Untraced):
    """A request of which nothing is exported; the model server is told so, or it would draw again and take a trace."""

    __slots__ = ("_ids",)

    def __init__(self, ids: int) -> None:
        self._ids = ids

    def routed(self, routed: Routed) -> None:
        _tell(routed, self._ids, "00")


def _tell(routed: Routed, ids: int, flags: str) -> None:
    """The model server's spans come under this trace and span; `tracestate` goes on as it is.

    The header is W3C's (https://www.w3.org/TR/trace-context/).
    """
    told = f"{ids:048x}"
    routed.route.set_headers = [*routed.route.set_headers, ("traceparent", f"00-{told[:32]}-{told[32:]}-{flags}")]


def _resource() -> Resource:
    given = OTEL_SERVICE_NAME in os.environ or "service.name=" in os.environ.get(OTEL_RESOURCE_ATTRIBUTES, "")
    name = {} if given else {"service.name": "onehop"}
    return Resource.create({**name, "service.version": package_version()})
