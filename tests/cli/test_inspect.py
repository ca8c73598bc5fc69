"""`onehop inspect` against a real admin address, and against what is none."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from aiohttp import web

from epp.__main__ import main
from epp.cli import pools_table
from epp.datastore.fleet import Fleet
from epp.datastore.objects import POOL_GROUP, Objective, PoolRef, Rewrite, RewriteRule, Target
from epp.datastore.policies import Policies
from epp.datastore.pool import Listed
from epp.datastore.receipts import Receipts
from epp.domain import Probe
from epp.edge.admin import admin_app
from epp.scheduling import standing
from tests.cli.listening import listening
from tests.make import load

Told = tuple[int, str, str]
WIDTH = 100


def shop() -> Fleet:
    """Two pools of two and one endpoints, with something to say about each."""
    made = Fleet(home="shop")
    ref = PoolRef(POOL_GROUP, "chat")
    rule = RewriteRule(("gpt-4",), (Target("llama3-8b"),))
    made.pool("shop/chat").policies = Policies(
        ["shop/chat"],
        [Objective("shop", "critical", ref, 10), Objective("shop", "batch", ref, -1)],
        [
            Rewrite("shop", "old", "2026-01-01", "1", ref, (rule,)),
            Rewrite("shop", "new", "2026-01-02", "2", ref, (rule,)),
        ],
    )
    made.relist(
        "shop/chat",
        [
            Listed("shop/llama-0-rank-0", "10.0.0.1:8000"),
            Listed("shop/llama-1-rank-0", "10.0.0.2:8000", declared={"llama3-8b": "llama3-8b"}),
        ],
    )
    made.relist("shop/math", [Listed("shop/phi-0-rank-0", "[2001:db8::1]:8000")])
    first, second, _ = made.all.endpoints
    first.models = {"llama3-8b": "llama3-8b", "a-lora": "llama3-8b"}
    first.load = load(at=8.0, waiting=4, running=7, kv_usage=0.314)
    first.inflight_requests, first.inflight_tokens = 3, 12_345
    second.reachable = False
    return made


def admin(state: dict[str, Callable[[], Any]] | None = None, token: str | None = None) -> web.Application:
    return admin_app(shop(), Receipts(), state or {}, token, now=lambda: 10.0, prefix=lambda endpoint: 2000)


@pytest.fixture
def inspect(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.delenv("ONEHOP_ADMIN_TOKEN", raising=False)

    async def told(app: web.Application, *words: str) -> Told:
        async with listening(app) as address:
            code = await asyncio.to_thread(main, ["inspect", f"--address={address}", *words])
        said = capsys.readouterr()
        return code, said.out, said.err.replace(address, "HERE")

    return told


async def test_the_table_shows_each_endpoint_with_its_numbers(inspect: Callable[..., Any]) -> None:
    code, out, _ = await inspect(admin({"scrape": lambda: {"shop/llama-1-rank-0": {"/metrics": "refused"}}}))

    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    assert ["ENDPOINT", "ADDRESS", "SENT", "TOKENS", "WAIT", "RUN", "KV", "PREFIX", "AGE", "MODELS"] in rows
    assert [
        "llama-0",
        "10.0.0.1:8000",
        "3",
        "12k",
        "4",
        "7",
        "31%",
        "2000",
        "2.0s",
        "llama3-8b,",
        "a-lora",
    ] in rows
    assert ["!", "llama-1", "10.0.0.2:8000", "0", "0", "-", "-", "-", "2000", "-", "llama3-8b?"] in rows
    assert ["phi-0", "[2001:db8::1]:8000", "0", "0", "-", "-", "-", "2000", "-", "any"] in rows
    assert "POOL shop/chat: 2 endpoints, 1 ejected\n" in out


async def test_what_is_wrong_is_said_in_words_below_the_table(inspect: Callable[..., Any]) -> None:
    state = {
        "discovery": lambda: None,
        "streams": lambda: {"open": 2, "turned_away": 0},
        "watch": lambda: "pods is forbidden",
        "scrape": lambda: {
            "shop/llama-0-rank-0": {"/v1/models": "404"},
            "shop/llama-1-rank-0": {"/metrics": "refused"},
        },
    }
    _, out, _ = await inspect(admin(state))
    said = " ".join(out.split())

    assert "trouble shop/llama-0-rank-0: /v1/models: 404" in said
    assert "ejected shop/llama-1-rank-0: refused" in said
    assert "objectives: critical 10, batch -1" in said
    assert "rewrite: gpt-4 to llama3-8b by shop/old rule 0" in said
    assert "conflict: InferenceModelRewrite shop/new: the model `gpt-4` is rewritten by more than one rule" in said
    assert "note: 1 of 2 endpoints does not answer" in said
    assert said.endswith("this process streams: open 2 watch: pods is forbidden")


async def test_series_that_are_missing_are_said_once_for_all_that_lack_the_same(inspect: Callable[..., Any]) -> None:
    fleet = shop()
    for endpoint in fleet.all.endpoints:
        endpoint.probe = Probe("vllm", {"waiting": "vllm:num_requests_waiting"}, {"kv_usage": "vllm:kv_cache"})
    code, out, _ = await inspect(admin_app(fleet, Receipts(), {}))
    said = " ".join(out.split())
    _, raw, _ = await inspect(admin_app(fleet, Receipts(), {}), "--json")

    assert code == 0
    assert "series 2 endpoints (shop/llama-0-rank-0, ...): this vllm does not tell kv_usage" in said
    assert "series shop/phi-0-rank-0: this vllm does not tell kv_usage" in said
    assert json.loads(raw)["pools"][0]["endpoints"][0]["series"] == {
        "found": {"waiting": "vllm:num_requests_waiting"},
        "missing": {"kv_usage": "vllm:kv_cache"},
    }


async def test_an_endpoint_that_fails_requests_is_marked_and_said_to_be_tried_again(
    inspect: Callable[..., Any],
) -> None:
    fleet = shop()
    failing = fleet.all.endpoints[0]
    for _ in range(2):
        standing.Ejection().failed(failing, "connect", 9.0, fleet.all.endpoints, Random(1))
    app = admin_app(fleet, Receipts(), {}, now=lambda: 10.0)
    _, out, _ = await inspect(app)
    _, raw, _ = await inspect(app, "--json")
    said, rows = " ".join(out.split()), json.loads(raw)["pools"][0]["endpoints"]

    assert any(line.startswith("! llama-0") for line in out.splitlines())
    assert "2 endpoints, 2 ejected" in said
    assert "ejected shop/llama-0-rank-0: it refuses or drops connections; it is tried again in " in said
    assert "note: 1 of 2 endpoints fails requests and is left out for a while" in said
    assert (rows[0]["health"]["state"], rows[0]["health"]["ejections"]) == ("ejected", 1)
    assert 2.9 <= rows[0]["health"]["ejected_for_s"] <= 5.1
    assert rows[1]["health"] == {"state": "warming_up", "ejected_for_s": None, "ejections": 0, "recent_failures": 0.0}


async def test_one_pool_can_be_shown_alone(inspect: Callable[..., Any]) -> None:
    by_key = await inspect(admin(), "--pool=shop/math")
    by_name = await inspect(admin(), "--pool", "math")
    code, _, err = await inspect(admin(), "--pool=maths")

    assert "POOL shop/math" in by_key[1]
    assert "POOL shop/chat" not in by_key[1]
    assert by_key == by_name
    assert (code, err) == (1, "onehop inspect: --pool: there is no pool 'maths' (there: shop/chat, shop/math)\n")


async def test_json_is_what_was_told(inspect: Callable[..., Any]) -> None:
    code, out, _ = await inspect(admin({"discovery": lambda: "bad"}), "--json", "--pool=chat")
    told = json.loads(out)

    assert code == 0
    assert [pool["key"] for pool in told["pools"]] == ["shop/chat"]
    assert told["conditions"] == {"discovery": "bad"}


async def test_the_token_comes_from_the_flag_or_the_environment(
    inspect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    without = await inspect(admin(token="s3crét"))
    wrong = await inspect(admin(token="s3crét"), "--token=guess")
    flag = await inspect(admin(token="s3crét"), "--token=s3crét")
    monkeypatch.setenv("ONEHOP_ADMIN_TOKEN", "s3crét")
    environment = await inspect(admin(token="s3crét"))

    said = "onehop inspect: HERE: "
    assert (without[0], without[2]) == (1, f"{said}it asks for a token: --token or ONEHOP_ADMIN_TOKEN\n")
    assert (wrong[0], wrong[2]) == (1, f"{said}it does not accept this token\n")
    assert (flag[0], environment[0]) == (0, 0)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"{}"),
        (200, b"<html>"),
        (200, b'{"pools": 3}'),
        (200, b'{"pools": [1]}'),
        (200, b'["pools"]'),
        (200, b"\xff"),
        (200, b"[" * 200_000),
    ],
)
async def test_another_server_is_told_apart(inspect: Callable[..., Any], status: int, body: bytes) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body)

    other = web.Application()
    other.router.add_get("/debug/pools", answer)
    code, out, err = await inspect(other)

    assert (code, out) == (1, "")
    assert err.startswith("onehop inspect: HERE: answers, but not as the admin address of a OneHop does")


async def test_a_server_that_does_not_speak_http_is_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ready\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        code = await asyncio.to_thread(main, ["inspect", f"--address={host}:{port}"])

    assert code == 1
    assert "not as the admin address of a OneHop" in capsys.readouterr().err


def test_nobody_there_says_what_to_look_at(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, and nobody listens
        port = held.getsockname()[1]
        code = main(["inspect", f"--address=127.0.0.1:{port}"])

    assert code == 1
    assert capsys.readouterr().err.startswith(
        f"onehop inspect: 127.0.0.1:{port}: nobody listens there; is OneHop running?"
    )


@pytest.mark.parametrize("words", [["--address=9091"], ["--watch=0"], ["--watch=soon"], ["--watch=nan"], ["--what"]])
def test_wrong_words_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["inspect", *words])

    assert ended.value.code == 2
    assert "onehop inspect: error:" in capsys.readouterr().err


async def test_watching_asks_again_and_outlives_a_restart(
    inspect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    statuses = iter([200, 503, 200])

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"pools": []}, status=next(statuses))

    def sleep(seconds: float) -> None:
        asked.append(seconds)
        if len(asked) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    flaky = web.Application()
    flaky.router.add_get("/debug/pools", answer)
    code, out, _ = await inspect(flaky, "--watch=2.5", "--json")

    assert (code, asked) == (130, [2.5] * 3)
    first, second, third = out.splitlines()
    assert (first, third) == ('{"pools": []}',) * 2
    assert "answers, but not as" in second


def endpoint(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "address": "10.0.0.1:8000", "reachable": True, "models": ["m"], **more}


@pytest.mark.parametrize("width", [20, 80, 100, 137])
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    long = endpoint(
        f"shop/{'vllm-' * 20}rank-7",
        address="[2001:db8:1111:2222:3333:4444:5555:6666]:65535",
        models=[f"meta-llama/Llama-3.1-8B-Instruct-{n}" for n in range(9)],
        inflight_tokens=123_456_789,
        age_s=86_400,
        reachable=False,
        ejected="no route to host " * 20,
    )
    pool = {"key": "shop/" + "p" * 90, "endpoints": [long], "conditions": ["x" * 300], "objectives": {"o" * 200: 1}}
    lines = pools_table.lines({"pools": [pool], "conditions": {"discovery": {"a": ["b" * 300]}}}, width)
    row = next(line for line in lines if line.startswith("!"))

    assert max(map(len, lines)) <= max(width, pools_table.COLUMNS_MIN)
    assert row.split()[1].startswith("…")
    assert row.split()[1].endswith("rank-7")
    assert "123M" in row
    assert "24h" in row


def test_short_names_are_not_cut_at_100_columns() -> None:
    lines = pools_table.lines({"pools": [{"key": "p", "endpoints": [endpoint("llama3-8b-7d9c6b5f4-abcde-rank-1")]}]})

    assert any("llama3-8b-7d9c6b5f4-abcde-rank-1  10.0.0.1:8000 " in line for line in lines)
    assert not any("…" in line for line in lines)
    assert max(map(len, lines)) <= 100


def test_a_conflict_is_told_once() -> None:
    pool = {"key": "p", "endpoints": [], "conflicts": ["one"]}
    told = {"pools": [pool], "conditions": {"conflicts": ["one", "two"]}}

    assert [line.strip() for line in pools_table.lines(told) if "one" in line or "two" in line] == [
        "conflict: one",
        "conflicts: two",
    ]


def test_names_cannot_move_the_cursor() -> None:
    told = {"pools": [{"key": "p", "endpoints": [endpoint("a\x1b[2J", models=["m\r\n"], ejected="\x07")]}]}

    assert all(line.isprintable() for line in pools_table.lines(told))
