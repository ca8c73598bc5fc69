"""The chart as helm renders it in mode onePool: what the pods may do, how they are found, that OneHop understands its
files. What differs between modes is in test_modes.py.
"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from epp.datastore import discovery
from epp.edge.health import HEALTH_NAMES

from . import shape
from .chart import (
    CHART,
    FULLNAME,
    MODES,
    NAMESPACE,
    Object,
    Refusal,
    Rendered,
    container,
    example,
    helm,
    listed,
    minimal,
    needs_helm,
    notes,
    objects,
    pod,
    render,
    settings,
    values,
)

pytestmark = needs_helm

FLAGS: Object = {
    "default-model": "llama3-8b",
    "unknown-model": "forward",
    "unparsed": "refuse",
    "usage-sample-every": 20,
    "restore-model": True,
    "tenant-from": "attribute:xds.route_name",
    "objective-from": "header:x-team",
    "fallback-endpoints": 2,
    "emit-endpoint-scores": True,
    "disable-endpoint-subset-filter": True,
    "admission": "llm-d-legacy",
    "queue-timeout": "20s",
    "queue-requests-max": 100,
    "queue-bytes-max": "64Mi",
    "empty-pool-timeout": "1m",
    "slo-ttft": "3s",
    "evict-sheddable": True,
    "body-timeout": "30s",
    "lenient": True,
    "classify-deadline": "150ms",
    "refresh-metrics-interval": 2,
    "body-bytes-max": 104857600,
    "body-bytes-total-max": 1073741824,
    "bind-address": "0.0.0.0",
    "admin-address": "127.0.0.1:9099",
    "tls-min-version": "VersionTLS12",
    "tls-cipher-suites": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "grpc-max-recv-msg-size": "10Mi",
    "grpc-max-send-msg-size": 4194304,
    "streams-max": 1000,
    "zap-encoder": "json",
    "zap-log-level": "debug",
    "v": 4,
}


@pytest.fixture(scope="module")
def one_pool() -> Rendered:
    return render(example("onePool"))


def file_of(rendered: Rendered, path: Path | None) -> str:
    """What the container reads at `path`: the mounted ConfigMap's key."""
    assert path is not None
    (mount,) = [m for m in container(rendered)["volumeMounts"] if m["mountPath"] == str(path.parent)]
    (volume,) = [v for v in pod(rendered)["volumes"] if v["name"] == mount["name"]]
    text: str = rendered[f"ConfigMap/{volume['configMap']['name']}"]["data"][path.name]
    return text


@pytest.mark.parametrize("file", ["values.yaml", *(f"ci/{name}-values.yaml" for name in MODES.values())])
def test_lint_is_content(file: str) -> None:
    helm("lint", "--strict", CHART, "--values", CHART / file)


def test_everything_asked_for_is_rendered(one_pool: Rendered) -> None:
    assert {item["kind"] for item in objects(one_pool)} == {
        "Deployment", "Service", "ConfigMap", "ServiceAccount", "Role", "RoleBinding", "InferencePool", "HTTPRoute",
    }  # fmt: skip
    assert {item["metadata"]["namespace"] for item in objects(one_pool)} == {NAMESPACE}


def test_only_tmp_can_be_written(one_pool: Rendered) -> None:
    writable = [m["mountPath"] for m in container(one_pool)["volumeMounts"] if not m.get("readOnly")]
    (tmp,) = [v for v in pod(one_pool)["volumes"] if v["name"] == "tmp"]

    assert writable == ["/tmp"]
    assert "emptyDir" in tmp
    assert not any("subPath" in m for m in container(one_pool)["volumeMounts"]), "such a file is never refreshed"


def test_pod_has_a_token_only_where_it_calls_the_api_server(one_pool: Rendered) -> None:
    with_list = render(listed())

    assert pod(one_pool)["automountServiceAccountToken"] is True
    assert pod(with_list)["automountServiceAccountToken"] is False
    assert not {"Role", "RoleBinding"} & with_list.keys()
    for rendered in (one_pool, with_list):
        assert rendered["ServiceAccount"]["automountServiceAccountToken"] is False
        assert pod(rendered)["enableServiceLinks"] is False, "variables of Services would be taken for settings"


def test_probes_ask_names_that_are_answered(one_pool: Rendered) -> None:
    asked = {kind: container(one_pool)[f"{kind}Probe"]["grpc"] for kind in ("startup", "liveness", "readiness")}

    assert asked["startup"] == asked["liveness"] == {"port": 9003, "service": "liveness"}
    assert asked["readiness"] == {"port": 9003, "service": "readiness"}
    assert {probe["service"] for probe in asked.values()} <= set(HEALTH_NAMES)


def test_flags_arrive_as_they_were_given() -> None:
    understood = settings(render(minimal(flags=FLAGS))).model_dump()
    expected = {name.replace("-", "_"): value for name, value in FLAGS.items()}
    expected |= {"classify_deadline": 0.15, "body_timeout": 30.0, "grpc_max_recv_msg_size": 10 << 20}
    expected |= {"queue_timeout": 20.0, "empty_pool_timeout": 60.0, "slo_ttft": 3.0, "queue_bytes_max": 64 << 20}

    assert {name: understood[name] for name in expected} == expected


def test_what_is_told_of_discovery_arrives() -> None:
    given: Object = {
        "modelLabel": "llm-d.ai/model",
        "serves": [{"model": "phi4-mini", "matchLabels": {"app": "phi4", "tier": "gpu"}}],
        "poolGroup": "inference.networking.x-k8s.io",
    }
    pools = [{"name": "llms", "create": False, "namespace": "team-a"}]
    understood = settings(render({"pools": pools, "discovery": given, "events": False}))

    assert (understood.pool_namespace, understood.pool_name) == ("team-a", "llms")
    assert understood.model_label == "llm-d.ai/model"
    assert understood.serves == (("phi4-mini", "app=phi4,tier=gpu"),)
    assert understood.pool_group == "inference.networking.x-k8s.io"
    assert understood.events is False


def test_pods_by_label_need_no_pool() -> None:
    rendered = render(
        {"discovery": {"endpointSelector": {"app": "vllm", "t": "x"}, "endpointTargetPorts": [8000, 8001]}}
    )
    understood = settings(rendered)

    assert understood.endpoint_selector == "app=vllm,t=x"
    assert understood.endpoint_target_ports == (8000, 8001)
    assert understood.pool_name is None
    assert "InferencePool" not in rendered
    assert {resource for rule in rendered[f"Role/{FULLNAME}"]["rules"] for resource in rule["resources"]} == {"pods"}


def test_ports_of_process_container_and_service_agree(one_pool: Rendered) -> None:
    process = settings(one_pool)
    served = {port["name"]: port for port in one_pool["Service"]["spec"]["ports"]}
    opened = {port["name"]: port["containerPort"] for port in container(one_pool)["ports"]}

    assert opened == {
        "grpc-ext-proc": process.grpc_port,
        "grpc-health": process.grpc_health_port,
        "http-metrics": process.metrics_port,
    }
    assert {name: port["port"] for name, port in served.items()} == opened
    assert all(port["targetPort"] == name for name, port in served.items())


@pytest.mark.parametrize(("secure", "protocol"), [(True, "http2"), (False, "kubernetes.io/h2c")])
def test_the_service_says_which_http2_it_speaks(secure: bool, protocol: str) -> None:
    rendered = render(minimal(secureServing=secure))
    (port,) = [p for p in rendered["Service"]["spec"]["ports"] if p["name"] == "grpc-ext-proc"]

    assert settings(rendered).secure_serving is secure
    assert port["appProtocol"] == protocol


def test_each_pod_signs_for_the_names_of_the_service(one_pool: Rendered) -> None:
    understood = settings(one_pool)

    assert understood.cert_path is None
    assert understood.tls_names.split(",") == [
        FULLNAME,
        f"{FULLNAME}.{NAMESPACE}",
        f"{FULLNAME}.{NAMESPACE}.svc",
        f"{FULLNAME}.{NAMESPACE}.svc.cluster.local",
    ]


def test_a_certificate_of_ones_own_is_mounted_and_followed() -> None:
    rendered = render(minimal(certificateSecret="picker-tls"))
    understood = settings(rendered)
    (mount,) = [m for m in container(rendered)["volumeMounts"] if m["mountPath"] == str(understood.cert_path)]
    (volume,) = [v for v in pod(rendered)["volumes"] if v["name"] == mount["name"]]

    assert volume["secret"]["secretName"] == "picker-tls"
    assert understood.enable_cert_reload
    assert understood.tls_names == ""


def test_an_admin_address_for_others_has_its_token_from_a_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ONEHOP_ADMIN_TOKEN", "from-the-secret")
    given = minimal(flags={"admin-address": "0.0.0.0:9091"}, adminTokenSecret="admin")
    rendered = render(given)
    (variable,) = container(rendered)["env"]

    assert settings(rendered).admin_address == "0.0.0.0:9091"
    assert variable["name"] == "ONEHOP_ADMIN_TOKEN"
    assert variable["valueFrom"]["secretKeyRef"] == {"name": "admin", "key": "token"}
    assert 'curl -H "authorization: Bearer $TOKEN" localhost:9091/debug/pools' in notes(given, tmp_path)


@pytest.mark.parametrize("more", [{}, {"fullnameOverride": "picker"}, {"nameOverride": "epp"}, {"replicas": 3}])
def test_pool_points_at_the_service(more: Object) -> None:
    rendered = render(minimal(**more))
    reference = rendered["InferencePool"]["spec"]["endpointPickerRef"]
    service = rendered["Service"]

    assert reference["kind"] == service["kind"]
    assert reference["name"] == service["metadata"]["name"]
    assert reference["port"]["number"] in {port["port"] for port in service["spec"]["ports"]}
    assert reference["port"]["number"] == settings(rendered).grpc_port


def test_pool_takes_selector_ports_and_failure_mode_from_the_values() -> None:
    pool: Object = {
        "name": "llms",
        "selector": {"matchLabels": {"app": "vllm", "tier": "gpu"}},
        "targetPorts": [{"number": 8000}, {"number": 8001}],
        "failureMode": "FailClose",
    }
    rendered = render({"pools": [pool]})
    spec = rendered["InferencePool"]["spec"]

    assert rendered["InferencePool"]["apiVersion"] == "inference.networking.k8s.io/v1"
    assert rendered["InferencePool"]["metadata"]["name"] == settings(rendered).pool_name == "llms"
    assert spec["selector"] == pool["selector"]
    assert spec["targetPorts"] == pool["targetPorts"]
    assert spec["endpointPickerRef"]["failureMode"] == "FailClose"


def test_the_gateway_fails_open_unless_told_otherwise() -> None:
    assert render(minimal())["InferencePool"]["spec"]["endpointPickerRef"]["failureMode"] == "FailOpen"


@pytest.mark.parametrize("mode", ["onePool", "oneHop", "manyPools"])
def test_pools_fit_the_resource_definition(mode: str) -> None:
    folder = os.environ.get("ONEHOP_COMPAT_DIR")
    if folder is None:
        pytest.skip("ONEHOP_COMPAT_DIR is unset: the InferencePools are not compared with their CRD")
    (file,) = Path(folder).rglob("inference.networking.k8s.io_inferencepools.yaml")
    definition = yaml.safe_load(file.read_text())["spec"]
    (version,) = [v for v in definition["versions"] if v["name"] == "v1"]
    pools = objects(render(example(mode)), "InferencePool")

    assert pools
    for pool in pools:
        assert pool["kind"] == definition["names"]["kind"]
        assert shape.mistakes(version["schema"]["openAPIV3Schema"], pool, strict=True) == []


def test_discovery_file_is_understood() -> None:
    rendered = render(listed())
    (endpoint,) = discovery.parse(file_of(rendered, settings(rendered).discovery_file).encode())

    assert (endpoint.name, endpoint.address) == ("default/llama-0", "192.0.2.10:8000")
    assert settings(rendered).pool_name == "llms"


def test_odd_endpoints_survive_the_way_through_yaml() -> None:
    endpoints = [
        {"name": "0123", "address": "2001:db8::10", "port": 8000, "namespace": "on"},
        {"name": "1e3", "address": "192.0.2.7", "port": 8000, "labels": {"yes": "no", "version": "1.10"}},
    ]
    rendered = render(minimal(discovery={"endpoints": endpoints}))
    understood = discovery.parse(file_of(rendered, settings(rendered).discovery_file).encode())

    assert [endpoint.name for endpoint in understood] == ["on/0123", "default/1e3"]
    assert understood[0].address == "[2001:db8::10]:8000"
    assert understood[1].labels == {"yes": "no", "version": "1.10"}


def test_a_config_map_of_ones_own_replaces_the_list() -> None:
    rendered = render(minimal(discovery={"existingConfigMap": "my-endpoints"}))
    (volume,) = [v for v in pod(rendered)["volumes"] if v["name"] == "discovery"]

    assert volume["configMap"]["name"] == "my-endpoints"
    assert "ConfigMap" not in rendered


def test_semantic_configuration_given_as_yaml_arrives_unchanged(one_pool: Rendered) -> None:
    given = example("onePool")["semantic"]["config"]

    assert yaml.safe_load(file_of(one_pool, settings(one_pool).semantic_config_file)) == given


def test_semantic_configuration_given_as_a_file_arrives_to_the_letter(tmp_path: Path) -> None:
    text = "  # indented, and a {{ brace }}\nversion: v0.3\nseconds: 1e-3\n\nkey: |\n  text\n"
    file = tmp_path / "config.yaml"
    file.write_text(text)
    rendered = render(minimal(), "--set-file", f"semantic.config={file}")

    assert file_of(rendered, settings(rendered).semantic_config_file) == text


def test_numbers_of_the_semantic_configuration_stay_numbers() -> None:
    config = {"whole": 12345678, "large": 10**15, "fraction": 0.25, "text": "010", "flag": "yes"}
    rendered = render(minimal(semantic={"config": config}))

    assert yaml.safe_load(file_of(rendered, settings(rendered).semantic_config_file)) == config


@pytest.mark.parametrize("nothing", [None, {}, ""])
def test_without_a_semantic_configuration_there_is_no_flag_and_no_mount(nothing: object) -> None:
    rendered = render(minimal(semantic={"config": nothing}))

    assert settings(rendered).semantic_config_file is None
    assert [v["name"] for v in pod(rendered)["volumes"]] == ["tmp"]


def test_a_new_semantic_configuration_rolls_the_pods_and_a_new_list_does_not() -> None:
    before = listed(semantic={"config": {"version": "v0.3"}})
    other_list = copy.deepcopy(before)
    other_list["discovery"]["endpoints"][0]["address"] = "192.0.2.99"
    other_config = copy.deepcopy(before) | {"semantic": {"config": {"version": "v0.3", "listeners": []}}}
    first, second, third = (
        render(given)["Deployment"]["spec"]["template"] for given in (before, other_list, other_config)
    )

    assert first == second
    assert first != third


@pytest.mark.parametrize("workers", [1, 3])
def test_a_pod_has_as_many_workers_as_it_was_told(workers: int) -> None:
    assert settings(render(minimal(workers=workers))).workers == workers


@pytest.mark.parametrize("drain", [{"timeoutSeconds": 5}, {}, {"timeoutSeconds": 600, "preStopSeconds": 60}])
def test_a_pod_is_not_killed_while_it_drains(drain: Object) -> None:
    rendered = render(minimal(drain=drain))
    slept = int(container(rendered)["lifecycle"]["preStop"]["exec"]["command"][1])
    understood = settings(rendered)

    assert slept == drain.get("preStopSeconds", 5)
    assert understood.drain_timeout == drain.get("timeoutSeconds", 30)
    assert understood.drain_notice == 3
    assert pod(rendered)["terminationGracePeriodSeconds"] > understood.drain_timeout + slept


@pytest.mark.parametrize(
    ("account", "name"),
    [
        ({}, FULLNAME),
        ({"name": "picker"}, "picker"),
        ({"create": False, "name": "theirs"}, "theirs"),
        ({"create": False}, "default"),
    ],
)
def test_role_is_bound_to_the_account_of_the_pods(account: Object, name: str) -> None:
    rendered = render(minimal(serviceAccount=account))

    assert pod(rendered)["serviceAccountName"] == name
    for binding in objects(rendered, "RoleBinding"):
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}]
        assert f"Role/{binding['roleRef']['name']}" in rendered
    assert ("ServiceAccount" in rendered) == account.get("create", True)


def test_role_and_pool_can_be_left_out() -> None:
    rendered = render({"pools": [{"name": "theirs", "create": False}], "rbac": {"create": False}})

    assert not {"Role", "RoleBinding", "InferencePool"} & rendered.keys()
    assert settings(rendered).pool_name == "theirs"


def test_image_is_the_version_of_the_chart_unless_told_otherwise() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    own: Object = {"repository": "registry.example/team/onehop", "tag": "1.2.3"}
    digest = "sha256:" + "0a" * 32

    assert container(render(minimal()))["image"] == f"onehop:{chart['appVersion']}"
    assert container(render(minimal(image=own)))["image"] == "registry.example/team/onehop:1.2.3"
    assert container(render(minimal(image=own | {"digest": digest})))["image"] == f"{own['repository']}@{digest}"


def test_pod_settings_are_passed_on_and_labels_of_ours_win() -> None:
    given: Object = {
        "podAnnotations": {"team": "search"},
        "podLabels": {"team": "search", "app.kubernetes.io/name": "theirs"},
        "nodeSelector": {"pool": "cpu"},
        "tolerations": [{"key": "cpu", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "imagePullSecrets": [{"name": "registry"}],
        "priorityClassName": "system-cluster-critical",
    }
    rendered = render(minimal(**given))
    metadata = rendered["Deployment"]["spec"]["template"]["metadata"]

    assert metadata["annotations"].keys() == {"team", "checksum/semantic"}
    assert metadata["labels"]["team"] == "search"
    assert metadata["labels"]["app.kubernetes.io/name"] == "onehop"
    for key in ("nodeSelector", "tolerations", "affinity", "imagePullSecrets", "priorityClassName"):
        assert pod(rendered)[key] == given[key]


def test_replicas_are_spread_softly_and_a_selector_of_ones_own_stays(one_pool: Rendered) -> None:
    (softly,) = pod(one_pool)["topologySpreadConstraints"]
    own = {
        "maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"mine": "yes"}},
    }

    assert softly["whenUnsatisfiable"] == "ScheduleAnyway"
    assert softly["topologyKey"] == "kubernetes.io/hostname"
    assert softly["labelSelector"]["matchLabels"] == one_pool["Deployment"]["spec"]["selector"]["matchLabels"]
    assert pod(render(minimal(topologySpreadConstraints=[own])))["topologySpreadConstraints"] == [own]


@pytest.mark.parametrize("mode", MODES)
def test_names_stay_short_enough_for_their_suffixes(mode: str) -> None:
    text = helm("template", "r" * 53, CHART, given=example(mode))
    found = [item for item in yaml.safe_load_all(text) if item]
    labels = [value for item in found for value in item["metadata"]["labels"].values()]

    assert max(len(item["metadata"]["name"]) for item in found) <= 63
    assert max(map(len, labels)) <= 63


def one(**endpoint: Any) -> Object:
    return {"endpoints": [{"name": "a", "address": "192.0.2.1", "port": 8000} | endpoint]}


def two_pools(**second: Any) -> list[Object]:
    return [
        {"name": "a", "selector": {"matchLabels": {"app": "a"}}},
        {"name": "b", "selector": {"matchLabels": {"app": "b"}}} | second,
    ]


TWICE = [{"name": name, "address": "192.0.2.1", "port": 8000} for name in ("a", "b")]
BY_LABEL: Object = {"endpointSelector": {"app": "vllm"}}
ISTIO: Object = {"provider": "istio", "parentRefs": [{"name": "g"}]}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, ["pools is required to have one entry in mode onePool"]),
        ({"pools": two_pools()}, ["pools", "has 2"]),
        (listed(pools=two_pools()), ["pools has 2 entries"]),
        ({"pools": [{"name": "a"}]}, ["pools[0].selector.matchLabels is required", "pools[0].create=false"]),
        ({"pools": [{}]}, ["name"]),
        ({"pools": [{"name": "a", "create": False, "selectors": {}}]}, ["selectors"]),
        ({"pools": [{"name": "a", "create": False, "failureMode": "FailClosed"}]}, ["failureMode"]),
        ({"pools": [{"name": "a", "create": False, "port": 9101}]}, ["pools[0].port has no effect in mode onePool"]),
        ({"pools": [{"name": "a", "create": False, "pickerService": "b"}]}, ["pools[0].pickerService has no effect"]),
        (minimal(discovery={"poolGroup": "old.example"}), ["pools[0].create", "discovery.poolGroup=old.example"]),
        (minimal(mode="onepool"), ["mode"]),
        (minimal(mode="standalone"), ["pools has no effect in mode standalone"]),
        ({"mode": "standalone"}, ["discovery.endpointSelector or discovery.endpoints is required"]),
        ({"mode": "standalone", "discovery": one(address="vllm-0.vllm")}, ["discovery.endpoints[0].address"]),
        ({"mode": "standalone", "discovery": BY_LABEL, "secureServing": True}, ["secureServing=true has no use"]),
        (
            {"mode": "standalone", "discovery": BY_LABEL, "flags": {"fallback-endpoints": 1}},
            ["flags.fallback-endpoints cannot be used in mode standalone"],
        ),
        ({"mode": "standalone", "discovery": BY_LABEL, "gateway": ISTIO}, ["gateway.provider has no effect"]),
        ({"mode": "oneHop"}, ["pools is required to have at least one entry in mode oneHop"]),
        ({"mode": "oneHop", "discovery": BY_LABEL}, ["discovery.endpointSelector", "mode oneHop"]),
        (
            {"mode": "oneHop", "pools": two_pools(), "gateway": {"provider": "istio"}},
            ["gateway.parentRefs is required"],
        ),
        ({"mode": "oneHop", "pools": two_pools(name="a")}, ["pools[1]: inference/a is already pools[0]"]),
        ({"mode": "oneHop", "pools": two_pools(models=["a"])}, ["pools[1].models: a already leads to pools[0]"]),
        ({"mode": "oneHop", "pools": two_pools(port=9101)}, ["pools[1].port has no effect in mode oneHop"]),
        ({"mode": "manyPools", "pools": two_pools(port=9003)}, ["pools[1].port: 9003 is already taken by gRPC health"]),
        ({"mode": "manyPools", "pools": two_pools(port=9091)}, ["pools[1].port", "flags.admin-address"]),
        (
            {"mode": "manyPools", "pools": two_pools(), "httpRoute": {"create": True}},
            ["gateway.parentRefs is required"],
        ),
        (
            {"mode": "manyPools", "pools": two_pools(), "httpRoute": {"defaultPool": "c"}},
            ["httpRoute.defaultPool: c is none of pools"],
        ),
        ({"mode": "guideDropIn"}, ["pools is required"]),
        ({"mode": "guideDropIn", "discovery": {"poolSelector": {"a": "b"}}}, ["pools alone says what to serve"]),
        ({"mode": "guideDropIn", "pools": [{"name": "a", "create": True}]}, ["pools[0].create must not be true"]),
        ({"mode": "guideDropIn", "pools": [{"name": "a", "namespace": "b"}]}, ["pools[0].namespace", "default"]),
        ({"mode": "guideDropIn", "pools": [{"name": "a"}], "gateway": ISTIO}, ["gateway.provider has no effect"]),
        (
            {"mode": "guideDropIn", "pools": [{"name": "a"}], "httpRoute": {"create": True}},
            ["httpRoute.create makes no routes"],
        ),
        (minimal(decisionKey={"existingSecret": "k"}), ["decisionKey.existingSecret has no effect"]),
        (minimal(discovery={"endpoints": TWICE}), ["discovery.endpoints[1]", "192.0.2.1", "discovery.endpoints[0]"]),
        (minimal(discovery=one() | {"existingConfigMap": "mine"}), ["discovery.existingConfigMap", "both"]),
        (minimal(discovery=one() | BY_LABEL), ["discovery.endpointSelector cannot go with a list"]),
        (minimal(discovery=BY_LABEL), ["discovery.endpointSelector", "cannot go with pools"]),
        (minimal(discovery=one() | {"byPickerService": True}), ["discovery.byPickerService", "otherwise"]),
        (minimal(discovery=one(address="vllm-0.vllm.default.svc")), ["discovery.endpoints[0].address", "IP address"]),
        (minimal(discovery=one(address="192.0.2.1:8000")), ["discovery.endpoints[0].address"]),
        (minimal(discovery=one(port=8001)), ["discovery.endpoints[0].port: 8001", "pools[0].targetPorts"]),
        (minimal(discovery=one(prot=1)), ["prot"]),
        (minimal(discovery=one(port="http")), ["port"]),
        (minimal(discovery={"endpoint": []}), ["endpoint"]),
        (minimal(discovery={"serves": [{"model": "a", "matchLabels": {}}]}), ["serves"]),
        (minimal(replica=2), ["replica"]),
        (minimal(replicas="two"), ["replicas"]),
        (minimal(highAvailability="active"), ["highAvailability"]),
        (listed(highAvailability="activePassive"), ["highAvailability=activePassive needs the API server"]),
        (
            minimal(highAvailability="activePassive", autoscaling={"create": True}),
            ["autoscaling.create has no use with highAvailability=activePassive"],
        ),
        (minimal(autoscaling={"create": True, "minReplicas": 9}), ["autoscaling.minReplicas is larger"]),
        (
            minimal(autoscaling={"create": True}, resources={"requests": {"cpu": None}}),
            ["autoscaling.create needs resources.requests.cpu"],
        ),
        (minimal(workers=2, flags={"transport": "grpc"}), ["workers above 1 cannot go with flags.transport=grpc"]),
        (minimal(workers=0), ["workers"]),
        (minimal(drain={"timeoutSeconds": 3}), ["drain.timeoutSeconds must be larger"]),
        (minimal(drain={"timeout": 3}), ["timeout"]),
        (minimal(flags={"unkown-model": "forward"}), ["unkown-model"]),
        (minimal(flags={"grpc-port": 9999}), ["grpc-port"]),
        (minimal(flags={"classify-deadline": "soon"}), ["classify-deadline"]),
        (minimal(flags={"tenant-from": "cookie:a"}), ["tenant-from"]),
        (minimal(semantic={"configFile": "x"}), ["configFile"]),
        (minimal(semantic={"config": ["a"]}), ["config"]),
        (minimal(image={"repo": "x"}), ["repo"]),
        (
            minimal(certificateSecret="pair", secureServing=False),
            ["certificateSecret has no effect without secureServing=true"],
        ),
        (
            minimal(flags={"tls-min-version": "VersionTLS13"}, secureServing=False),
            ["flags.tls-min-version", "secureServing=true"],
        ),
        (minimal(flags={"tls-min-version": "VersionTLS11"}), ["tls-min-version"]),
        (minimal(flags={"grpc-max-recv-msg-size": "10MB"}), ["grpc-max-recv-msg-size"]),
        (minimal(flags={"admin-address": "0.0.0.0:9091"}), ["adminTokenSecret is required", "0.0.0.0:9091"]),
        (minimal(secureServing="yes"), ["secureServing"]),
        (minimal(resources={"limit": {}}), ["limit"]),
        (minimal(networkPolicy={"gateways": [{"podSelectors": {}}]}), ["podSelectors"]),
        (minimal(istio={"envoyFilter": {"failopen": True}}), ["failopen"]),
        (minimal(standalone={"envoy": {"tag": "v1"}}), ["tag"]),
        (
            {
                "mode": "manyPools",
                "discovery": {"poolSelector": {"a": "b"}},
                "networkPolicy": {"create": True},
            },
            ["networkPolicy.egress.modelServers is required"],
        ),
        (
            minimal(monitoring={"serviceMonitor": {"create": True}, "podMonitor": {"create": True}}),
            ["monitoring.serviceMonitor and monitoring.podMonitor"],
        ),
    ],
)
def test_bad_values_are_refused_by_name(given: Object, said: list[str]) -> None:
    with pytest.raises(Refusal) as refused:
        render(given)

    for words in said:
        assert words in str(refused.value)


def test_host_names_are_accepted_where_no_pool_is_created() -> None:
    given = {"pools": [{"name": "theirs", "create": False}], "discovery": one(address="vllm-0.vllm")}
    rendered = render(given)

    (endpoint,) = discovery.parse(file_of(rendered, settings(rendered).discovery_file).encode())
    assert endpoint.address == "vllm-0.vllm:8000"


def test_notes_say_what_auto_means_without_semantic_routing(tmp_path: Path) -> None:
    flags = {"default-model": "phi4-mini", "admin-address": "[::1]:9099"}
    given = {"pools": [{"name": "theirs", "create": False}], "flags": flags, "secureServing": False}
    text = notes(given, tmp_path)

    assert "Semantic routing is off" in text
    assert "phi4-mini" in text
    assert "9091:9099 " in text
    assert f"endpointPickerRef: {{kind: Service, name: {FULLNAME}, port: {{number: 9002}}}}" in text
    assert "FailOpen" not in text


def test_the_defaults_are_those_of_values_yaml() -> None:
    assert render(minimal()) == render(values() | minimal())
