"""TLS, and cleartext beside it."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2

from epp.edge import tls
from tests.edge.http2.peer import PATH
from tests.edge.http2.site import Client, anybody, ask, serving
from tests.edge.until import until


async def test_one_port_tells_tls_from_cleartext() -> None:
    pair = tls.self_signed([])
    async with serving(contexts=tls.Contexts(lambda: pair), detects=True) as site:
        told = [await ask(site.server.port), await ask(site.server.port, grpc.ssl_channel_credentials(pair.chain))]

        assert told == [health_pb2.HealthCheckResponse.SERVING] * 2


async def test_cleartext_on_a_port_of_tls_is_refused() -> None:
    pair = tls.self_signed([])
    async with serving(contexts=tls.Contexts(lambda: pair)) as site:
        client = await Client.connected(site)
        client.call(1)
        await client.over()

        assert site.reads == 0


async def test_large_messages_go_both_ways_over_tls() -> None:
    pair = tls.self_signed([])
    options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.max_receive_message_length", -1)]
    async with serving(contexts=tls.Contexts(lambda: pair)) as site:
        target, trust = f"127.0.0.1:{site.server.port}", grpc.ssl_channel_credentials(pair.chain)
        async with grpc.aio.secure_channel(target, trust, options) as channel:
            call = channel.stream_stream(PATH)()
            said = [bytes([number]) * (3 << 20) for number in range(4)]
            for each in said:
                await call.write(each)
            await call.done_writing()
            heard = [each async for each in call]

        assert heard == said


async def test_a_tls_client_that_closes_is_gone() -> None:
    pair = tls.self_signed([])
    async with serving(contexts=tls.Contexts(lambda: pair)) as site:
        client = await Client.connected(site, context=anybody())
        client.call(1)
        await until(lambda: site.reads == 1)
        client.close()
        await until(lambda: site.ended)

        assert site.ended == ["cancelled"]
