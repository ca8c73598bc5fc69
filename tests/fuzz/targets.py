"""What is fuzzed: each decoder, the exceptions it may answer with, and words that a mutation may put in.

A target raises one of `allowed`, or nothing; anything else is a defect, and so is an `AssertionError`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from epp.datastore.exposition import BadMetrics
from epp.datastore.model_list import BadModelList
from epp.domain import ConfigError, Refused
from epp.protocol.codec import BadMessage
from semantic.reading import ConfigError as SemanticConfigError
from tests.fuzz import decoders
from tests.fuzz.play import play, play_headers


@dataclass(frozen=True)
class Target:
    """One decoder."""

    name: str
    run: Callable[[bytes], None]
    allowed: tuple[type[Exception], ...] = ()
    words: tuple[bytes, ...] = ()

    def check(self, data: bytes) -> None:
        """Raises what the target must not raise."""
        with suppress(self.allowed):
            self.run(data)


_JSON = (b'"model":', b'"usage":', b"null", b"{", b"}", b"[", b"]", b'"', b"\\u0041", b"\\", b",", b":", b"1e999")
_EVENTS = (*_JSON, b"data: ", b"event: x\n", b"\n\n", b"\r\n", decoders.SERVED.encode(), b'"model":"served-model"')
_HTTP = (
    b":method: POST",
    b":path: /v1/messages",
    b"\n",
    b"content-length: 12",
    b"content-encoding: gzip",
    b"prefer: if-available",
    b"x-request-id: r",
    b"x-retry-attempt: 1",
    b"x-gateway-model-name-rewrite: a",
    b"9" * 40,
)
_PARTS = (
    *_HTTP,
    *_JSON,
    b"\n---\n",
    b"h",
    b"B",
    b"b",
    b"t",
    b"H",
    b"P",
    b"p",
    b"T",
    b"R",
    b"X",
    b"duplex",
    b"one-hop",
    b" first",
    b" strict",
    b" restore",
)
_KUBERNETES = (
    b'"metadata":{"name":"a","namespace":"n"}',
    b'"spec":',
    b'"targetPorts":',
    b'"number":',
    b'"podIP":',
    b'"rules":',
)
_YAML = (
    b"- ",
    b": ",
    b"\n",
    b"  ",
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!int ",
    b"!!binary ",
    b"? ",
    b"|",
    b"[",
    b"]",
    b"{",
    b"}",
)

TARGETS = {
    target.name: target
    for target in (
        Target(
            "message",
            decoders.message,
            (BadMessage, Refused),
            (b"\x12", b"\x0a", b"\x1a", b"\x22", b"\xff\xff\xff\xff\x0f"),
        ),
        Target("stream", play, (), _PARTS),
        Target("headers", play_headers, (), _HTTP),
        Target(
            "request",
            decoders.request,
            (Refused,),
            (*_JSON, b"\n\n", b":path: ", b'"messages":', b'"prompt":', b'"input":'),
        ),
        Target(
            "usage",
            decoders.usage,
            (),
            (*_EVENTS, b'"prompt_tokens":7', b'"output_tokens":7', b'"usage":{"prompt_tokens":1}'),
        ),
        Target("restore", decoders.restore, (), _EVENTS),
        Target(
            "metrics",
            decoders.metrics,
            (BadMetrics,),
            (
                *(b"vllm:num_requests_waiting ", b"{", b'"', b"\n", b"NaN", b"1_0", b"=", b"sglang:token_usage "),
                *(b'max_lora="', b'running_lora_adapters="', b"vllm:lora_requests_info", b'request_type="waiting"'),
                *(
                    b"nv_trt_llm_request_metrics",
                    b"trtllm_num_requests_running ",
                    b"nv_inference_pending_request_count ",
                ),
            ),
        ),
        Target(
            "http",
            decoders.http,
            (),
            (
                *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 404 No\r\n", b"HTTP/1.1 100 C\r\n\r\n", b"\r\n", b"\r\n\r\n"),
                *(
                    b"Content-Length: ",
                    b"Transfer-Encoding: chunked\r\n",
                    b"Connection: close\r\n",
                    b"0\r\n\r\n",
                    b"9" * 20,
                ),
            ),
        ),
        Target("models", decoders.models, (BadModelList,), (*_JSON, b'"id":', b'"parent":', b'"data":')),
        Target(
            "endpoints", decoders.endpoints, (ConfigError,), (*_YAML, b"endpoints:", b"address:", b"port:", b"labels:")
        ),
        Target(
            "objects",
            decoders.objects,
            (msgspec.DecodeError, UnicodeDecodeError, RecursionError),
            (*_JSON, *_KUBERNETES),
        ),
        Target(
            "selector",
            decoders.selector,
            (ValueError,),
            (b" in (", b" notin (", b"!", b"=", b"==", b"!=", b",", b")", b"a/b"),
        ),
        Target("decision", decoders.decision, (), (b".", b"==", b"-_", b"\n", b"[", b"null")),
        Target(
            "identity",
            decoders.identity,
            (ValueError,),
            (b"header:", b"host", b"attribute:", b"none", b"\n", b":authority: ", b"[::1]:80"),
        ),
        Target(
            "semantic",
            decoders.semantic,
            (SemanticConfigError,),
            (*_YAML, b"version: v0.3", b"2024-13-45", b"0o9", b".inf", b"1:99"),
        ),
    )
}
