"""A stream whose request makes room for others: an answer nobody asked for, once, and never after the end."""

from __future__ import annotations

import asyncio
from typing import Any

from epp.datastore.objects import Objective, PoolRef
from epp.datastore.policies import Policies
from epp.datastore.pool import Pool
from epp.edge.stream import Shared, Stream
from epp.flow.settings import FlowSettings
from epp.protocol.exchange import Buffers
from epp.telemetry import Telemetry
from protos.gen import ext_proc_pb2 as pb
from tests.edge.test_stream import answer_head, opening, piece
from tests.flow import make
from tests.kubeapi import virtual
from tests.make import chat, director, fleet, pool

BATCH = Objective("default", "batch", PoolRef("inference.networking.k8s.io", "p"), -1)


def now() -> float:
    return asyncio.get_running_loop().time()


class Site:
    """One endpoint with one place, and streams to it."""

    def __init__(self, **settings: Any) -> None:
        self.pool: Pool = pool("a", models={"a": ["llama3-8b"]})
        self.pool.policies = Policies(["default/p"], [BATCH], ())
        self.telemetry = Telemetry(fleet(self.pool))
        self.gate = make.gate(self.pool, now, make.Slots(1), FlowSettings(**{"evict": True, **settings}))
        self.director = director(self.pool, now=now, gate=self.gate, telemetry=self.telemetry)
        self.shared = Shared(Buffers(1 << 20, 1 << 20))

    def stream(self, name: str, objective: str | None = None) -> Peer:
        return Peer(self, name, objective)


class Peer:
    """The gateway's end of one."""

    def __init__(self, site: Site, name: str, objective: str | None) -> None:
        self.inbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.sent: list[pb.ProcessingResponse] = []
        stream = Stream(site.director, site.telemetry, now, site.shared)
        self.task = asyncio.get_running_loop().create_task(stream.run(self.inbox.get, self._write))
        head = pb.ProcessingRequest.FromString(opening())
        head.request_headers.headers.headers.add(key="x-request-id", raw_value=name.encode())
        if objective is not None:
            key = "x-llm-d-inference-objective"
            head.request_headers.headers.headers.add(key=key, raw_value=objective.encode())
        self.inbox.put_nowait(head.SerializeToString())
        self.inbox.put_nowait(piece(chat()))

    async def _write(self, data: bytes) -> None:
        self.sent.append(pb.ProcessingResponse.FromString(data))

    async def hears(self, count: int) -> None:
        while len(self.sent) < count:
            await asyncio.sleep(0.01)

    @property
    def kinds(self) -> list[str | None]:
        return [one.WhichOneof("response") for one in self.sent]


def test_a_sheddable_request_in_flight_is_cut_off_for_one_that_is_not() -> None:
    async def main() -> None:
        site = Site()
        batch = site.stream("r-1", "batch")
        await batch.hears(2)
        batch.inbox.put_nowait(answer_head(content_type="text/event-stream"))
        batch.inbox.put_nowait(piece(b"data: 1\n\n", end=False, side="response_body"))
        await batch.hears(4)
        chosen = site.stream("r-2")
        await chosen.hears(2)
        await batch.task

        assert batch.kinds[-1] == "immediate_response"
        cut = batch.sent[-1].immediate_response
        headers = {h.header.key: h.header.raw_value for h in cut.headers.set_headers}
        assert cut.status.code == 429
        assert b"request evicted by flow control" in cut.body
        assert headers["x-llm-d-request-dropped-reason"] == b"evicted"
        assert chosen.kinds == ["request_headers", "request_body"]
        receipts = list(site.director._receipts.latest(5))
        assert [receipt["outcome"] for receipt in receipts] == ["open", "evicted"]
        assert site.pool.endpoints[0].inflight_requests == 1
        value = site.telemetry.registry.get_sample_value
        labels = {"reason": "evicted", "fairness_id": "default-flow", "priority": "-1"}
        assert value("onehop_shed_total", labels) == 1
        chosen.inbox.put_nowait(None)
        await chosen.task
        assert site.pool.endpoints[0].inflight_requests == 0
        assert len(site.gate.control.evictions) == 0

    virtual.run(main())


def test_an_answer_that_is_through_is_not_cut_off() -> None:
    async def main() -> None:
        site = Site(wait_s_max=5.0)
        batch = site.stream("r-1", "batch")
        await batch.hears(2)
        batch.inbox.put_nowait(answer_head())
        batch.inbox.put_nowait(piece(b"{}", side="response_body"))
        await batch.hears(4)
        chosen = site.stream("r-2")
        await chosen.hears(1)

        assert batch.kinds == ["request_headers", "request_body", "response_headers", "response_body"]
        for peer in (batch, chosen):
            peer.inbox.put_nowait(None)
            await peer.task

    virtual.run(main())


def test_nobody_is_cut_off_unless_that_is_asked_for() -> None:
    async def main() -> None:
        site = Site(evict=False, wait_s_max=5.0)
        batch = site.stream("r-1", "batch")
        await batch.hears(2)
        chosen = site.stream("r-2")
        await chosen.hears(1)

        assert chosen.kinds == ["immediate_response"]
        assert len(batch.sent) == 2
        for peer in (batch, chosen):
            peer.inbox.put_nowait(None)
            await peer.task

    virtual.run(main())
