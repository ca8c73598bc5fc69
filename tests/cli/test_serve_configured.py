"""`onehop serve` with an EndpointPickerConfig: the file says where endpoints are, who reads bodies and who chooses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
from envoy.service.ext_proc.v3 import external_processor_pb2 as envoy
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc as envoy_grpc

from tests.cli.test_serve import PLAIN, connected, running

BODY = json.dumps({"model": "m", "prompt": "hi"}).encode()
DESTINATION = "x-gateway-destination-endpoint"
CONFIG = """
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins:
- {type: file-discovery, parameters: {path: PATH}}
- type: header-based-testing-filter
- type: precise-prefix-cache-producer
- type: prefix-cache-scorer
- type: openai-parser
dataLayer: {discovery: {pluginRef: file-discovery}}
requestHandler: {parsers: [{pluginRef: openai-parser}]}
"""


def config(tmp_path: Path) -> str:
    endpoints = tmp_path / "listed.json"
    ports = {"a": 9, "b": 19, "c": 29}
    listed = [{"name": name, "address": "127.0.0.1", "port": port} for name, port in ports.items()]
    endpoints.write_text(json.dumps({"endpoints": listed}))
    return CONFIG.replace("PATH", str(endpoints))


async def ask(channel: grpc.aio.Channel, path: str, **more: str) -> list[Any]:
    """The replies to one request with a body, in full duplex."""
    call = envoy_grpc.ExternalProcessorStub(channel).Process()  # type: ignore[no-untyped-call]  # generated
    head, body = envoy.ProcessingRequest(), envoy.ProcessingRequest()
    for key, value in {":method": "POST", ":path": path, **more}.items():
        head.request_headers.headers.headers.add(key=key.replace("_", "-"), raw_value=value.encode())
    body.request_body.body, body.request_body.end_of_stream = BODY, True
    await call.write(head)
    await call.write(body)
    await call.done_writing()
    return [reply async for reply in call]


async def test_a_file_says_where_endpoints_are_who_chooses_and_whose_bodies_are_read(tmp_path: Path) -> None:
    file = tmp_path / "picker.yaml"
    file.write_text(config(tmp_path))
    async with running(tmp_path, PLAIN, source=f"--config-file={file}") as serve, connected(serve.grpc_port) as channel:
        to = []
        for port in (29, 9, 19):
            selection = {"test-epp-endpoint-selection": f"127.0.0.1:{port}"}
            replies = await ask(channel, "/v1/completions", **selection)
            to.append(replies[0].dynamic_metadata["envoy.lb"][DESTINATION])
        (refused,) = await ask(channel, "/v1/messages")
        log = serve.log.read_text()

    assert to == ["127.0.0.1:29", "127.0.0.1:9", "127.0.0.1:19"]
    assert refused.immediate_response.status.code == 400
    assert b"no parser registered matching path suffix for: /v1/messages" in refused.immediate_response.body
    assert "ENGINES' KV CACHE EVENTS ARE NOT READ" in log
    assert "any client can choose its endpoint" in log


async def test_text_in_place_of_a_file_does_the_same(tmp_path: Path) -> None:
    async with running(tmp_path, PLAIN, source=f"--config-text={config(tmp_path)}") as serve:
        async with connected(serve.grpc_port) as channel:
            replies = await ask(channel, "/v1/completions", test_epp_endpoint_selection="127.0.0.1:19")

        assert replies[0].dynamic_metadata["envoy.lb"][DESTINATION] == "127.0.0.1:19"
