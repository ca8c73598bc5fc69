"""The guide's wirings as Istio would run them, on every Envoy: the right model, the right replica, whole answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.guide.replica import answer_bytes
from tests.guide.site import Answer, Site, chat
from tests.guide.wiring import guide_wiring
from tests.helm.chart import needs_helm
from tests.matrix.columns import ENVOYS
from tests.matrix.table import Table

BINARIES = {Path(folder).name: str(Path(folder).absolute() / "envoy" / "_bin" / "envoy") for folder in ENVOYS.split()}
MATH = "What is 2+2 * (5-1)?"
HISTORY = "Who was the first emperor of Rome?"
SIZES = (700_000, 1_500_000)
CASES = [
    (chat("auto", MATH), "phi4-mini"),
    (chat("auto", HISTORY), "llama3-8b"),
    (chat("llama3-8b", MATH), "llama3-8b"),
    (chat("phi4-mini", HISTORY), "phi4-mini"),
]
ROUNDS = 24
AT_ONCE = 4

pytestmark = [pytest.mark.asyncio(loop_scope="module"), needs_helm, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", params=[(v, w) for v in BINARIES for w in ("w1", "w2", "w3")], ids="-".join)
def column(request: pytest.FixtureRequest) -> tuple[str, str]:
    found: tuple[str, str] = request.param
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(column: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    version, wiring = column
    async with guide_wiring(wiring, tmp_path_factory.mktemp("wiring"), BINARIES[version]) as started:
        yield started


async def only_free(site: Site, number: int) -> None:
    """Of each model only one replica has no queue, and OneHop knows."""
    for name, replica in site.replicas.items():
        replica.waiting = 0 if name.endswith(f"-{number}") else 60

    async def queues() -> list[dict[str, float]]:
        known = [(await site.pools(onehop))["pools"] for onehop in site.onehops]
        return [{e["address"]: e["load"]["waiting"] for pool in pools for e in pool["endpoints"]} for pools in known]

    wanted = {replica.at: replica.waiting for replica in site.replicas.values()}
    await site.until(queues, lambda found: all(one == wanted for one in found), "queues")


@pytest.mark.parametrize("number", [0, 2])
async def test_the_right_model_and_the_right_replica(site: Site, number: int) -> None:
    await only_free(site, number)
    for body, model in CASES * 3:
        answer = await site.ask(body)
        receipt = await site.receipt(answer)

        assert answer.status == 200
        assert answer.headers["x-asked-model"] == model
        assert answer.headers["x-replica"] == f"{model}-{number}"
        assert answer.headers["x-vsr-selected-model"] == model
        assert receipt["picked"] == site.replicas[f"{model}-{number}"].at


async def test_what_a_client_says_of_the_route_changes_nothing(site: Site) -> None:
    await only_free(site, 1)
    elsewhere = site.replicas["llama3-8b-0"].at
    lies = {"x_selected_model": "llama3-8b", "x_gateway_destination_endpoint": elsewhere}
    answers = [await site.ask(chat("auto", MATH), **lies) for _ in range(6)]

    assert {(a.status, a.headers["x-replica"]) for a in answers} == {(200, "phi4-mini-1")}


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("size", SIZES)
async def test_large_answers_arrive_whole(
    site: Site, size: int, stream: bool, table: Table, column: tuple[str, str]
) -> None:
    answers = await ask_many(site, size, stream)
    table.note_wiring(
        column[1].upper(), f"answers of {size:,} B{', streamed' * stream}", column[0], whole(answers, size)
    )

    assert Counter((a.status, a.body == answer_bytes(size)) for a in answers) == {(200, True): ROUNDS}


async def test_a_large_request_with_a_large_answer(site: Site) -> None:
    size = SIZES[-1]
    question = MATH + " x" * 650_000
    answers = await ask_many(site, size, False, question)

    assert Counter((a.status, a.body == answer_bytes(size)) for a in answers) == {(200, True): ROUNDS}
    assert min(int(a.headers["x-asked-bytes"]) for a in answers) > len(question)


def whole(answers: list[Answer], size: int) -> str:
    """How many came as they were sent."""
    return f"{sum(a.body == answer_bytes(size) for a in answers)} of {len(answers)} whole"


async def ask_many(site: Site, size: int, stream: bool, question: str = MATH) -> list[Answer]:
    """Several at a time, each a little different."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> Answer:
        async with room:
            return await site.ask(chat("auto", f"{question} {number}", size, stream=stream))

    return list(await asyncio.gather(*(one(number) for number in range(ROUNDS))))
