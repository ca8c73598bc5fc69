"""Other routers as targets: their arguments, their processes, and, where they are installed, they themselves."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.live.fleet import Fleet, Instant, running
from benchmarks.live.site import Chain, site
from benchmarks.rivals import known, litellm_proxy, sglang_router, vllm_router
from benchmarks.rivals.rival import Entry, Place, Rival
from epp.__main__ import main
from epp.cli.stack import StartError
from tests.live.test_command import alive

INSTALLED = Path(os.environ.get("ONEHOP_RIVALS", known.VENV_DEFAULT))
ROOT = Path(__file__).parents[2]
WORKERS = ["127.0.0.11:8000", "127.0.0.12:8000"]


def place(folder: Path) -> Place:
    return Place(WORKERS, "m", 4000, 4001, folder)


@pytest.mark.parametrize("module", [sglang_router, vllm_router])
def test_rust_routers_listen_on_loopback_only_before_all_workers_with_the_policy_asked_for(
    module: Any, tmp_path: Path
) -> None:
    words = module.RIVAL.words(place(tmp_path), "power_of_two")

    assert {"--host=127.0.0.1", "--port=4000", "--prometheus-host=127.0.0.1", "--policy=power_of_two"} <= set(words)
    assert words[words.index("--worker-urls") + 1 :] == ["http://127.0.0.11:8000", "http://127.0.0.12:8000"]


def test_litellm_gets_a_deployment_for_each_worker(tmp_path: Path) -> None:
    words = litellm_proxy.RIVAL.words(place(tmp_path), "least-busy")

    told = json.loads((tmp_path / "litellm.yaml").read_text())
    assert f"--config={tmp_path / 'litellm.yaml'}" in words
    assert told["router_settings"]["routing_strategy"] == "least-busy"
    assert [row["litellm_params"]["api_base"] for row in told["model_list"]] == [f"http://{w}/v1" for w in WORKERS]
    assert {row["model_name"] for row in told["model_list"]} == {"m"}


def test_ready_is_who_uses_every_worker() -> None:
    assert not sglang_router.ready('{"status":"ready","healthy_workers":1,"total_workers":1}', 2)
    assert sglang_router.ready('{"status":"ready","healthy_workers":2,"total_workers":2}', 2)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nginx", "is none of sglang-router"),
        ("sglang-router:best", "has no policy 'best' here"),
        ("sglang-router", "`make rivals` puts it there"),
    ],
)
def test_what_is_not_known_or_not_there_is_said_before_anything_starts(
    text: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "live", "--quick", "--rival", text, "--rival-venv", str(tmp_path)]) == 1
    assert why in capsys.readouterr().err


def test_a_rival_is_for_our_own_servers(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "live", "--url=http://127.0.0.1:1", "--model=m", "--rival=litellm"])
    assert "--rival is for our own servers" in capsys.readouterr().err


def test_a_policy_is_the_first_where_none_is_said_and_the_version_is_the_package_s(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "vllm-router").touch()
    (tmp_path / "lib/python3.11/site-packages/vllm_router-9.8.7.dist-info").mkdir(parents=True)
    entry = known.find("vllm-router", tmp_path)

    assert (entry.name, known.version(entry)) == ("vllm-router:cache_aware", "9.8.7")
    assert known.find("vllm-router:random", tmp_path).policy == "random"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Entry]:
    """The small rival, with more words for it."""
    program = tmp_path / "venv" / "bin" / "fake"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\ncd "{ROOT}" && exec "{sys.executable}" -m tests.rivals.fake "$@"\n')
    program.chmod(0o755)

    def made(*more: str) -> Entry:
        def words(where: Place, policy: str) -> list[str]:
            return [str(where.port), *where.workers, *more]

        rival = Rival("fake", "fake", "fake", ("turns",), words, "/readiness", sglang_router.ready)
        monkeypatch.setattr(known, "RIVALS", {"fake": rival})
        return Entry(rival, "turns", tmp_path / "venv")

    return made


def test_a_rival_is_measured_alone_and_behind_an_envoy_in_turn_with_ours(
    fake: Callable[..., Entry], tmp_path: Path
) -> None:
    entry, out = fake("--late=1"), tmp_path / "live.json"
    words = ["--closed", "--upstream=instant", "--replicas=2", "--streams=20", "--prompts=1KB", "--connections=2"]

    more = ["--seconds=1", f"--rival-venv={entry.venv}", "--rival=fake", f"--json={out}"]
    assert main(["bench", "live", *words, *more]) == 0
    told = json.loads(out.read_text())
    rows = {row["target"]: row for row in told["rows"]}
    assert list(rows) == ["none", "native", "fake:turns", "Envoy + fake:turns"]
    for row in rows.values():
        assert set(row["statuses"]) == {"200"}
    for name in ("fake:turns", "Envoy + fake:turns"):
        assert rows[name]["picker_cpu_s"] > 0
        assert rows[name]["picker_rss_bytes"] > 1 << 20
        assert not rows[name]["messages_per_request"]
    assert rows["fake:turns"]["envoy_cpu_s"] is None
    assert rows["Envoy + fake:turns"]["envoy_cpu_s"] > 0
    assert [(row["target"], row["streams"]) for row in told["memory"]][-1] == ("Envoy + fake:turns", 20)


async def test_a_rival_has_ended_when_its_site_is_left(fake: Callable[..., Entry], tmp_path: Path) -> None:
    chain = Chain("fake", "buffered", rival=fake(), front=False)
    async with running(Instant(2), 0, tmp_path) as fleet, site(chain, fleet, tmp_path) as target:
        assert target.picker is not None
        assert alive(target.picker)

    assert not alive(target.picker)


async def test_a_rival_that_cannot_start_is_quoted(fake: Callable[..., Entry], tmp_path: Path) -> None:
    fleet = Fleet("m", WORKERS, os.getpid())

    with pytest.raises(StartError, match=r"fake stopped at once \(exit code 3\): cannot start: out of luck"):
        async with site(Chain("fake", "buffered", rival=fake("--broken")), fleet, tmp_path):
            pass


@pytest.mark.parametrize("name", known.RIVALS)
async def test_the_real_one_answers(name: str, tmp_path: Path) -> None:
    if not (INSTALLED / "bin" / known.RIVALS[name].program).exists():
        pytest.skip(f"no {name} in {INSTALLED} (`make rivals`, or ONEHOP_RIVALS=FOLDER)")
    entry = known.find(name, INSTALLED)

    chain = Chain(entry.name, "buffered", rival=entry, front=False)
    async with running(Instant(2), 0, tmp_path) as fleet, site(chain, fleet, tmp_path) as target:
        assert target.picker is not None  # and it has answered with 200, or we would not be here

    assert known.version(entry) != "unknown"
    assert not alive(target.picker)
