"""The guide's manifests: valid, pinned, restricted, and in agreement with each other and with the chart."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from epp.cli import doctor
from epp.cli.stack import free_ports
from semantic.config import read_config
from tests.guide import charts
from tests.guide.charts import GUIDE, SEMANTIC, Json, objects, rendered, versions, wiring
from tests.guide.istio import EXT_PROC, Mesh, NotAccepted
from tests.helm.chart import needs_helm

COMPAT = os.environ.get("ONEHOP_COMPAT_DIR")
CATEGORIES = {
    "biology", "business", "chemistry", "computer science", "economics", "engineering", "health", "history", "law",
    "math", "other", "philosophy", "physics", "psychology",
}  # fmt: skip
MODEL_FILES = ("models/simulated.yaml", "models/vllm.yaml")
WIRINGS = ("w1", "w2", "w3", "drop-in")


def every_yaml() -> list[Path]:
    return sorted(GUIDE.rglob("*.yaml"))


def containers(found: Any) -> Iterator[Json]:
    """Every container anywhere in an object."""
    if isinstance(found, dict):
        yield from found.get("containers", [])
        for value in found.values():
            yield from containers(value)
    elif isinstance(found, list):
        for value in found:
            yield from containers(value)


@pytest.mark.parametrize("path", every_yaml(), ids=lambda path: str(path.relative_to(GUIDE)))
def test_every_manifest_is_yaml_that_helm_and_kubectl_read_alike(path: Path) -> None:
    loaded = [one for one in yaml.safe_load_all(path.read_text()) if one]

    assert loaded
    assert "<<:" not in path.read_text()  # merge keys are not of YAML 1.2
    for one in loaded:
        if "apiVersion" in one and path.name != "kind.yaml":
            assert one["metadata"]["name"]


def test_versions_agree_everywhere() -> None:
    pinned = versions()
    kind = yaml.safe_load((GUIDE / "kind.yaml").read_text())
    images = {c["image"] for name in MODEL_FILES for one in objects(name) for c in containers(one)}
    values = [yaml.safe_load((GUIDE / f"{name}-values.yaml").read_text()) for name in WIRINGS]
    chart = yaml.safe_load((charts.CHART / "Chart.yaml").read_text())

    assert {node["image"] for node in kind["nodes"]} == {f"kindest/node:{pinned['KUBERNETES_VERSION']}"}
    assert images == {f"onehop:{pinned['ONEHOP_VERSION']}", f"vllm/vllm-openai:{pinned['VLLM_VERSION']}"}
    assert {v["image"]["tag"] for v in values} == {pinned["ONEHOP_VERSION"]} == {chart["appVersion"]}
    assert not any("latest" in value or value in ("main", "master") for value in pinned.values())


def test_nothing_is_fetched_from_elsewhere_by_a_manifest() -> None:
    for path in every_yaml():
        assert not re.findall(r"https?://(?!127\.0\.0\.1|issuer)\S+", path.read_text()), path


@pytest.mark.parametrize("name", MODEL_FILES)
def test_model_servers_fit_the_pools_of_every_wiring(name: str) -> None:
    deployments = [one for one in objects(name, "llm") if one["kind"] == "Deployment"]
    pods = [one["spec"]["template"] for one in deployments]

    assert [one["metadata"].get("namespace") for one in objects(name)] == [None] * len(objects(name))
    for one, pod in zip(deployments, pods, strict=True):
        assert one["spec"]["replicas"] > 1  # else nothing is left to choose
        assert one["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        (container,) = pod["spec"]["containers"]
        assert [port["containerPort"] for port in container["ports"]] == [8000]
        assert container["readinessProbe"]["httpGet"]["port"] == "http"
    for selector, count in (("vllm-llama3-8b-instruct", 1), ("phi4-mini", 1)):
        assert sum(pod["metadata"]["labels"]["app"] == selector for pod in pods) == count
    assert all(pod["metadata"]["labels"]["llm"] == "chat" for pod in pods)


def test_the_two_kinds_of_model_servers_answer_to_the_same_names() -> None:
    simulated, real = ([_served(c) for one in objects(name) for c in containers(one)] for name in MODEL_FILES)

    assert simulated == real
    assert [names[0] for names in simulated] == ["llama3-8b", "phi4-mini"]
    assert all(names[-1] == "auto" for names in simulated)


def _served(container: Json) -> list[str]:
    args = container["args"]
    if "--served-model-name" in args:
        begin = args.index("--served-model-name") + 1
        end_at = next(n for n in range(begin, len(args)) if args[n].startswith("--"))
        return list(args[begin:end_at])
    pairs: dict[str, str] = dict(item.partition("=")[::2] for item in args[1].split(","))
    return pairs["models"].split("+")


def test_the_token_is_asked_for_under_the_name_it_is_made_with() -> None:
    asked = {
        (e["valueFrom"]["secretKeyRef"]["name"], e["valueFrom"]["secretKeyRef"]["key"])
        for one in objects("models/vllm.yaml")
        for c in containers(one)
        for e in c["env"]
        if e["name"] == "HF_TOKEN"
    }

    assert asked == {("hf-token", "token")}
    for page in ("guide.md", "guide.zh.md"):
        assert "create secret generic hf-token -n llm --from-literal=token=" in _page(page)


def _page(name: str) -> str:
    path = charts.ROOT / "docs" / name
    return path.read_text()


@pytest.mark.parametrize("number", [0, 1])
async def test_the_simulated_model_server_starts_as_the_manifest_says(number: int) -> None:
    (container,) = list(containers(objects("models/simulated.yaml")[number]))
    (port,) = free_ports(1)
    words = [w.replace("$(POD_NAME)", "pod-7").replace("8000", str(port)) for w in container["args"]]
    words = [w.replace("0.0.0.0", "127.0.0.1") for w in words]
    assert container["command"] == ["python", "-m", "benchmarks.simulator"]
    command = [sys.executable, *container["command"][1:], *words]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        told = await asyncio.wait_for(process.stdout.readline(), 30)
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/v1/models") as answer:
            names = [one["id"] for one in (await answer.json())["data"]]
    finally:
        process.terminate()
        await asyncio.wait_for(process.communicate(), 30)

    assert told.startswith(b"pod-7: ")
    assert names == _served(container)


def test_the_semantic_configuration_has_the_fourteen_categories_and_sends_only_mathematics_to_the_small_model() -> None:
    config = read_config(SEMANTIC.read_text(), lenient=False)
    loaded = yaml.safe_load(SEMANTIC.read_text())
    to = {
        d["rules"]["conditions"][0]["name"]: [ref["model"] for ref in d["modelRefs"]]
        for d in loaded["routing"]["decisions"]
    }

    assert not config.warnings
    assert len(config.decisions) == 14
    assert {s["name"]: s["mmlu_categories"] for s in loaded["routing"]["signals"]["domains"]} == {
        name: [name] for name in CATEGORIES
    }
    assert to == {name: ["phi4-mini" if name == "math" else "llama3-8b"] for name in CATEGORIES}
    assert config.default_model == "llama3-8b"


@needs_helm
@pytest.mark.parametrize("name", WIRINGS)
def test_the_wirings_are_what_istio_accepts(name: str) -> None:
    found = wiring(name)
    backends = {
        f"{s['metadata']['namespace']}/{s['metadata']['name']}:{p['port']}": ["127.0.0.1:1"]
        for s in found
        if s["kind"] == "Service"
        for p in s["spec"].get("ports", [])
    }
    made = Mesh(found, [], backends).bootstrap(charts.gateway(name), 8080, 9901)
    (listener,) = made["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    names = [one["name"] for one in manager["http_filters"]]

    assert names[0] == ("inference.one-hop" if name == "w1" else EXT_PROC)
    assert names.count(EXT_PROC) == {"w1": 0, "w2": 1, "w3": 1, "drop-in": 2}[name]
    assert len(manager["route_config"]["virtual_hosts"][0]["routes"]) == {"w1": 5, "w2": 5, "w3": 1, "drop-in": 2}[name]


@needs_helm
@pytest.mark.parametrize("name", WIRINGS)
def test_the_doctor_finds_no_problem_in_them_and_of_the_drop_in_its_known_limit(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cluster.yaml"
    models = objects("models/simulated.yaml", charts.pool_namespace(name))
    path.write_text(yaml.safe_dump_all([*wiring(name), *models]))
    code = doctor.run(["--file", str(path), "--json"])
    told = json.loads(capsys.readouterr().out)
    levels = {row["check"]: row["level"] for row in told["results"]}

    assert code == 0
    assert {check for check, level in levels.items() if level == "warning"} == (
        {"filter-name"} if name == "drop-in" else set()
    )
    assert levels["pool-pods"] == levels["picker-tls"] == levels["rights"] == "ok"


@needs_helm
@pytest.mark.parametrize("name", ["w1", "w2"])
def test_every_name_of_a_model_has_a_route(name: str) -> None:
    served = [names[:-1] for names in (_served(c) for o in objects(MODEL_FILES[0]) for c in containers(o))]
    (route,) = [one for one in rendered(f"{name}-values", "llm") if one["kind"] == "HTTPRoute"]
    routed = [
        {h["value"] for m in rule["matches"] for h in m.get("headers", []) if h["name"] == "x-selected-model"}
        for rule in route["spec"]["rules"]
    ]

    assert [found for found in routed if found] == [set(names) for names in served]


@needs_helm
def test_the_drop_in_brings_what_the_kept_objects_ask_for() -> None:
    kept, ours = objects("drop-in/objects.yaml", "default"), rendered("drop-in-values", charts.NAMESPACES["drop-in"])
    services = {f"{s['metadata']['namespace']}/{s['metadata']['name']}" for s in ours if s["kind"] == "Service"}
    both = {(o["kind"], o["metadata"]["namespace"], o["metadata"]["name"]) for o in kept} & {
        (o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in ours
    }
    secrets = [o for o in ours if o["kind"] == "Secret"]

    assert not both  # nothing that stays is written over
    assert not any(
        o["kind"] in ("Gateway", "HTTPRoute", "EnvoyFilter", "DestinationRule", "InferencePool") for o in ours
    )
    for pool in (o for o in kept if o["kind"] == "InferencePool"):
        assert f"default/{pool['spec']['endpointPickerRef']['name']}" in services
    assert "vllm-semantic-router-system/semantic-router" in services
    assert {o["metadata"]["namespace"] for o in secrets} == {"vllm-semantic-router-system", "default"}
    assert len({str(o.get("data") or o.get("stringData")) for o in secrets}) == 1


@pytest.mark.skipif(COMPAT is None, reason="ONEHOP_COMPAT_DIR is not set: the old guide's own files are not compared")
def test_the_kept_objects_are_those_of_the_old_guide() -> None:
    assert COMPAT is not None
    names = ("gateway", "inferencepool-llama", "inferencepool-phi4", "httproute-llama-pool", "httproute-phi4-pool",
             "destinationrule", "envoyfilter")  # fmt: skip
    kinds = {"Gateway", "InferencePool", "HTTPRoute", "DestinationRule", "EnvoyFilter"}
    theirs = [one for name in names for one in yaml.safe_load_all((Path(COMPAT) / "guide" / f"{name}.yaml").read_text())
              if one and one["kind"] in kinds]  # fmt: skip
    ours = objects("drop-in/objects.yaml")

    assert _by_name(ours) == _by_name(theirs)


def _by_name(found: list[Json]) -> dict[str, Json]:
    made = {}
    for one in found:
        name, namespace = one["metadata"]["name"], one["metadata"].get("namespace", "default")
        made[f"{one['kind']} {name}"] = {**one, "metadata": {"name": name, "namespace": namespace}}
    return made


def test_what_istio_would_not_do_is_told() -> None:
    found = objects("gateway.yaml")
    stranger = {
        "kind": "HTTPRoute",
        "metadata": {"name": "r", "namespace": "elsewhere"},
        "spec": {"parentRefs": [{"name": "inference-gateway", "namespace": "gateway"}], "rules": []},
    }
    space = {"kind": "Namespace", "metadata": {"name": "elsewhere"}}

    with pytest.raises(NotAccepted, match="no routes from namespace elsewhere"):
        Mesh([*found, stranger, space], [], {}).bootstrap("gateway/inference-gateway", 8080, 9901)


def test_istio_has_the_inference_flag() -> None:
    (istio,) = objects("istio.yaml")

    assert istio["spec"]["values"]["pilot"]["env"] == {"ENABLE_GATEWAY_API_INFERENCE_EXTENSION": "true"}


def test_the_two_requests_are_json_for_a_named_model_and_for_auto() -> None:
    explicit, auto = (json.loads((GUIDE / "requests" / f"{name}.json").read_text()) for name in ("explicit", "auto"))

    assert (explicit["model"], auto["model"]) == ("llama3-8b", "auto")
    assert auto["messages"] == [{"role": "user", "content": "What is 2+2 * (5-1)?"}]
    assert auto["max_tokens"] == 64
