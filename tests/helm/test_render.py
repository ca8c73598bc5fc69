"""The chart as helm renders it: what the pods may do, how they are found, and that OneHop understands its files."""

from __future__ import annotations

import copy
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from epp.datastore import discovery
from epp.edge.health import HEALTH_NAMES
from epp.settings import Settings, parse

from . import shape
from .chart import (
    CHART,
    NAMESPACE,
    RELEASE,
    Object,
    Refusal,
    container,
    helm,
    minimal,
    needs_helm,
    pod,
    render,
    values,
)

pytestmark = needs_helm

FULLNAME = f"{RELEASE}-onehop"
FLAGS: Object = {
    "default-model": "llama3-8b",
    "unknown-model": "forward",
    "unparsed": "refuse",
    "usage-sample-every": 20,
    "restore-model": True,
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
    "drain-notice": "0s",
    "zap-encoder": "json",
    "zap-log-level": "debug",
    "v": 4,
}


@pytest.fixture(scope="module")
def example() -> dict[str, Object]:
    return render(values("ci/one-pool-values.yaml"))


def settings(rendered: dict[str, Object]) -> Settings:
    command, *flags = container(rendered)["args"]
    assert command == "serve"
    return parse(flags)


def file_of(rendered: dict[str, Object], path: Path | None) -> str:
    """What the container reads at `path`: the mounted ConfigMap's key."""
    assert path is not None
    (mount,) = [m for m in container(rendered)["volumeMounts"] if m["mountPath"] == str(path.parent)]
    (volume,) = [v for v in pod(rendered)["volumes"] if v["name"] == mount["name"]]
    text: str = rendered[f"ConfigMap/{volume['configMap']['name']}"]["data"][path.name]
    return text


def notes(given: Object, tmp_path: Path) -> str:
    """NOTES.txt, which `helm template` does not print: rendered by a template of a copy of the chart."""
    chart = tmp_path / "onehop"
    shutil.copytree(CHART, chart)
    (chart / "templates" / "said.yaml").write_text(
        'kind: Notes\nmetadata: {name: said}\ntext: {{ include (print .Template.BasePath "/NOTES.txt") . | toJson }}\n'
    )
    text: str = render(given, chart=chart)["Notes"]["text"]
    return text


@pytest.mark.parametrize("file", ["values.yaml", "ci/one-pool-values.yaml"])
def test_lint_is_content(file: str) -> None:
    helm("lint", "--strict", CHART, "--values", CHART / file)


def test_everything_asked_for_is_rendered(example: dict[str, Object]) -> None:
    assert {name.partition("/")[0] for name in example} == {
        "Deployment", "Service", "ConfigMap", "ServiceAccount", "Role", "RoleBinding", "InferencePool",
    }  # fmt: skip
    assert {item["metadata"]["namespace"] for item in example.values()} == {NAMESPACE}


def test_pod_satisfies_the_restricted_standard(example: dict[str, Object]) -> None:
    rights = container(example)["securityContext"]

    assert pod(example)["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod(example).keys()


def test_only_tmp_can_be_written(example: dict[str, Object]) -> None:
    writable = [m["mountPath"] for m in container(example)["volumeMounts"] if not m.get("readOnly")]
    (tmp,) = [v for v in pod(example)["volumes"] if v["name"] == "tmp"]

    assert writable == ["/tmp"]
    assert "emptyDir" in tmp
    assert not any("subPath" in m for m in container(example)["volumeMounts"]), "such a file is never refreshed"


def test_pod_has_no_token_and_no_variables_of_services(example: dict[str, Object]) -> None:
    assert pod(example)["automountServiceAccountToken"] is False
    assert example["ServiceAccount"]["automountServiceAccountToken"] is False
    assert pod(example)["enableServiceLinks"] is False


def test_probes_ask_names_that_are_answered(example: dict[str, Object]) -> None:
    asked = {kind: container(example)[f"{kind}Probe"]["grpc"] for kind in ("startup", "liveness", "readiness")}

    assert asked["startup"] == asked["liveness"] == {"port": 9003, "service": "liveness"}
    assert asked["readiness"] == {"port": 9003, "service": "readiness"}
    assert {probe["service"] for probe in asked.values()} <= set(HEALTH_NAMES)


def test_arguments_are_understood(example: dict[str, Object]) -> None:
    understood = settings(example)

    assert understood.pool_name == example["InferencePool"]["metadata"]["name"] == FULLNAME
    assert understood.drain_timeout == 30
    assert not understood.secure_serving


def test_flags_arrive_as_they_were_given() -> None:
    understood = settings(render(minimal(flags=FLAGS, secureServing=True))).model_dump()
    expected = {name.replace("-", "_"): value for name, value in FLAGS.items()}
    expected |= {
        "classify_deadline": 0.15,
        "body_timeout": 30.0,
        "grpc_max_recv_msg_size": 10 << 20,
        "drain_notice": 0.0,
    }

    assert {name: understood[name] for name in expected} == expected


def test_ports_of_process_container_and_service_agree(example: dict[str, Object]) -> None:
    process = settings(example)
    served = {port["name"]: port for port in example["Service"]["spec"]["ports"]}
    opened = {port["name"]: port["containerPort"] for port in container(example)["ports"]}

    assert opened == {
        "grpc-ext-proc": process.grpc_port,
        "grpc-health": process.grpc_health_port,
        "http-metrics": process.metrics_port,
    }
    assert {name: port["port"] for name, port in served.items()} == opened
    assert all(port["targetPort"] == name for name, port in served.items())
    assert served["grpc-ext-proc"]["appProtocol"] == "kubernetes.io/h2c"


def test_serving_securely_each_pod_signs_for_the_names_of_the_service() -> None:
    rendered = render(minimal(secureServing=True))
    understood = settings(rendered)
    (port,) = [p for p in rendered["Service"]["spec"]["ports"] if p["name"] == "grpc-ext-proc"]

    assert understood.secure_serving
    assert understood.cert_path is None
    assert understood.tls_names.split(",") == [
        FULLNAME,
        f"{FULLNAME}.{NAMESPACE}",
        f"{FULLNAME}.{NAMESPACE}.svc",
        f"{FULLNAME}.{NAMESPACE}.svc.cluster.local",
    ]
    assert port["appProtocol"] == "http2"


def test_a_certificate_of_ones_own_is_mounted_and_followed() -> None:
    rendered = render(minimal(secureServing=True, certificateSecret="picker-tls"))
    understood = settings(rendered)
    (mount,) = [m for m in container(rendered)["volumeMounts"] if m["mountPath"] == str(understood.cert_path)]
    (volume,) = [v for v in pod(rendered)["volumes"] if v["name"] == mount["name"]]

    assert volume["secret"]["secretName"] == "picker-tls"
    assert understood.enable_cert_reload
    assert understood.tls_names == ""


def test_an_admin_address_for_others_has_its_token_from_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEHOP_ADMIN_TOKEN", "from-the-secret")
    rendered = render(minimal(flags={"admin-address": "0.0.0.0:9091"}, adminTokenSecret="admin"))
    (variable,) = container(rendered)["env"]

    assert settings(rendered).admin_address == "0.0.0.0:9091"
    assert variable["name"] == "ONEHOP_ADMIN_TOKEN"
    assert variable["valueFrom"]["secretKeyRef"] == {"name": "admin", "key": "token"}


def test_service_and_deployment_select_the_pods(example: dict[str, Object]) -> None:
    template = example["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selector = example["Service"]["spec"]["selector"]

    assert selector.items() <= template.items()
    assert example["Deployment"]["spec"]["selector"]["matchLabels"] == selector


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
    rendered = render(minimal(inferencePool=pool))
    spec = rendered["InferencePool"]["spec"]

    assert rendered["InferencePool"]["apiVersion"] == "inference.networking.k8s.io/v1"
    assert rendered["InferencePool"]["metadata"]["name"] == settings(rendered).pool_name == "llms"
    assert spec["selector"] == pool["selector"]
    assert spec["targetPorts"] == pool["targetPorts"]
    assert spec["endpointPickerRef"]["failureMode"] == "FailClose"


def test_the_gateway_fails_open_unless_told_otherwise() -> None:
    assert render(minimal())["InferencePool"]["spec"]["endpointPickerRef"]["failureMode"] == "FailOpen"


def test_pool_fits_the_resource_definition(example: dict[str, Object]) -> None:
    folder = os.environ.get("ONEHOP_COMPAT_DIR")
    if folder is None:
        pytest.skip("ONEHOP_COMPAT_DIR is unset: the InferencePool is not compared with its CRD")
    (file,) = Path(folder).rglob("inference.networking.k8s.io_inferencepools.yaml")
    definition = yaml.safe_load(file.read_text())["spec"]
    (version,) = [v for v in definition["versions"] if v["name"] == "v1"]

    assert example["InferencePool"]["kind"] == definition["names"]["kind"]
    assert shape.mistakes(version["schema"]["openAPIV3Schema"], example["InferencePool"], strict=True) == []


def test_discovery_file_is_understood(example: dict[str, Object]) -> None:
    listed = discovery.parse(file_of(example, settings(example).discovery_file).encode())

    assert [endpoint.address for endpoint in listed] == ["192.0.2.10:8000", "192.0.2.11:8000", "192.0.2.20:8000"]
    assert listed[0].name == "default/llama3-8b-0"
    assert listed[0].labels == {"app": "vllm", "model": "llama3-8b"}


def test_odd_endpoints_survive_the_way_through_yaml() -> None:
    endpoints = [
        {"name": "0123", "address": "2001:db8::10", "port": 8000, "namespace": "on"},
        {"name": "1e3", "address": "192.0.2.7", "port": 8000, "labels": {"yes": "no", "version": "1.10"}},
    ]
    rendered = render(minimal(discovery={"endpoints": endpoints}))
    listed = discovery.parse(file_of(rendered, settings(rendered).discovery_file).encode())

    assert [endpoint.name for endpoint in listed] == ["on/0123", "default/1e3"]
    assert listed[0].address == "[2001:db8::10]:8000"
    assert listed[1].labels == {"yes": "no", "version": "1.10"}


def test_a_config_map_of_ones_own_replaces_the_list() -> None:
    rendered = render(minimal(discovery={"existingConfigMap": "my-endpoints"}))
    (volume,) = [v for v in pod(rendered)["volumes"] if v["name"] == "discovery"]

    assert volume["configMap"]["name"] == "my-endpoints"
    assert "ConfigMap" not in rendered


def test_semantic_configuration_given_as_yaml_arrives_unchanged(example: dict[str, Object]) -> None:
    given = values("ci/one-pool-values.yaml")["semantic"]["config"]

    assert yaml.safe_load(file_of(example, settings(example).semantic_config_file)) == given


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
    assert [v["name"] for v in pod(rendered)["volumes"]] == ["tmp", "discovery"]


def test_a_new_semantic_configuration_rolls_the_pods_and_a_new_list_does_not() -> None:
    before = minimal(semantic={"config": {"version": "v0.3"}})
    other_list = copy.deepcopy(before)
    other_list["discovery"]["endpoints"][0]["address"] = "192.0.2.99"
    other_config = copy.deepcopy(before) | {"semantic": {"config": {"version": "v0.3", "listeners": []}}}
    first, second, third = (
        render(given)["Deployment"]["spec"]["template"] for given in (before, other_list, other_config)
    )

    assert first == second
    assert first != third


@pytest.mark.parametrize("drain", [1, 30, 600])
def test_a_pod_is_not_killed_while_it_drains(drain: int) -> None:
    rendered = render(minimal(drainTimeoutSeconds=drain))
    slept = int(container(rendered)["lifecycle"]["preStop"]["exec"]["command"][1])

    assert settings(rendered).drain_timeout == drain
    assert pod(rendered)["terminationGracePeriodSeconds"] > drain + slept


def test_role_reads_what_discovery_needs_and_nothing_more(example: dict[str, Object]) -> None:
    rules = example["Role"]["rules"]
    readable = {(group, what) for rule in rules for group in rule["apiGroups"] for what in rule["resources"]}
    old = "inference.networking.x-k8s.io"

    assert all(rule["verbs"] == ["get", "list", "watch"] for rule in rules)
    assert all(rule.keys() == {"apiGroups", "resources", "verbs"} for rule in rules)
    assert readable == {
        ("", "pods"),
        ("inference.networking.k8s.io", "inferencepools"),
        (old, "inferencepools"),
        ("llm-d.ai", "inferenceobjectives"),
        (old, "inferenceobjectives"),
        ("llm-d.ai", "inferencemodelrewrites"),
        (old, "inferencemodelrewrites"),
    }


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
    binding = rendered["RoleBinding"]

    assert pod(rendered)["serviceAccountName"] == name
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}]
    assert binding["roleRef"]["name"] == rendered["Role"]["metadata"]["name"]
    assert ("ServiceAccount" in rendered) == account.get("create", True)


def test_role_and_pool_can_be_left_out() -> None:
    rendered = render(minimal(rbac={"create": False}, inferencePool={"create": False}))

    assert not {"Role", "RoleBinding", "InferencePool"} & rendered.keys()
    assert settings(rendered).pool_name == FULLNAME


def test_image_is_the_version_of_the_chart_unless_told_otherwise() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    own: Object = {"repository": "registry.example/team/onehop", "tag": "1.2.3"}

    assert container(render(minimal()))["image"] == f"onehop:{chart['appVersion']}"
    assert container(render(minimal(image=own)))["image"] == "registry.example/team/onehop:1.2.3"


def test_pod_settings_are_passed_on_and_labels_of_ours_win() -> None:
    given: Object = {
        "podAnnotations": {"team": "search"},
        "podLabels": {"team": "search", "app.kubernetes.io/name": "theirs"},
        "nodeSelector": {"pool": "cpu"},
        "tolerations": [{"key": "cpu", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "imagePullSecrets": [{"name": "registry"}],
    }
    rendered = render(minimal(**given))
    metadata = rendered["Deployment"]["spec"]["template"]["metadata"]

    assert metadata["annotations"].keys() == {"team", "checksum/semantic"}
    assert metadata["labels"]["team"] == "search"
    assert metadata["labels"]["app.kubernetes.io/name"] == "onehop"
    for key in ("nodeSelector", "tolerations", "affinity", "imagePullSecrets"):
        assert pod(rendered)[key] == given[key]


def test_names_stay_short_enough_for_their_suffixes() -> None:
    text = helm("template", "r" * 53, CHART, given=values("ci/one-pool-values.yaml"))
    names = [found["metadata"]["name"] for found in yaml.safe_load_all(text)]

    assert max(map(len, names)) <= 63


def one(**endpoint: Any) -> Object:
    return {"endpoints": [{"name": "a", "address": "192.0.2.1", "port": 8000} | endpoint]}


TWICE = [{"name": name, "address": "192.0.2.1", "port": 8000} for name in ("a", "b")]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, ["discovery.endpoints is required", "discovery.existingConfigMap"]),
        (minimal(discovery={"endpoints": []}), ["discovery.endpoints is required"]),
        (minimal(discovery=one() | {"existingConfigMap": "mine"}), ["discovery.existingConfigMap", "both"]),
        (minimal(inferencePool={}), ["inferencePool.selector.matchLabels is required"]),
        (minimal(discovery=one(address="vllm-0.vllm.default.svc")), ["discovery.endpoints[0].address", "IP address"]),
        (minimal(discovery=one(address="192.0.2.1:8000")), ["discovery.endpoints[0].address"]),
        (minimal(discovery=one(port=8001)), ["discovery.endpoints[0].port: 8001", "inferencePool.targetPorts"]),
        (minimal(discovery={"endpoints": TWICE}), ["discovery.endpoints[1]", "192.0.2.1", "discovery.endpoints[0]"]),
        (minimal(discovery=one(prot=1)), ["prot"]),
        (minimal(discovery=one(address="http://192.0.2.1")), ["address"]),
        (minimal(discovery=one(port="http")), ["port"]),
        (minimal(discovery={"endpoint": []}), ["endpoint"]),
        (minimal(replica=2), ["replica"]),
        (minimal(replicas="two"), ["replicas"]),
        (minimal(flags={"unkown-model": "forward"}), ["unkown-model"]),
        (minimal(flags={"grpc-port": 9999}), ["grpc-port"]),
        (minimal(flags={"classify-deadline": "soon"}), ["classify-deadline"]),
        (minimal(inferencePool={"failureMode": "FailClosed"}), ["failureMode"]),
        (minimal(semantic={"configFile": "x"}), ["configFile"]),
        (minimal(semantic={"config": ["a"]}), ["config"]),
        (minimal(image={"repo": "x"}), ["repo"]),
        (minimal(certificateSecret="pair"), ["certificateSecret has no effect without secureServing=true"]),
        (minimal(flags={"tls-min-version": "VersionTLS13"}), ["flags.tls-min-version", "secureServing=true"]),
        (minimal(flags={"tls-min-version": "VersionTLS11"}), ["tls-min-version"]),
        (minimal(flags={"grpc-max-recv-msg-size": "10MB"}), ["grpc-max-recv-msg-size"]),
        (minimal(flags={"admin-address": "0.0.0.0:9091"}), ["adminTokenSecret is required", "0.0.0.0:9091"]),
        (minimal(secureServing="yes"), ["secureServing"]),
        (minimal(resources={"limit": {}}), ["limit"]),
    ],
)
def test_bad_values_are_refused_by_name(given: Object, said: list[str]) -> None:
    with pytest.raises(Refusal) as refused:
        render(given)

    for words in said:
        assert words in str(refused.value)


def test_host_names_are_accepted_where_no_pool_is_created() -> None:
    given = minimal(discovery=one(address="vllm-0.vllm"), inferencePool={"create": False})
    rendered = render(given)

    (endpoint,) = discovery.parse(file_of(rendered, settings(rendered).discovery_file).encode())
    assert endpoint.address == "vllm-0.vllm:8000"


def test_notes_say_where_to_look_and_what_is_missing(tmp_path: Path) -> None:
    text = notes(values("ci/one-pool-values.yaml"), tmp_path)

    assert f"port-forward deploy/{FULLNAME}" in text
    assert f"name: {FULLNAME}" in text
    assert f"ConfigMap {FULLNAME}-discovery (3)" in text
    assert f"ConfigMap {FULLNAME}-semantic" in text
    assert "FailOpen" in text


def test_notes_say_what_auto_means_without_semantic_routing(tmp_path: Path) -> None:
    flags = {"default-model": "phi4-mini", "admin-address": "[::1]:9099"}
    text = notes(minimal(flags=flags, inferencePool={"create": False}), tmp_path)

    assert "Semantic routing is off" in text
    assert "phi4-mini" in text
    assert "9091:9099 " in text
    assert "No InferencePool was created" in text
    assert "FailOpen" not in text
