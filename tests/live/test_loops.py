"""Open and closed loops against real sockets: nothing is lost, and nothing is counted from when it suits the client."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from benchmarks.live.loops import SWEEP_S, ClosedLoop, Loop, OpenLoop
from benchmarks.live.messages import BROKEN, LOST, NO_CONNECTION, NOT_SENT, TIMEOUT, Plan, Sample, Shot
from epp.cli.stack import free_ports
from epp.edge.tls import self_signed
from tests.clock import Later
from tests.live.server import ANSWER, Reply, ok, serving


def plan(address: tuple[str, int], shots: list[Shot], **more: Any) -> Plan:
    given = {"path": "/v1/chat/completions", "host": "test", "model": "m", "seconds": 5.0, "stream": False, **more}
    return Plan(address=address, shots=shots, **given)


def every(gap_s: float, count: int) -> list[Shot]:
    return [Shot(n * gap_s, 4, 1, (n,)) for n in range(count)]


async def played(kind: type[Loop], asked: Plan) -> list[Sample]:
    loop = kind(asked)
    try:
        await loop.open()
        await loop.run()
        return loop.samples
    finally:
        loop.close()


async def test_a_stall_is_in_the_latency_of_all_who_would_have_asked_meanwhile() -> None:
    stall_s, begins = 0.4, 10
    released = asyncio.Event()

    async def stalling(writer: asyncio.StreamWriter, number: int) -> None:
        if number >= begins:
            if number == begins:
                asyncio.get_running_loop().call_later(stall_s, released.set)
            await released.wait()
        writer.write(ANSWER)

    async with serving(stalling) as address:
        samples = await played(OpenLoop, plan(address, every(0.02, 25)))

    stalled = [s for s in samples if s.shot >= begins]
    assert {s.status for s in samples} == {"200"}
    # The one that met the stall waited all of it; each later one waited what was left of it.
    for sample in stalled:
        left = stall_s - (sample.shot - begins) * 0.02
        assert sample.e2e_s is not None
        assert sample.e2e_s >= left * 0.9
    # A client that waits for each answer would have seen it once.
    assert sum((s.e2e_s or 0.0) > stall_s / 2 for s in stalled) >= 8


async def test_open_loop_does_not_wait_for_answers() -> None:
    asked, all_there = 0, asyncio.Event()

    async def answering_the_last(writer: asyncio.StreamWriter, number: int) -> None:
        nonlocal asked
        asked += 1
        if asked == 20:
            all_there.set()
        await all_there.wait()
        writer.write(ANSWER)

    async with serving(answering_the_last) as address:
        samples = await played(OpenLoop, plan(address, every(0.01, 20), seconds=60.0))

    assert [s.status for s in samples] == ["200"] * 20


async def closing(writer: asyncio.StreamWriter, number: int) -> None:
    writer.close()


async def nonsense(writer: asyncio.StreamWriter, number: int) -> None:
    writer.write(b"what?\r\n\r\n")


async def silent(writer: asyncio.StreamWriter, number: int) -> None:
    await asyncio.sleep(30)


async def failing(writer: asyncio.StreamWriter, number: int) -> None:
    writer.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")


@pytest.mark.parametrize(
    ("reply", "status"), [(ok, "200"), (failing, "503"), (closing, LOST), (nonsense, BROKEN), (silent, TIMEOUT)]
)
async def test_every_shot_ends_once_whatever_the_server_does(reply: Reply, status: str) -> None:
    async with serving(reply) as address:
        patience_s = 0.3 if reply is silent else 10.0
        samples = await played(OpenLoop, plan(address, every(0.005, 12), timeout_s=patience_s))

    assert sorted(s.shot for s in samples) == list(range(12))
    assert {s.status for s in samples} == {status}


async def test_nobody_there_is_said() -> None:
    samples = await played(OpenLoop, plan(("127.0.0.1", free_ports(1)[0]), every(0.005, 3)))

    assert [s.status for s in samples] == [NO_CONNECTION] * 3


@pytest.mark.parametrize(("trusted", "status"), [(True, "200"), (False, NO_CONNECTION)])
async def test_a_tls_server_must_be_one_that_this_machine_trusts(
    trusted: bool, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = self_signed(["localhost"])
    (tmp_path / "pair.pem").write_bytes(pair.chain + pair.key)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "pair.pem")
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "pair.pem"))
    async with serving(ok, tls) as address:
        samples = await played(OpenLoop, plan(address, every(0.01, 3), tls_name="localhost"))

    assert [s.status for s in samples] == [status] * 3


async def test_the_bound_on_requests_under_way_is_counted_and_not_hidden() -> None:
    async with serving(silent) as address:
        samples = await played(OpenLoop, plan(address, every(0.0, 10), in_flight_max=4, timeout_s=0.2))

    assert sorted(s.status for s in samples) == sorted([NOT_SENT] * 6 + [TIMEOUT] * 4)


async def test_what_follows_an_answer_waits_for_it_and_for_its_gap() -> None:
    begun: list[float] = []

    async def slow(writer: asyncio.StreamWriter, number: int) -> None:
        begun.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0.1)
        writer.write(ANSWER)

    shots = [Shot(0.0, 4, 1, (0,)), Shot(0.01, 4, 1, (1,), 0, 0.01), Shot(0.02, 4, 1, (2,), 1, 0.3)]
    async with serving(slow) as address:
        samples = await played(OpenLoop, plan(address, shots))

    due = [s.at for s in sorted(samples, key=lambda s: s.shot)]  # what latency counts from: waiting its turn is none
    assert len(due) == 3
    assert due[1] - due[0] >= 0.1  # not before the answer
    assert due[2] - due[1] >= 0.3 - 1e-9  # nor sooner than its gap, but for the rounding of floats
    assert begun[1] - begun[0] >= 0.1


async def test_followers_of_one_that_is_given_up_end_too() -> None:
    shots = [Shot(0.0, 4, 1, (0,)), Shot(0.0, 4, 1, (1,), 0), Shot(0.0, 4, 1, (2,), 1)]
    async with serving(silent) as address:
        samples = await played(OpenLoop, plan(address, shots, seconds=0.2))

    assert sorted(s.shot for s in samples) == [0, 1, 2]


async def test_a_closed_loop_has_as_many_under_way_as_connections(later: Later) -> None:
    under_way = answered = most = 0

    async def crowded(writer: asyncio.StreamWriter, number: int) -> None:
        nonlocal under_way, answered, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.005)
        under_way -= 1
        answered += 1
        if answered == 30:
            later.by_s = 120.0
        writer.write(ANSWER)

    async with serving(crowded) as address:
        asked = plan(address, every(0.0, 2), connections=3, seconds=60.0, timeout_s=600.0)
        samples = await played(ClosedLoop, asked)

    assert most == 3
    assert 30 <= len(samples) <= 32
    assert {s.status for s in samples} == {"200"}


async def test_a_closed_loop_ends_with_its_last_answers_and_asks_no_more(later: Later) -> None:
    asked, all_twice = 0, asyncio.Event()

    async def slow_to_the_second(writer: asyncio.StreamWriter, number: int) -> None:
        nonlocal asked
        asked += 1
        if asked > 8:
            writer.close()
            return
        if asked == 8:
            later.by_s = 120.0
            all_twice.set()
        if asked > 4:
            await all_twice.wait()
            await asyncio.sleep(3 * SWEEP_S)  # who does not wait for these has gone by then
        writer.write(ANSWER)

    async with serving(slow_to_the_second) as address:
        known = plan(address, every(0.0, 1), connections=4, seconds=60.0, timeout_s=600.0)
        samples = await played(ClosedLoop, known)

    assert asked == len(samples) == 8  # each connection's first answer comes at once, and its second after the time
    assert sum(s.at + (s.e2e_s or 0.0) > 60.0 for s in samples) == 4


async def test_a_closed_loop_does_not_storm_a_server_that_is_gone() -> None:
    address = ("127.0.0.1", free_ports(1)[0])
    samples = await played(ClosedLoop, plan(address, every(0.0, 1), connections=2, seconds=0.3))

    assert {s.status for s in samples} == {NO_CONNECTION}
    assert len(samples) < 30
