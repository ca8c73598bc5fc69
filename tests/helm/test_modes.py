"""What every mode must have, and what is particular to one: ports end to end, selectors, rights, wiring, replicas."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from epp.cli.envoy import EnvoyPlan, envoy_config
from epp.kubernetes import lease
from epp.protocol.decision import KEY_BYTES_MIN, Signer

from .chart import (
    FULLNAME,
    MODES,
    NAMESPACE,
    Object,
    Rendered,
    container,
    example,
    minimal,
    needs_helm,
    notes,
    objects,
    pod,
    render,
    settings,
)

pytestmark = needs_helm

READ = ["list", "watch"]
HTTP_CONNECTION_MANAGER = "envoy.filters.network.http_connection_manager"


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def rendered(mode: str) -> Rendered:
    return render(example(mode))


def deployments(rendered: Rendered) -> list[str]:
    return [item["metadata"]["name"] for item in objects(rendered, "Deployment")]


def flat(rule: Object) -> set[tuple[str, str, str]]:
    return {(group, what, verb) for group in rule["apiGroups"] for what in rule["resources"] for verb in rule["verbs"]}


def rights(rendered: Rendered, namespace: str) -> set[tuple[str, str, str]]:
    roles = [item for item in objects(rendered, "Role") if item["metadata"]["namespace"] == namespace]
    return {right for role in roles for rule in role["rules"] for right in flat(rule)}


def test_arguments_are_understood(rendered: Rendered) -> None:
    for name in deployments(rendered):
        assert settings(rendered, name).drain_timeout == 30
        assert any(a.startswith("--secure-serving=") for a in container(rendered, name)["args"]), "always said"


def test_every_service_ends_at_a_port_that_is_served(rendered: Rendered) -> None:
    """Service port -> named container port -> flag."""
    checked = 0
    for service in objects(rendered, "Service"):
        selector = service["spec"].get("selector", {})
        if "app.kubernetes.io/component" not in selector:
            continue  # of model servers
        (target,) = [
            item
            for item in objects(rendered, "Deployment")
            if item["metadata"]["namespace"] == service["metadata"]["namespace"]
            and selector.items() <= item["spec"]["template"]["metadata"]["labels"].items()
        ]
        name = target["metadata"]["name"]
        understood = settings(rendered, name)
        containers = [container(rendered, name), *pod(rendered, name).get("initContainers", [])]
        opened = {port["name"]: port["containerPort"] for c in containers for port in c.get("ports", [])}
        flags = {
            "grpc-ext-proc": understood.grpc_port,
            "grpc-health": understood.grpc_health_port,
            "http-metrics": understood.metrics_port,
            "grpc-semantic": understood.semantic_port,
        }
        listening = {*flags.values(), *(p.port for p in understood.pool)} | {8080, 19001}  # and Envoy's
        for port in service["spec"]["ports"]:
            assert opened[port["targetPort"]] in listening, port
            assert opened[port["targetPort"]] == flags.get(port["targetPort"], opened[port["targetPort"]])
            checked += 1

    assert checked >= 3


def test_selectors_find_the_pods_of_one_deployment_only(rendered: Rendered) -> None:
    labels = [item["spec"]["template"]["metadata"]["labels"] for item in objects(rendered, "Deployment")]

    for item in objects(rendered, "Deployment"):
        selector = item["spec"]["selector"]["matchLabels"]
        assert [selector.items() <= found.items() for found in labels].count(True) == 1
        assert all(len(value) <= 63 for value in selector.values())


def test_pods_satisfy_the_restricted_standard(rendered: Rendered) -> None:
    for name in deployments(rendered):
        spec = pod(rendered, name)

        assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert {kind for volume in spec["volumes"] for kind in volume} <= {"name", "emptyDir", "configMap", "secret"}
        for each in [*spec["containers"], *spec.get("initContainers", [])]:
            context = each["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context.get("runAsUser") != 0
            assert {"requests", "limits"} <= each["resources"].keys()


def test_rights_are_in_the_watched_namespaces_and_reading_only(mode: str, rendered: Rendered) -> None:
    watched = "default" if mode == "guideDropIn" else NAMESPACE
    old, new = "inference.networking.x-k8s.io", "inference.networking.k8s.io"
    expected = {("", "pods", verb) for verb in READ} | {("", "events", verb) for verb in ("create", "patch")}
    if mode != "standalone":
        policies = ("inferenceobjectives", "inferencemodelrewrites")
        expected |= {(group, "inferencepools", verb) for group in (old, new) for verb in READ}
        expected |= {(group, what, verb) for group in ("llm-d.ai", old) for what in policies for verb in READ}
    if mode == "manyPools":  # active-passive
        expected |= {("coordination.k8s.io", "leases", verb) for verb in ("create", "get", "update")}

    assert rights(rendered, watched) == expected
    assert {item["metadata"]["namespace"] for item in objects(rendered, "Role")} == {watched}
    assert "ClusterRole" not in rendered


def test_roles_are_bound_to_the_accounts_of_the_pods(rendered: Rendered) -> None:
    accounts = {
        (pod(rendered, item["metadata"]["name"])["serviceAccountName"], item["metadata"]["namespace"])
        for item in objects(rendered, "Deployment")
    }
    made = {(item["metadata"]["name"], item["metadata"]["namespace"]) for item in objects(rendered, "ServiceAccount")}

    assert made == accounts
    for binding in objects(rendered, "RoleBinding"):
        namespace = binding["metadata"]["namespace"]
        assert f"Role/{namespace}/{binding['roleRef']['name']}" in rendered
        assert {(subject["name"], subject["namespace"]) for subject in binding["subjects"]} == accounts


def test_pools_name_a_service_of_their_own_namespace(rendered: Rendered) -> None:
    for pool in objects(rendered, "InferencePool"):
        reference = pool["spec"]["endpointPickerRef"]
        service = rendered[f"Service/{pool['metadata']['namespace']}/{reference['name']}"]

        assert reference["port"]["number"] in [port["port"] for port in service["spec"]["ports"]]


def test_notes_name_what_to_ask_and_every_deployment(mode: str, rendered: Rendered, tmp_path: Path) -> None:
    text = notes(example(mode), tmp_path)

    assert f"mode {mode}" in text
    assert "x-onehop-receipt" in text
    assert "curl localhost:9091/debug/pools" in text
    assert all(name in text for name in deployments(rendered))


# -- onePool, manyPools ----------------------------------------------------------------------------------------------


def rules(rendered: Rendered) -> list[tuple[list[Any], str]]:
    """(matches, pool) of every rule of every HTTPRoute; a match is its header's value, or None for every request."""
    found = []
    for route in objects(rendered, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            (to,) = rule["backendRefs"]
            values = [m["headers"][0]["value"] if "headers" in m else None for m in rule["matches"]]
            assert all(m["path"] == {"type": "PathPrefix", "value": "/"} for m in rule["matches"])
            assert to["kind"] == "InferencePool"
            assert "name" not in rule
            found.append((values, to["name"]))
    return found


def test_one_pool_takes_every_request() -> None:
    assert rules(render(example("onePool"))) == [([None], "llms")]


@pytest.mark.parametrize("mode", ["oneHop", "manyPools"])
def test_models_lead_to_their_pools_and_everything_else_to_the_default(mode: str) -> None:
    pools = [
        {"name": "a", "selector": {"matchLabels": {"app": "a"}}},
        {"name": "b", "selector": {"matchLabels": {"app": "b"}}, "models": ["b/1", "b-lora"]},
    ]
    given: Object = {
        "mode": mode,
        "pools": pools,
        "gateway": {"parentRefs": [{"name": "g"}, {"name": "h", "namespace": "edge", "sectionName": "llm"}]},
        "httpRoute": {"create": True, "defaultPool": "b", "hostnames": ["llm.example"], "requestTimeout": "0s"},
    }
    rendered = render(given)
    spec = rendered["HTTPRoute"]["spec"]

    assert rules(rendered) == [(["a"], "a"), (["b/1", "b-lora"], "b"), ([None], "b")]
    assert spec["parentRefs"] == [
        {"name": "g", "namespace": NAMESPACE},
        {"name": "h", "namespace": "edge", "sectionName": "llm"},
    ]
    assert spec["hostnames"] == ["llm.example"]
    assert {rule["timeouts"]["request"] for rule in spec["rules"]} == {"0s"}


def test_many_rules_become_several_routes() -> None:
    pools = [{"name": f"p{n}", "create": False} for n in range(40)]
    given = {
        "mode": "oneHop",
        "pools": pools,
        "gateway": {"parentRefs": [{"name": "g"}]},
        "httpRoute": {"create": True},
    }
    rendered = render(given)

    assert [len(route["spec"]["rules"]) for route in objects(rendered, "HTTPRoute")] == [16, 16, 9]
    assert len({route["metadata"]["name"] for route in objects(rendered, "HTTPRoute")}) == 3
    assert {pool for _, pool in rules(rendered)} == {pool["name"] for pool in pools}


def test_a_pool_with_a_port_of_its_own_has_a_service_of_its_own() -> None:
    rendered = render(example("manyPools"))
    understood = settings(rendered)
    picked_at = {
        pool["metadata"]["name"]: pool["spec"]["endpointPickerRef"]["name"]
        for pool in objects(rendered, "InferencePool")
    }
    opened = {port["name"]: port["containerPort"] for port in container(rendered)["ports"]}
    (port,) = rendered[f"Service/{FULLNAME}-batch"]["spec"]["ports"]

    assert picked_at == {"llama3-8b": FULLNAME, "phi4-mini": FULLNAME, "batch": f"{FULLNAME}-batch"}
    assert [(p.namespace, p.name, p.port) for p in understood.pool] == [
        (NAMESPACE, "llama3-8b", None),
        (NAMESPACE, "phi4-mini", None),
        (NAMESPACE, "batch", 9101),
    ]
    assert opened[port["targetPort"]] == 9101
    assert f"{FULLNAME}-batch.{NAMESPACE}.svc" in understood.tls_names.split(",")


def test_a_pool_keeps_its_port_name_when_the_list_changes() -> None:
    """While revisions overlap, a Service must find the port of its pool in pods of both."""
    pools = [{"name": name} for name in ("a", "b")]
    before, after = (render({"mode": "guideDropIn", "pools": order})["Service/b-epp"] for order in (pools, pools[::-1]))

    assert before["spec"] == after["spec"]


def test_pools_of_other_namespaces_get_rights_a_route_and_a_way_here() -> None:
    pools = [
        {"name": "a", "selector": {"matchLabels": {"app": "a"}}},
        {"name": "b", "selector": {"matchLabels": {"app": "b"}}, "namespace": "team-b"},
        {"name": "c", "selector": {"matchLabels": {"app": "c"}}, "namespace": "team-b", "port": 9101},
    ]
    rendered = render(
        {
            "mode": "manyPools",
            "pools": pools,
            "gateway": {"parentRefs": [{"name": "g"}]},
            "httpRoute": {"create": True},
        }
    )
    led = {
        item["metadata"]["name"]: item["spec"]["externalName"]
        for item in objects(rendered, "Service")
        if item["spec"]["type"] == "ExternalName"
    }
    route = rendered[f"HTTPRoute/team-b/{FULLNAME}"]

    assert rights(rendered, "team-b") == rights(rendered, NAMESPACE)
    assert led == {name: f"{name}.{NAMESPACE}.svc.cluster.local" for name in (FULLNAME, f"{FULLNAME}-c")}
    assert f"Service/{NAMESPACE}/{FULLNAME}-c" in rendered
    assert [rule["backendRefs"][0]["name"] for rule in route["spec"]["rules"]] == ["b", "c"]
    assert {p.namespace for p in settings(rendered).pool} == {NAMESPACE, "team-b"}
    assert f"{FULLNAME}.team-b.svc" in settings(rendered).tls_names.split(",")


def test_pools_can_be_found_instead_of_listed() -> None:
    discovery = {"poolSelector": {"tier": "chat"}, "byPickerService": True}
    rendered = render({"mode": "manyPools", "discovery": discovery})
    understood = settings(rendered)

    assert understood.pool == ()
    assert understood.pool_selector == "tier=chat"
    assert understood.picker_service == rendered["Service"]["metadata"]["name"]
    assert ("", "pods", "watch") in rights(rendered, NAMESPACE)


# -- oneHop ----------------------------------------------------------------------------------------------------------


def patches(rendered: Rendered) -> dict[str, Object]:
    return {patch["applyTo"]: patch for patch in rendered["EnvoyFilter"]["spec"]["configPatches"]}


def test_the_filter_takes_the_place_of_istios_under_another_name() -> None:
    patch = patches(render(example("oneHop")))["HTTP_FILTER"]
    value = patch["patch"]["value"]

    assert patch["patch"]["operation"] == "REPLACE"
    found = patch["match"]["listener"]["filterChain"]["filter"]
    assert (found["name"], found["subFilter"]["name"]) == (HTTP_CONNECTION_MANAGER, "envoy.filters.http.ext_proc")
    assert value["name"] == "inference.one-hop"


def test_the_filter_calls_the_service_by_the_name_of_istios_cluster() -> None:
    rendered = render(example("oneHop") | {"clusterDomain": "corp.example"})
    grpc = patches(rendered)["HTTP_FILTER"]["patch"]["value"]["typed_config"]["grpc_service"]
    direction, port, subset, host = grpc["envoy_grpc"]["cluster_name"].split("|")
    service = rendered["Service"]

    assert (direction, subset) == ("outbound", "")
    assert int(port) in [p["port"] for p in service["spec"]["ports"] if p["name"] == "grpc-ext-proc"]
    assert host == f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc.corp.example"
    assert rendered["DestinationRule"]["spec"]["host"] == host
    assert host in settings(rendered).tls_names.split(",")


def test_the_filter_speaks_as_one_hop_needs_it() -> None:
    config = patches(render(example("oneHop")))["HTTP_FILTER"]["patch"]["value"]["typed_config"]

    assert config["processing_mode"] == {
        "request_header_mode": "SEND",
        "request_body_mode": "BUFFERED",
        "request_trailer_mode": "SKIP",
        "response_header_mode": "SEND",
        "response_body_mode": "NONE",
        "response_trailer_mode": "SEND",
    }
    assert config["failure_mode_allow"] is True
    assert config["allow_mode_override"] is True
    assert config["message_timeout"] == "2s"
    assert config["max_message_timeout"] == "30s"
    assert "envoy.lb" in config["metadata_options"]["receiving_namespaces"]["untyped"]
    assert "envoy.lb" in config["metadata_options"]["forwarding_namespaces"]["untyped"]
    assert config["response_attributes"] == ["upstream.address", "response.code", "response.code_details"]
    assert config["grpc_service"]["retry_policy"]["num_retries"] == 2
    assert "request_attributes" not in config


def test_the_filter_is_the_one_that_runs_on_real_envoys() -> None:
    """tests/e2e and tests/matrix run this one; the chart only writes defaults and durations in another way."""
    plan = EnvoyPlan(port=1, admin_port=2, ext_proc="127.0.0.1:3", pools={"m": []}, default="m")
    (listener,) = envoy_config(plan)["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    tested = manager["http_filters"][0]
    tested["typed_config"] |= {"message_timeout": "2s", "max_message_timeout": "30s"}
    tested["typed_config"]["processing_mode"] |= {"request_trailer_mode": "SKIP"}
    del tested["typed_config"]["send_body_without_waiting_for_header_response"]
    found = patches(render(example("oneHop")))
    ours = found["HTTP_FILTER"]["patch"]["value"]
    ours["typed_config"]["grpc_service"]["envoy_grpc"]["cluster_name"] = "onehop"

    assert ours == tested
    stripped = found["NETWORK_FILTER"]["patch"]["value"]["typed_config"]
    assert stripped["early_header_mutation_extensions"] == manager["early_header_mutation_extensions"]


def test_the_filter_is_given_what_tenants_are_read_from() -> None:
    flags = {"tenant-from": "attribute:xds.route_name", "objective-from": "attribute:xds.route_name"}
    given = example("oneHop") | {"flags": flags, "istio": {"envoyFilter": {"requestAttributes": ["source.address"]}}}
    config = patches(render(given))["HTTP_FILTER"]["patch"]["value"]["typed_config"]

    assert config["request_attributes"] == ["source.address", "xds.route_name"]


def test_clients_choose_neither_route_nor_pod_and_long_prompts_fit() -> None:
    found = patches(render(example("oneHop")))
    (extension,) = found["NETWORK_FILTER"]["patch"]["value"]["typed_config"]["early_header_mutation_extensions"]

    assert extension["typed_config"]["mutations"] == [
        {"remove": "x-selected-model"},
        {"remove": "x-gateway-destination-endpoint"},
    ]
    assert found["LISTENER"]["patch"]["value"] == {"per_connection_buffer_limit_bytes": 32 << 20}
    assert {patch["match"]["context"] for patch in found.values()} == {"GATEWAY"}


def test_every_gateway_has_its_filter_in_its_own_namespace() -> None:
    parents = [
        {"name": "g", "namespace": "edge", "sectionName": "http"},
        {"name": "g", "namespace": "edge", "sectionName": "https"},
        {"name": "g" * 60},
    ]
    gateway = {"provider": "istio", "parentRefs": parents}
    filters = objects(render(example("oneHop") | {"gateway": gateway}), "EnvoyFilter")

    assert {f["metadata"]["namespace"]: f["spec"]["workloadSelector"]["labels"] for f in filters} == {
        NAMESPACE: {"gateway.networking.k8s.io/gateway-name": "g" * 60},
        "edge": {"gateway.networking.k8s.io/gateway-name": "g"},
    }
    assert len(filters) == 2


@pytest.mark.parametrize(
    ("secure", "tls"), [(None, {"mode": "SIMPLE", "insecureSkipVerify": True}), (False, {"mode": "DISABLE"})]
)
@pytest.mark.parametrize("mode", ["onePool", "oneHop", "manyPools"])
def test_istio_dials_what_is_served(mode: str, secure: bool | None, tls: Object) -> None:
    given = example(mode) | {"secureServing": secure}
    given["gateway"] = {"provider": "istio", "parentRefs": [{"name": "g"}]}
    rendered = render(given)
    hosts = {
        f"{item['metadata']['name']}.{NAMESPACE}.svc.cluster.local"
        for item in objects(rendered, "Service")
        if any(port["name"] == "grpc-ext-proc" for port in item["spec"]["ports"])
    }

    assert {rule["spec"]["host"] for rule in objects(rendered, "DestinationRule")} == hosts
    for rule in objects(rendered, "DestinationRule"):
        assert rule["spec"]["trafficPolicy"]["tls"] == tls
    assert settings(rendered).secure_serving is (tls["mode"] == "SIMPLE")


@pytest.mark.parametrize("mode", ["onePool", "oneHop", "manyPools"])
def test_without_istio_there_is_nothing_of_istios(mode: str) -> None:
    given = example(mode)
    given["gateway"]["provider"] = "none"

    assert not {"EnvoyFilter", "DestinationRule"} & render(given).keys()


def test_objects_of_istio_can_be_ones_own() -> None:
    given = example("oneHop") | {"istio": {"envoyFilter": {"create": False}, "destinationRule": {"create": False}}}

    assert not {"EnvoyFilter", "DestinationRule"} & render(given).keys()


# -- guideDropIn -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guide() -> Rendered:
    return render(example("guideDropIn"))


def test_the_old_names_lead_to_the_new_ports(guide: Rendered) -> None:
    router = guide[f"Service/{NAMESPACE}/semantic-router"]
    ports = {port["port"]: port["targetPort"] for port in router["spec"]["ports"]}
    front, pickers = settings(guide, f"{FULLNAME}-front"), settings(guide, f"{FULLNAME}-pickers")
    opened = {p["name"]: p["containerPort"] for p in container(guide, f"{FULLNAME}-pickers")["ports"]}

    assert ports[50051] == "grpc-semantic"
    assert front.semantic_port == 50051
    assert [p.port for p in front.pool] == [None, None]
    for pool in pickers.pool:
        (port,) = guide[f"Service/default/{pool.name}-epp"]["spec"]["ports"]
        assert port["port"] == 9002
        assert opened[port["targetPort"]] == pool.port
    assert pickers.semantic_port == 0
    assert len({pool.port for pool in pickers.pool}) == 2


def test_both_deployments_have_one_key(guide: Rendered) -> None:
    keys = {item["metadata"]["namespace"]: item["data"]["key"] for item in objects(guide, "Secret")}
    key = base64.b64decode(keys["default"])

    assert keys.keys() == {NAMESPACE, "default"}
    assert len(set(keys.values())) == 1
    assert len(key) >= KEY_BYTES_MIN
    Signer(key)
    for name in deployments(guide):
        path = settings(guide, name).decision_key_file
        assert path is not None
        (mount,) = [m for m in container(guide, name)["volumeMounts"] if m["mountPath"] == str(path.parent)]
        (volume,) = [v for v in pod(guide, name)["volumes"] if v["name"] == mount["name"]]
        assert (
            f"Secret/{guide[f'Deployment/{name}']['metadata']['namespace']}/{volume['secret']['secretName']}" in guide
        )
        assert path.name == "key"


def test_a_key_of_ones_own_is_used_in_place_of_a_new_one() -> None:
    rendered = render(example("guideDropIn") | {"decisionKey": {"existingSecret": "mine"}})

    assert "Secret" not in rendered
    for name in deployments(rendered):
        (volume,) = [v for v in pod(rendered, name)["volumes"] if v["name"] == "decision-key"]
        assert volume["secret"]["secretName"] == "mine"


def test_both_deployments_know_the_semantic_configuration(guide: Rendered) -> None:
    """The pickers, too: what passed the router by is classified there, guards included."""
    for name in deployments(guide):
        assert settings(guide, name).semantic_config_file is not None
    assert (
        guide[f"ConfigMap/{NAMESPACE}/{FULLNAME}-semantic"]["data"]
        == (guide[f"ConfigMap/default/{FULLNAME}-semantic"]["data"])
    )


def test_nothing_of_the_guides_own_is_made(guide: Rendered) -> None:
    theirs = {"Gateway", "HTTPRoute", "EnvoyFilter", "DestinationRule", "InferencePool"}

    assert not theirs & guide.keys()


def test_the_guide_dials_plaintext_and_tls_is_for_pickers_only() -> None:
    for name in deployments(plain := render(example("guideDropIn"))):
        assert settings(plain, name).secure_serving is False
    secure = render(example("guideDropIn") | {"secureServing": True})
    (semantic, *_) = secure["Service/semantic-router"]["spec"]["ports"]
    (picker,) = secure["Service/vllm-phi4-mini-epp"]["spec"]["ports"]

    assert semantic["appProtocol"] == "kubernetes.io/h2c"
    assert picker["appProtocol"] == "http2"
    assert "vllm-phi4-mini-epp.default.svc" in settings(secure, f"{FULLNAME}-pickers").tls_names.split(",")


def test_old_services_of_other_names_and_one_namespace_for_both() -> None:
    pools = [{"name": "a", "pickerService": "old-picker"}]
    home = {"poolNamespace": NAMESPACE, "semanticService": "vsr"}
    rendered = render({"mode": "guideDropIn", "pools": pools, "guideDropIn": home})

    assert f"Service/{NAMESPACE}/old-picker" in rendered
    assert f"Service/{NAMESPACE}/vsr" in rendered
    assert len(objects(rendered, "Secret")) == len(objects(rendered, "ServiceAccount")) == 1


# -- standalone (as it runs: test_standalone.py) ---------------------------------------------------------------------


def test_envoy_starts_before_onehop_and_ends_after_it() -> None:
    (envoy,) = pod(render(example("standalone")))["initContainers"]

    assert envoy["restartPolicy"] == "Always", "a sidecar"
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= envoy.keys()
    assert envoy["args"][envoy["args"].index("--config-path") + 1] == "/etc/envoy/envoy.yaml"


def test_standalone_needs_no_resource_definitions_and_clients_find_envoy() -> None:
    rendered = render(example("standalone") | {"standalone": {"port": 8000, "listenerPort": 8888}})
    (envoy,) = pod(rendered)["initContainers"]
    (http,) = [p for p in rendered[f"Service/{FULLNAME}"]["spec"]["ports"] if p["name"] == "http"]

    assert {item["apiVersion"].partition("/")[0] for item in objects(rendered)} == {
        "v1", "apps", "rbac.authorization.k8s.io",
    }  # fmt: skip
    assert http["port"] == 8000
    assert {"name": "http", "containerPort": 8888} in envoy["ports"]
    assert "port_value: 8888}" in rendered[f"ConfigMap/{FULLNAME}-envoy"]["data"]["envoy.yaml"]


def test_envoy_is_restarted_for_another_configuration_and_not_for_another_list() -> None:
    def template(**more: Any) -> Object:
        endpoints = [{"name": "a", "address": more.pop("address", "192.0.2.1"), "port": 8000}]
        given = {"mode": "standalone", "discovery": {"endpoints": endpoints}, "standalone": more}
        found: Object = render(given)["Deployment"]["spec"]["template"]
        return found

    assert template() == template(address="192.0.2.2")
    assert template() != template(messageTimeout="3s")


def test_pods_that_fail_open_are_those_of_the_selector() -> None:
    rendered = render(example("standalone"))
    closed = render(example("standalone") | {"standalone": {"failOpen": False}})
    service = rendered[f"Service/{FULLNAME}-endpoints"]

    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == example("standalone")["discovery"]["endpointSelector"]
    assert settings(rendered).endpoint_selector == "tier=llm"
    address = f"address: {FULLNAME}-endpoints.{NAMESPACE}.svc.cluster.local"
    assert address in rendered[f"ConfigMap/{FULLNAME}-envoy"]["data"]["envoy.yaml"]
    assert f"Service/{FULLNAME}-endpoints" not in closed


# -- several replicas ------------------------------------------------------------------------------------------------


def test_active_active_keeps_all_replicas_while_it_rolls(mode: str) -> None:
    rendered = render(example(mode) | {"replicas": 3, "highAvailability": "activeActive"})

    for item in objects(rendered, "Deployment"):
        name = item["metadata"]["name"]
        assert item["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        assert settings(rendered, name).ha_enable_leader_election is False
        budget = rendered[f"PodDisruptionBudget/{item['metadata']['namespace']}/{name}"]["spec"]
        assert budget["maxUnavailable"] == 1
        assert budget["selector"] == item["spec"]["selector"]


def test_one_replica_has_no_budget() -> None:
    assert "PodDisruptionBudget" not in render(minimal())


def test_active_passive_waits_for_no_replica(mode: str) -> None:
    """A new pod is never ready before the old leader has gone, so a rollout that keeps one pod available never ends."""
    rendered = render(example(mode) | {"replicas": 3, "highAvailability": "activePassive"})

    for item in objects(rendered, "Deployment"):
        name = item["metadata"]["name"]
        elected = settings(rendered, name).ha_enable_leader_election
        kept = item["spec"]["strategy"]["rollingUpdate"]
        budget = f"PodDisruptionBudget/{item['metadata']['namespace']}/{name}" in rendered

        assert elected is not name.endswith("-front"), "the front holds no state: all of them answer"
        assert kept == (
            {"maxSurge": "100%", "maxUnavailable": "100%"} if elected else {"maxSurge": 1, "maxUnavailable": 0}
        )
        assert budget is not elected, "a leader could never be evicted"
        if elected:
            stop = str(container(rendered, name).get("lifecycle", {}))
            assert "sleep(5)" not in stop, "would keep the Lease from the next"
            assert "'sleep'" not in stop


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"pools": [{"name": "a", "create": False, "namespace": "team-a"}]},
        {"mode": "manyPools"},
        {"mode": "manyPools", "discovery": {"byPickerService": True}},
        {"mode": "manyPools", "pools": [], "discovery": {"poolSelector": {"a": "b"}}},
        {"mode": "standalone", "pools": [], "discovery": {"endpointSelector": {"app": "vllm"}}},
        {"mode": "guideDropIn", "pools": [{"name": "a"}]},
    ],
)
def test_the_right_to_the_lease_is_for_the_one_that_is_taken(more: Object) -> None:
    rendered = render(minimal(highAvailability="activePassive") | more)
    name = "onehop-pickers" if more.get("mode") == "guideDropIn" else "onehop"
    understood = settings(rendered, f"shop-{name}")
    assert understood.pool_namespace is not None
    role = rendered[f"Role/{understood.pool_namespace}/{FULLNAME}-leader"]
    (create, hold) = role["rules"]

    assert (create["verbs"], hold["verbs"]) == (["create"], ["get", "update"])
    assert hold["resourceNames"] == [lease(understood, understood.pool_namespace)]


def test_without_events_there_is_no_right_to_write_them(mode: str) -> None:
    rendered = render(example(mode) | {"events": False})

    assert not any(what == "events" for _, what, _ in rights(rendered, "default") | rights(rendered, NAMESPACE))
    for name in deployments(rendered):
        assert settings(rendered, name).events is False


def test_autoscaling_leaves_the_number_of_replicas_alone() -> None:
    rendered = render(minimal(autoscaling={"create": True, "maxReplicas": 9}))
    scaler = rendered["HorizontalPodAutoscaler"]["spec"]

    assert "replicas" not in rendered["Deployment"]["spec"]
    assert scaler["scaleTargetRef"]["name"] == rendered["Deployment"]["metadata"]["name"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 9)
    assert scaler["metrics"][0]["containerResource"]["container"] == container(rendered)["name"]
    assert "PodDisruptionBudget" in rendered


# -- network policy --------------------------------------------------------------------------------------------------


def test_nobody_is_shut_out_unless_asked_for(mode: str) -> None:
    assert "NetworkPolicy" not in render(example(mode))


def test_policies_let_in_what_is_served_and_out_what_is_needed(mode: str) -> None:
    who = {"podSelector": {"matchLabels": {"app": "gateway"}}}
    rendered = render(example(mode) | {"networkPolicy": {"create": True, "gateways": [who]}})

    for policy in objects(rendered, "NetworkPolicy"):
        name = policy["metadata"]["name"]
        spec = policy["spec"]
        containers = [container(rendered, name), *pod(rendered, name).get("initContainers", [])]
        opened = {port["name"] for c in containers for port in c["ports"]}
        calls, watches = spec["ingress"]
        closed = opened - {port["port"] for rule in spec["ingress"] for port in rule["ports"]}
        out = [{port["port"] for port in rule["ports"]} for rule in spec["egress"]]

        assert spec["podSelector"] == rendered[f"Deployment/{name}"]["spec"]["selector"]
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        assert calls["from"] == [who]
        assert "from" not in watches
        # What nobody calls in this mode stays shut.
        assert closed == ({"grpc-ext-proc"} if mode == "standalone" or name.endswith("-front") else set())
        assert {8000} in out
        assert {443, 6443} in out
        assert ({53} in out) is (mode == "standalone")


def test_policies_name_the_model_servers_and_no_api_server_that_is_not_called() -> None:
    with_list = render(
        {
            "mode": "standalone",
            "discovery": {
                "endpoints": [
                    {"name": "a", "address": "192.0.2.1", "port": 8000},
                    {"name": "b", "address": "2001:db8::1", "port": 8001},
                ]
            },
            "networkPolicy": {"create": True},
        }
    )
    own = {"ipBlock": {"cidr": "10.0.0.0/8"}}
    egress = {"modelServers": [own], "apiServer": [own], "apiServerPorts": [6443]}
    told = render(minimal(networkPolicy={"create": True, "egress": egress}))

    assert with_list["NetworkPolicy"]["spec"]["egress"] == [
        {"to": [{"ipBlock": {"cidr": "192.0.2.1/32"}}], "ports": [{"port": 8000}]},
        {"to": [{"ipBlock": {"cidr": "2001:db8::1/128"}}], "ports": [{"port": 8001}]},
    ]
    assert told["NetworkPolicy"]["spec"]["egress"] == [{"to": [own]}, {"ports": [{"port": 6443}], "to": [own]}]


def test_admin_pages_are_let_in_only_where_they_are_open_and_somebody_is_named() -> None:
    opened = minimal(flags={"admin-address": "0.0.0.0:9099"}, adminTokenSecret="t")
    peers = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ops"}}}]

    def ingress(given: Object, **more: Any) -> list[Object]:
        found: list[Object] = render(given | {"networkPolicy": {"create": True} | more})["NetworkPolicy"]["spec"][
            "ingress"
        ]
        return found

    assert len(ingress(opened)) == len(ingress(minimal(), admin=peers)) == 2
    assert ingress(opened, admin=peers)[2] == {"ports": [{"port": 9099}], "from": peers}
