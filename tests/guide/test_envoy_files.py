"""The Envoy configurations of `helm/guide/envoy/`, each run by a real Envoy with OneHops and model servers."""

from __future__ import annotations

import asyncio
import base64
import copy
import hmac
import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from epp.cli.envoy import find_envoy
from epp.cli.stack import free_ports
from tests.e2e.client import Answer
from tests.guide.load import one_is_killed
from tests.guide.replica import Replica
from tests.guide.site import Json, OneHop, Site, chat, discovery_file, running

ROOT = Path(__file__).parents[2]
FILES = ROOT / "helm" / "guide" / "envoy"
SEMANTIC = ROOT / "helm" / "guide" / "semantic.yaml"
MATH = "What is 2+2 * (5-1)?"
CROWD = 1_500
HEADER = {"alg": "HS256", "typ": "JWT"}
BREAKER = 1_024  # Envoy's own limit of requests at once to a cluster
LONG = "60s"


def config(name: str) -> Json:
    """One of the files."""
    loaded: Json = yaml.safe_load((FILES / name).read_text())
    return loaded


def moved(found: Any, addresses: Mapping[str, str]) -> Any:
    """The same configuration at other addresses; every address of it has to be told."""
    if isinstance(found, list):
        return [moved(one, addresses) for one in found]
    if not isinstance(found, dict):
        return found
    if "socket_address" in found:
        at = found["socket_address"]
        host, _, port = addresses[f"{at['address']}:{at['port_value']}"].rpartition(":")
        return {"socket_address": {"address": host, "port_value": int(port)}}
    return {key: moved(value, addresses) for key, value in found.items()}


def cluster(found: Json, name: str) -> Json:
    (only,) = [one for one in found["static_resources"]["clusters"] if one["name"] == name]
    chosen: Json = only
    return chosen


def unhurried(found: Json) -> Json:
    """The same, for a machine that is crowded: only a OneHop that is gone counts as gone, and none that is slow.

    The file itself gives one up that does not answer for two seconds, with all its streams.
    """
    changed = copy.deepcopy(found)
    one_hop(changed)["message_timeout"] = LONG
    onehop = cluster(changed, "onehop")
    for check in onehop.get("health_checks", ()):
        check["timeout"] = LONG
    (options,) = onehop["typed_extension_protocol_options"].values()
    options["explicit_http_config"]["http2_protocol_options"]["connection_keepalive"]["timeout"] = LONG
    return changed


def manager(found: Json) -> Json:
    chosen: Json = found["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return chosen


def one_hop(found: Json) -> Json:
    """Our filter."""
    (only,) = [one for one in manager(found)["http_filters"] if one["name"] == "inference.one-hop"]
    chosen: Json = only["typed_config"]
    return chosen


@asynccontextmanager
async def site_of(
    folder: Path, found: Json, onehops: int, binary: str | None = None, more_flags: Sequence[str] = ()
) -> AsyncIterator[Site]:
    """The file's Envoy with so many OneHops, and the model servers of `endpoints.yaml`, all on ports of this test."""
    rows = yaml.safe_load((FILES / "endpoints.yaml").read_text())["endpoints"]
    (port,) = free_ports(1)
    replicas = [
        Replica(r["name"], _names(r["labels"]["model"]), r["labels"], address=r["address"], port=port) for r in rows
    ]
    flags = [f"--semantic-config-file={SEMANTIC}", f"--discovery-file={discovery_file(folder, replicas)}", *more_flags]
    hops = [OneHop(f"onehop-{number}", folder, flags) for number in range(onehops)]
    async with running(folder, replicas, hops) as site:
        addresses = {f"{r['address']}:{r['port']}": replica.at for r, replica in zip(rows, replicas, strict=True)}
        addresses |= {
            "127.0.0.1:8080": f"127.0.0.1:{site.port}",
            "127.0.0.1:9901": f"127.0.0.1:{site.envoy_admin_port}",
        }
        addresses |= {f"127.0.0.1:{9002 + 10 * number}": hop.ext_proc for number, hop in enumerate(hops)}
        for hop in hops:
            await site.decided(hop, len(rows))
        site.start_envoy(moved(unhurried(found), addresses), binary)
        await site.envoy_ready()
        yield site


def _names(model: str) -> tuple[str, ...]:
    """What the simulated servers of `endpoints.yaml` answer to."""
    return (model, "auto") if model == "llama3-8b" else (model,)


@pytest.mark.parametrize("path", sorted(FILES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_file_is_what_its_program_accepts(path: Path) -> None:
    command = [find_envoy(), "--mode", "validate", "-c", str(path)]
    if path.name == "endpoints.yaml":
        command = [str(Path(find_envoy()).with_name("onehop")), "check", str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "deprecated" not in ran.stderr.lower()
    assert "work-in-progress" not in ran.stderr


async def test_one_of_two_onehops_is_killed_under_load_and_no_request_fails(tmp_path: Path) -> None:
    async with site_of(tmp_path, config("several-onehops.yaml"), onehops=2) as site:
        decided = await one_is_killed(site)

        assert {by_model(answer) for answer in decided} == {("math", "phi4-mini"), ("history", "llama3-8b")}


async def test_without_the_retry_the_same_kill_is_felt(tmp_path: Path) -> None:
    found = config("several-onehops.yaml")
    filters = one_hop(found)
    del filters["grpc_service"]["retry_policy"]
    filters["failure_mode_allow"] = False
    del cluster(found, "onehop")["health_checks"]
    async with site_of(tmp_path, found, onehops=2) as site:
        await site.onehops[0].kill()
        answers = [await site.ask(chat("auto", MATH)) for _ in range(12)]

        assert {200, 500} <= {answer.status for answer in answers}


@pytest.mark.parametrize("fails_open", [True, False])
async def test_without_any_onehop_requests_go_on_or_fail_as_the_file_says(tmp_path: Path, fails_open: bool) -> None:
    found = config("several-onehops.yaml")
    filters = one_hop(found)
    assert filters["failure_mode_allow"] is True
    filters["failure_mode_allow"] = fails_open
    async with site_of(tmp_path, found, onehops=2) as site:
        for onehop in site.onehops:
            await onehop.kill()
        answers = [await site.ask(chat("auto", MATH)) for _ in range(6)]

        assert {answer.status for answer in answers} == ({200} if fails_open else {500})
        if fails_open:
            assert {answer.headers["x-asked-model"] for answer in answers} == {"auto"}
            assert {answer.headers["x-replica"] for answer in answers} <= {"llama-0", "llama-1"}


@pytest.mark.parametrize("limit", [None, BREAKER])
async def test_more_requests_at_once_than_envoys_own_limit(tmp_path: Path, limit: int | None) -> None:
    found = config("several-onehops.yaml")
    filters = one_hop(found)
    filters["failure_mode_allow"] = False  # what fails must show
    if limit is not None:  # the control: with Envoy's default the same crowd meets the breaker
        cluster(found, "onehop")["circuit_breakers"] = {"thresholds": [{"max_requests": limit}]}
    # Without our own gate, which would refuse most of a crowd that no replica answers.
    async with site_of(tmp_path, found, onehops=2, more_flags=["--admission=none"]) as site:
        held = asyncio.Event()
        for replica in site.replicas.values():
            replica.hold = held
        asking = [asyncio.ensure_future(site.ask(chat("llama3-8b", f"question {n}"))) for n in range(CROWD)]
        try:
            await site.until(lambda: settled(site, asking), lambda count: count == CROWD, "the crowd")
            held.set()
            statuses = Counter(answer.status for answer in await asyncio.gather(*asking))
        finally:
            held.set()
            for task in asking:
                task.cancel()

        assert statuses == ({200: CROWD} if limit is None else {200: limit, 500: CROWD - limit})


async def settled(site: Site, asking: Sequence[asyncio.Future[Answer]]) -> int:
    """Requests that a replica holds or that are answered already."""
    held = set().union(*(replica.seen for replica in site.replicas.values()))
    return len(held) + sum(task.done() for task in asking)


async def test_the_tenant_over_its_rate_is_refused_and_another_passes(tmp_path: Path) -> None:
    async with site_of(tmp_path, config("rate-limit.yaml"), onehops=1) as site:
        tokens = demo_tokens()
        began = time.monotonic()
        green = [await site.ask(chat("auto", MATH), authorization=f"Bearer {tokens['green']}") for _ in range(8)]
        passed_s = time.monotonic() - began
        blue = [await site.ask(chat("auto", MATH), authorization=f"Bearer {tokens['blue']}") for _ in range(8)]
        refused = green[-1]
        counted = await requests_of(site)

        assert [answer.status for answer in green] == [200] * 5 + [429] * 3
        assert [answer.status for answer in blue] == [200] * 8
        assert refused.headers["content-type"] == "application/json"
        assert refused.headers["retry-after"] == refused.headers["x-ratelimit-reset"]
        assert 12 - passed_s <= int(refused.headers["retry-after"]) <= 12, "five a minute are one in twelve seconds"
        assert refused.json["error"]["code"] == "rate_limit_exceeded"
        assert "green" in refused.json["error"]["message"]
        assert counted == {"green": 5, "blue": 8}
        assert {answer.headers["x-had-tenant"] for answer in green[:5] + blue} == {"green", "blue"}
        assert not any("authorization" in answer.headers["x-had-headers"] for answer in blue)


async def test_a_client_that_forges_the_tenant_gains_nothing(tmp_path: Path) -> None:
    async with site_of(tmp_path, config("rate-limit.yaml"), onehops=1) as site:
        tokens = demo_tokens()
        lies = {
            "x_tenant": "blue",
            "x_llm_d_inference_fairness_id": "blue",
            "x_gateway_inference_fairness_id": "blue",
        }
        green = [await site.ask(chat("auto"), authorization=f"Bearer {tokens['green']}", **lies) for _ in range(7)]
        unsigned = tokens["blue"].rpartition(".")[0] + "." + tokens["green"].rpartition(".")[2]
        claims = _base64(b'{"iss":"demo","tenant":"blue"}')
        none = _base64(b'{"alg":"none"}') + f".{claims}."
        stolen = [await site.ask(chat("auto"), authorization=f"Bearer {token}", **lies) for token in (unsigned, none)]
        nobody = await site.ask(chat("auto"), **lies)
        counted = await requests_of(site)

        assert [answer.status for answer in green] == [200] * 5 + [429] * 2
        assert [answer.status for answer in (*stolen, nobody)] == [401] * 3
        assert nobody.json["error"]["code"] == "invalid_api_key"
        assert counted == {"green": 5}


async def test_a_token_without_a_tenant_gets_what_is_left_for_all_such_whatever_the_client_says(tmp_path: Path) -> None:
    async with site_of(tmp_path, config("rate-limit.yaml"), onehops=1) as site:
        bearer = f"Bearer {signed({'iss': 'demo'})}"
        lies = {"x_tenant": "blue", "x_llm_d_inference_fairness_id": "blue"}
        answers = [await site.ask(chat("auto"), authorization=bearer, **lies) for _ in range(7)]
        counted = await requests_of(site)

        assert [answer.status for answer in answers] == [200] * 5 + [429] * 2
        assert {answer.headers["x-had-tenant"] for answer in answers[:5]} == {""}
        assert counted == {"default-flow": 5}


def test_the_tokens_in_the_comment_are_made_with_the_demonstration_key() -> None:
    assert demo_tokens() == {tenant: signed({"iss": "demo", "tenant": tenant}) for tenant in ("blue", "green")}


def signed(claims: dict[str, str]) -> str:
    """A token of the file's demonstration issuer."""
    found = manager(config("rate-limit.yaml"))["http_filters"][0]["typed_config"]["providers"]["demo"]
    (key,) = json.loads(found["local_jwks"]["inline_string"])["keys"]
    head = ".".join(_base64(json.dumps(part, separators=(",", ":")).encode()) for part in (HEADER, claims))
    return f"{head}.{_base64(hmac.digest(base64.urlsafe_b64decode(key['k'] + '='), head.encode(), 'sha256'))}"


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def demo_tokens() -> dict[str, str]:
    """The tokens in the file's comment."""
    found = dict(re.findall(r"^#   (blue|green)=(\S+)$", (FILES / "rate-limit.yaml").read_text(), re.MULTILINE))
    assert len(found) == 2
    return found


async def requests_of(site: Site) -> dict[str, int]:
    """Requests by tenant, as OneHop counts them."""
    async with site.http.get(site.onehops[0].metrics_url) as answer:
        text = await answer.text()
    rows = re.findall(r'^llm_d_epp_request_total\{.*?fairness_id="([^"]*)".*\} ([0-9.]+)$', text, re.MULTILINE)
    counted: Counter[str] = Counter()
    for tenant, value in rows:
        counted[tenant] += int(float(value))
    return dict(counted)


def by_model(answer: Answer) -> tuple[str, str]:
    """The category that was seen, and the model that was asked."""
    return answer.headers["x-vsr-selected-category"], answer.headers["x-asked-model"]
