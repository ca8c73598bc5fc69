"""One object of a sound site is spoiled: the check for that trap says so, and no other."""

from __future__ import annotations

from typing import Any

import pytest

from epp.doctor.checks import CHECKS
from epp.doctor.findings import Level
from tests.doctor import site as make
from tests.doctor.site import Edit, Tree, container, examined, told, without_filter

PROBLEM, WARNING = Level.PROBLEM, Level.WARNING
PLACEHOLDER = "envoy.filters.http.ext_proc"
Objects = dict[str, Tree]


def put(path: str, value: Any) -> Edit:
    """Set what is at `object.key.0.key`; None removes it."""

    def edit(objects: Objects) -> None:
        *way, last = (int(part) if part.isdigit() else part for part in path.split("."))
        place: Any = objects
        for step in way:
            place = place[step]
        if value is None:
            del place[last]
        else:
            place[last] = value

    return edit


def args(name: str, *words: str) -> Edit:
    """Add words to a container's arguments."""
    return lambda objects: container(objects[name])["args"].extend(words)


def add(name: str, tree: Tree) -> Edit:
    return lambda objects: objects.update({name: tree})


def envoy_filter(*words: Any, **more: Any) -> Edit:
    return add("filter", make.ext_proc(*words, **more))


def gateway_class(controller: str) -> list[Edit]:
    """Another gateway, without anything of Istio's."""
    return [without_filter, put("tls", None), put("istiod", None), put("class.spec.controllerName", controller)]


RULE = "llama-route.spec.rules.0"
PICKER_ARGS = "onehop.spec.template.spec.containers.0.args"
ISTIOD = "istiod.spec.template.spec.containers.0"
AI_GATEWAY = gateway_class("gateway.envoyproxy.io/gatewayclass-controller")
AGENTGATEWAY = gateway_class("agentgateway.dev/agentgateway")
KGATEWAY = gateway_class("kgateway.dev/kgateway")
NGINX = gateway_class("gateway.nginx.org/nginx-gateway-controller")
LOCAL = make.made(
    "Service",
    "v1",
    "onehop",
    "elsewhere",
    spec={"selector": {"app": "onehop"}, "ports": [{"port": 9002, "appProtocol": "http2"}]},
)

# check, how bad, what it says, and what spoils the site
SPOILED: list[tuple[str, Level, str, list[Edit]]] = [
    ("inference-flag", PROBLEM, "Istio ignores InferencePools", [put(f"{ISTIOD}.env", [])]),
    ("inference-flag", PROBLEM, "is not true", [put(f"{ISTIOD}.env.0.value", "false")]),
    (
        "istio-version",
        PROBLEM,
        "loses the pools of every HTTPRoute but one",
        [put(f"{ISTIOD}.image", "istio/pilot:1.28.0")],
    ),
    ("istio-version", WARNING, "begins with 1.28", [put(f"{ISTIOD}.image", "gcr.io/istio/pilot:1.27.3-debug")]),
    (
        "filter-name",
        PROBLEM,
        "goes to the endpoint picker twice and never to this filter",
        [envoy_filter(PLACEHOLDER, "REPLACE", mark=PLACEHOLDER)],
    ),
    ("filter-name", PROBLEM, "as Istio's own", [envoy_filter("", "MERGE", mark=PLACEHOLDER)]),
    (
        "filter-place",
        WARNING,
        "reaches no Gateway (there are gateways/front)",
        [put("filter.metadata.namespace", "llm")],
    ),
    (
        "filter-place",
        WARNING,
        "reaches no Gateway",
        [put("filter.spec.workloadSelector.labels", {"istio": "ingressgateway"})],
    ),
    (
        "chained-filters",
        PROBLEM,
        "are cut off with status 200 on this Istio",
        [envoy_filter("inference.semantic", "INSERT_FIRST")],
    ),
    (
        "chained-filters",
        WARNING,
        "on Istio 1.28 to 1.30",
        [put("istiod", None), envoy_filter("inference.semantic", "INSERT_BEFORE", mark="envoy.filters.http.router")],
    ),
    ("cors", PROBLEM, "go round robin, silently", [without_filter, put(f"{RULE}.filters", [{"type": "CORS"}])]),
    (
        "cors",
        PROBLEM,
        "CORS or fault",
        [without_filter, put(f"{RULE}.filters", [{"type": "ExtensionRef", "extensionRef": {"kind": "Fault"}}])],
    ),
    (
        "weighted-pools",
        PROBLEM,
        "Istio asks no picker for any of them",
        [without_filter, put(f"{RULE}.backendRefs", [make.backend("llama"), {"name": "old", "port": 80}])],
    ),
    (
        "weighted-pools",
        WARNING,
        "draws the pool by weight by itself",
        [without_filter, put(f"{RULE}.backendRefs", [make.backend("llama", weight=9), make.backend("phi", weight=1)])],
    ),
    (
        "rule-names",
        PROBLEM,
        "the HTTPRoutes llm/llama, llm/phi each have a rule called chat",
        [without_filter, put(f"{RULE}.name", "chat"), put("phi-route.spec.rules.0.name", "chat")],
    ),
    (
        "picker-namespace",
        PROBLEM,
        "is looked for in the pool's namespace llm, but is in elsewhere",
        [put("service.metadata.namespace", "elsewhere"), without_filter],
    ),
    (
        "picker-namespace",
        WARNING,
        "has no field `namespace`",
        [put("llama-pool.spec.endpointPickerRef.namespace", "elsewhere")],
    ),
    (
        "picker-service",
        WARNING,
        "calls the Service llm/typo, which is not among these files",
        [put("llama-pool.spec.endpointPickerRef.name", "typo")],
    ),
    (
        "picker-service",
        PROBLEM,
        "calls port 9003 of the Service llm/onehop, which has none such",
        [put("llama-pool.spec.endpointPickerRef.port.number", 9003)],
    ),
    (
        "picker-service",
        PROBLEM,
        "port 9002 leads to 9003, where Deployment llm/onehop does not listen (it does at 9002)",
        [put("service.spec.ports.0.targetPort", 9003)],
    ),
    (
        "picker-service",
        PROBLEM,
        "does not listen (it does at 9100)",
        [args("onehop", "--grpc-port=9100")],
    ),
    ("picker-service", PROBLEM, "has no port of that name", [put("service.spec.ports.0.targetPort", "grpc")]),
    (
        "picker-service",
        WARNING,
        "its selector fits no workload",
        [put("service.spec.selector", {"app": "two-hops"})],
    ),
    (
        "picker-service",
        WARNING,
        "names no Service as its picker",
        [put("llama-pool.spec.endpointPickerRef", None)],
    ),
    (
        "picker-pools",
        PROBLEM,
        "picks for llm/llama, so requests for this pool are answered with pods of others",
        [put(PICKER_ARGS, ["--pool-name=llama"])],
    ),
    (
        "picker-pools",
        PROBLEM,
        "that decides inside llm/phi only",
        [args("onehop", "--pool=llm/phi=9101"), put("service.spec.ports.0.targetPort", 9101)],
    ),
    (
        "picker-protocol",
        PROBLEM,
        "does not say that it speaks HTTP/2 (it has no appProtocol)",
        [put("service.spec.ports.0.appProtocol", None)],
    ),
    (
        "picker-protocol",
        PROBLEM,
        "(its appProtocol is https)",
        [put("service.spec.ports.0.appProtocol", "https"), put("service.spec.ports.0.name", "grpc-ext-proc")],
    ),
    ("picker-tls", PROBLEM, "speaks TLS and no DestinationRule says TLS for it", [put("tls", None)]),
    ("picker-tls", PROBLEM, "no DestinationRule", [put("tls.spec.host", "onehop.llm")]),
    (
        "picker-tls",
        PROBLEM,
        "DestinationRule llm/onehop says DISABLE",
        [put("tls.spec.trafficPolicy.tls.mode", "DISABLE")],
    ),
    ("picker-tls", PROBLEM, "speaks plaintext", [args("onehop", "--secure-serving=false")]),
    ("picker-tls", PROBLEM, "for pods with a sidecar", [put("tls.spec.trafficPolicy.tls", {"mode": "ISTIO_MUTUAL"})]),
    (
        "picker-tls",
        PROBLEM,
        "signs its own",
        [put("tls.spec.trafficPolicy.tls", {"mode": "SIMPLE"})],
    ),
    (
        "picker-tls",
        PROBLEM,
        "agentgateway always speaks TLS",
        [*AGENTGATEWAY, args("onehop", "--secure-serving=false")],
    ),
    ("picker-tls", WARNING, "unless told otherwise", [*NGINX, args("onehop", "--secure-serving=false")]),
    (
        "failure-mode",
        WARNING,
        "stands in for Istio's filter, goes on without a picker",
        [
            put("llama-pool.spec.endpointPickerRef.failureMode", "FailClose"),
            put("filter.spec.configPatches.0.patch.value.typed_config.failure_mode_allow", True),
        ],
    ),
    (
        "endpoint-lists",
        PROBLEM,
        "agentgateway answers 5xx when an answer names several endpoints",
        [*AGENTGATEWAY, args("onehop", "--fallback-endpoints=2")],
    ),
    (
        "stream-limit",
        WARNING,
        "lets a proxy have 1000 calls",
        [put("tls.spec.trafficPolicy.connectionPool", {"http": {"http2MaxRequests": 1000}})],
    ),
    (
        "rights",
        PROBLEM,
        "ServiceAccount llm/onehop: it may not watch pods (the core group) in llm",
        [put("role.rules.0.verbs", ["list", "get"])],
    ),
    (
        "rights",
        PROBLEM,
        "it may not list or watch inferencepools",
        [put("role.rules.1.apiGroups", ["inference.networking.x-k8s.io"])],
    ),
    (
        "rights",
        PROBLEM,
        "it may not get or create or update leases",
        [args("onehop", "--ha-enable-leader-election")],
    ),
    ("rights", PROBLEM, "it may not list or watch pods (the core group) in llm", [put("binding", None)]),
    (
        "rights",
        PROBLEM,
        "it may not list or watch inferencepools (inference.networking.k8s.io) in llm",
        [put("binding", None), put("account", None)],
    ),
    ("rights", WARNING, "it may not list or watch pods", [put("binding", None), put("role", None)]),
    ("rights", WARNING, "inferencemodelrewrites", [put("role.rules.2.resources", ["inferenceobjectives"])]),
    ("rights", WARNING, "may not create or patch events", [put("role.rules.3", {"apiGroups": [""]})]),
    (
        "pool-pods",
        WARNING,
        "its selector fits no workload of these files in llm",
        [put("llama-pool.spec.selector.matchLabels", {"app": "lama"})],
    ),
    (
        "pool-ports",
        WARNING,
        "its target port 8080 is not among those that Deployment llm/llama declares (8000)",
        [put("llama-pool.spec.targetPorts", [{"number": 8080}])],
    ),
    (
        "pool-models",
        PROBLEM,
        "it leads requests for llama3-8b to llm/llama, whose pods answer to m only, so they answer 404",
        [put("llama.spec.template.spec.containers.0.args", ["--model", "m"])],
    ),
    (
        "resource-definitions",
        WARNING,
        "only v1alpha2 is installed",
        [add("crds", make.crd("inference.networking.x-k8s.io", "inferencepools", "v1alpha2"))],
    ),
    (
        "resource-definitions",
        PROBLEM,
        "no version of it is installed",
        [add("crds", make.crd("inference.networking.k8s.io", "somethingelse", "v1"))],
    ),
]


def test_a_sound_site_passes_every_check() -> None:
    with_filter = {name: result.level for name, result in examined().items()}
    without = {name: result.level for name, result in examined(without_filter).items()}
    best = {name: max(with_filter[name], without[name], key=lambda level: level is Level.OK) for name in with_filter}

    assert told() == told(without_filter) == {}
    assert best == dict.fromkeys(best, Level.OK)
    assert len(best) == len(CHECKS)


@pytest.mark.parametrize(("check", "level", "said", "edits"), SPOILED)
def test_a_trap_is_found_by_its_check_and_no_other(check: str, level: Level, said: str, edits: list[Edit]) -> None:
    results = examined(*edits)
    found = [f"{finding.subject}: {finding.what}" for finding in results[check].findings]

    assert told(*edits) == {check: level}
    assert any(said in each for each in found), found
    assert all(finding.do.endswith((".", "...")) for finding in results[check].findings)


def test_every_check_has_a_failing_example() -> None:
    assert {check.name for check in CHECKS} == {row[0] for row in SPOILED}


@pytest.mark.parametrize(
    "edits",
    [
        pytest.param([put(f"{ISTIOD}.env.0.value", "1")], id="a Go boolean"),
        pytest.param([put("tls.spec.host", "onehop")], id="a short host in the Service's own namespace"),
        pytest.param([put("tls.spec.host", "*.llm.svc.cluster.local")], id="a wildcard host"),
        pytest.param([put("tls.metadata.namespace", "gateways")], id="the rule is in the gateway's namespace"),
        pytest.param(
            [
                put(
                    "tls.spec.trafficPolicy",
                    {
                        "portLevelSettings": [
                            {"port": {"number": 9002}, "tls": {"mode": "SIMPLE", "credentialName": "ca"}}
                        ]
                    },
                )
            ],
            id="TLS for the port alone",
        ),
        pytest.param([put("tls", None), args("onehop", "--secure-serving=false")], id="plaintext at both ends"),
        pytest.param([put("tls", None), args("onehop", "--secure-serving", "false")], id="a flag in two words"),
        pytest.param(
            [
                put("tls", None),
                put(
                    "onehop.spec.template.spec.containers.0.env", [{"name": "ONEHOP_SECURE_SERVING", "value": "false"}]
                ),
            ],
            id="a flag in the environment",
        ),
        pytest.param([put("service.spec.ports.0.targetPort", "p9002")], id="a port by name"),
        pytest.param([put("service.spec.ports.0.targetPort", None)], id="a Service's port is the pod's"),
        pytest.param(
            [put("service.spec.ports.0.appProtocol", None), put("service.spec.ports.0.name", "grpc-ext-proc")],
            id="a protocol by the port's name",
        ),
        pytest.param(
            [put(PICKER_ARGS, ["--picker-service=onehop", "--pool-namespace=llm"])], id="pools by their picker"
        ),
        pytest.param(
            [
                put(PICKER_ARGS, ["--picker-service=onehop", "--pool-namespace=$(NS)"]),
                put(
                    "onehop.spec.template.spec.containers.0.env",
                    [{"name": "NS", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}],
                ),
            ],
            id="a variable among the arguments",
        ),
        pytest.param(
            [
                put(PICKER_ARGS, ["--pool-selector=tier in (chat)"]),
                put("llama-pool.metadata.labels", {"tier": "chat"}),
                put("phi-pool.metadata.labels", {"tier": "chat"}),
            ],
            id="pools by label",
        ),
        pytest.param(
            [
                put("role.kind", "ClusterRole"),
                put("role.metadata", {"name": "onehop"}),
                put("binding.roleRef.kind", "ClusterRole"),
            ],
            id="a ClusterRole bound in the namespace",
        ),
        pytest.param([put("binding.roleRef", {"kind": "ClusterRole", "name": "cluster-admin"})], id="all rights"),
        pytest.param(
            [
                put("binding.kind", "ClusterRoleBinding"),
                put("binding.metadata", {"name": "onehop"}),
                put("binding.roleRef", {"kind": "ClusterRole", "name": "cluster-admin"}),
                put("binding.subjects", [{"kind": "Group", "name": "system:serviceaccounts:llm"}]),
            ],
            id="rights of a group in the whole cluster",
        ),
        pytest.param([put("role.rules", [make.rule(["*"], ["*"], ["*"])])], id="wildcards"),
        pytest.param([put("role.rules.3", {}), args("onehop", "--events=false")], id="no Events are wanted"),
        pytest.param(
            [put(PICKER_ARGS, ["--discovery-file=/f"]), put("role", None), put("binding", None)],
            id="no rights are needed",
        ),
        pytest.param([put("llama.spec.template.spec.containers.0.ports", [])], id="no port is declared"),
        pytest.param(
            [
                put(
                    "llama.spec.template.spec.containers.0.args",
                    ["--model=m", "--lora-modules", "llama3-8b=/a", "b=/b"],
                )
            ],
            id="an adapter of the name",
        ),
        pytest.param(
            [put("llama.spec.template.spec.containers.0.args", ["--model=m", "--enable-lora"])],
            id="adapters that nobody can foresee",
        ),
        pytest.param(
            [
                put("llama.spec.template.spec.containers.0.args", ["--model=m"]),
                args("onehop", "--serves=llama3-8b=app=llama"),
            ],
            id="OneHop is told the model",
        ),
        pytest.param(
            [
                put("llama.spec.template.spec.containers.0.args", ["--model=m"]),
                args("onehop", "--model-label=model"),
                put("llama.spec.template.metadata.labels", {"app": "llama", "model": "llama3-8b"}),
            ],
            id="a label tells the model",
        ),
        pytest.param(
            [
                put("llama.spec.template.spec.containers.0.args", ["--model=m"]),
                add(
                    "rewrite",
                    make.made(
                        "InferenceModelRewrite",
                        "llm-d.ai/v1alpha2",
                        "r",
                        spec={
                            "poolRef": {"name": "llama"},
                            "rules": [{"matches": [{"model": {"value": "llama3-8b"}}]}],
                        },
                    ),
                ),
                add("more", make.crd("llm-d.ai", "inferencemodelrewrites", "v1alpha2")),
            ],
            id="the name is rewritten",
        ),
        pytest.param(
            [
                put(
                    "llama.spec.template.spec.containers.0",
                    {
                        "command": ["/bin/sh", "-c"],
                        "args": ["exec vllm serve meta/llama --served-model-name llama3-8b 'meta/llama' --port 8000"],
                    },
                )
            ],
            id="a shell's command line",
        ),
        pytest.param(
            [put("llama.spec.template.spec.containers.0.args", ["--model=$MODEL"])], id="a name not known here"
        ),
        pytest.param(
            [
                *AI_GATEWAY,
                add(
                    "patch",
                    make.made(
                        "EnvoyPatchPolicy",
                        "gateway.envoyproxy.io/v1alpha1",
                        "p",
                        spec={"jsonPatches": [{"operation": {"op": "add", "path": "/circuit_breakers", "value": {}}}]},
                    ),
                ),
            ],
            id="a raised limit",
        ),
        pytest.param(AGENTGATEWAY, id="agentgateway with TLS"),
        pytest.param([args("onehop", "--fallback-endpoints=2")], id="a list for Istio"),
        pytest.param(
            [without_filter, put(f"{RULE}.name", "chat"), put("phi-route.spec.rules.0.name", "math")],
            id="rules of different names",
        ),
        pytest.param([put(f"{RULE}.filters", [{"type": "CORS"}])], id="CORS where one filter stands in for Istio's"),
        pytest.param(
            [without_filter, put(f"{RULE}.filters", [{"type": "RequestHeaderModifier"}])], id="another filter"
        ),
        pytest.param(
            [envoy_filter("inference.semantic", "INSERT_FIRST"), put(f"{ISTIOD}.image", "istio/pilot:1.31.0")],
            id="two filters on an Envoy without the defect",
        ),
        pytest.param(
            [envoy_filter("x", "INSERT_FIRST", processing_mode={"request_body_mode": "NONE"})],
            id="a filter without bodies",
        ),
        pytest.param([put("filter.metadata.namespace", "istio-system")], id="a filter for every namespace"),
        pytest.param(
            [
                put("filter.spec.workloadSelector", None),
                put(
                    "filter.spec.targetRefs",
                    [{"kind": "Gateway", "group": "gateway.networking.k8s.io", "name": "front"}],
                ),
            ],
            id="a filter for a Gateway by reference",
        ),
    ],
)
def test_what_is_as_good_is_left_in_peace(edits: list[Edit]) -> None:
    assert told(*edits) == {}


@pytest.mark.parametrize(
    ("edits", "pool", "said"),
    [
        (KGATEWAY, {}, "kgateway's Envoy goes on without a picker"),
        (AI_GATEWAY, {"failureMode": "FailOpen"}, "Envoy AI Gateway always answers 5xx"),
    ],
)
def test_a_gateway_that_does_what_it_always_does_is_named(edits: list[Edit], pool: Tree, said: str) -> None:
    results = examined(*edits, lambda objects: objects["llama-pool"]["spec"]["endpointPickerRef"].update(pool))

    assert said in results["failure-mode"].findings[0].what
    assert "1024 calls to the picker at once" in results["stream-limit"].findings[0].what


OPEN = [put(f"{pool}.spec.endpointPickerRef.failureMode", "FailOpen") for pool in ("llama-pool", "phi-pool")]


@pytest.mark.parametrize(
    ("edits", "who"),
    [([without_filter], "Istio"), (AGENTGATEWAY, "agentgateway")],
)
def test_what_fails_open_until_the_body_is_said_to(edits: list[Edit], who: str) -> None:
    found = examined(*OPEN, *edits)["failure-mode"]

    assert found.level is Level.OK
    assert [finding.subject for finding in found.findings] == ["InferencePool llm/llama", "InferencePool llm/phi"]
    assert all(
        f"{who} honours FailOpen only until the first byte of a request's body" in finding.what
        for finding in found.findings
    )


def test_files_without_accounts_and_roles_are_not_judged() -> None:
    without = [put(name, None) for name in ("account", "role", "binding")]

    assert examined(*without)["rights"].level is Level.NOT_CHECKED


@pytest.mark.parametrize("edits", [OPEN, [without_filter]], ids=["a filter buffers", "pools that fail closed"])
def test_what_does_as_it_is_told_needs_no_words(edits: list[Edit]) -> None:
    found = examined(*edits)["failure-mode"]

    assert (found.level, found.findings) == (Level.OK, ())


def test_pickers_that_differ_cannot_share_a_weighted_rule() -> None:
    backends = [make.backend("llama"), make.backend("phi")]
    other = put("phi-pool.spec.endpointPickerRef.name", "other")
    results = examined(without_filter, put(f"{RULE}.backendRefs", backends), other)

    assert results["weighted-pools"].level is PROBLEM
    assert "asks the picker of the last pool (llm/phi)" in results["weighted-pools"].findings[0].what


def drop_in(objects: Objects) -> None:
    """The old guide's filter and its Service, whose pods are OneHop."""
    cluster = "outbound|50051||semantic-router.llm.svc.cluster.local"
    objects["filter"] = make.ext_proc(PLACEHOLDER, "INSERT_FIRST", cluster, allow_mode_override=True)
    port = {"port": 50051, "targetPort": 50051, "appProtocol": "kubernetes.io/h2c"}
    objects["semantic"] = make.made(
        "Service", "v1", "semantic-router", spec={"selector": {"app": "f"}, "ports": [port]}
    )
    objects["front"] = make.workload(
        "front", {"app": "f"}, ["--semantic-port=50051", "--secure-serving=false"], [50051]
    )


def test_the_drop_in_has_its_known_limit_and_nothing_else() -> None:
    results = examined(drop_in)

    assert told(drop_in) == {"filter-name": WARNING}
    assert "OneHop behind both then decides" in results["filter-name"].findings[0].what


def test_the_same_filter_in_front_of_another_router_is_a_problem() -> None:
    def another(objects: Objects) -> None:
        container(objects["front"])["args"] = ["--config=/app/config.yaml"]

    assert told(drop_in, another) == {"filter-name": PROBLEM, "chained-filters": PROBLEM}


def test_a_name_for_another_service_is_followed() -> None:
    def far(objects: Objects) -> None:
        for name in ("onehop", "service"):
            objects[name]["metadata"]["namespace"] = "far"
        container(objects["onehop"])["args"].append("--tls-names=x")
        objects["name"] = make.made(
            "Service",
            "v1",
            "onehop",
            spec={
                "type": "ExternalName",
                "externalName": "onehop.far.svc.cluster.local",
                "ports": [{"port": 9002, "appProtocol": "http2"}],
            },
        )
        objects["tls"]["metadata"]["namespace"] = "gateways"
        objects["binding"]["subjects"][0]["namespace"] = "far"

    results = examined(far)

    assert told(far) == {"picker-service": WARNING}
    assert "for which Istio may make no cluster" in results["picker-service"].findings[0].what
    assert results["picker-tls"].level is Level.OK


def test_files_that_hold_only_a_part_are_not_blamed_for_the_rest() -> None:
    def part(objects: Objects) -> None:
        for name in ("llama", "phi", "service", "onehop", "istiod", "class", "gateway", "crds"):
            del objects[name]

    results = examined(part)

    assert told(part) == {}
    assert results["pool-pods"].level is Level.NOT_CHECKED
    assert results["picker-service"].level is Level.NOT_CHECKED
    assert results["inference-flag"].reason == "istiod is not among what could be read"


def test_a_pool_of_v1alpha2_is_read_and_told() -> None:
    old = make.made(
        "InferencePool",
        "inference.networking.x-k8s.io/v1alpha2",
        "llama",
        spec={"selector": {"app": "llama"}, "targetPortNumber": 8000, "extensionRef": {"name": "onehop"}},
    )

    def older(objects: Objects) -> None:
        objects["llama-pool"] = old
        objects["llama-route"]["spec"]["rules"][0]["backendRefs"][0]["group"] = "inference.networking.x-k8s.io"

    results = examined(older)

    assert told(older) == {"resource-definitions": WARNING}
    assert "it is of v1alpha2" in results["resource-definitions"].findings[0].what
    assert results["picker-service"].level is Level.OK


def test_objects_without_a_namespace_are_in_the_one_that_is_said() -> None:
    def nowhere(objects: Objects) -> None:
        for tree in objects.values():
            if tree["metadata"].get("namespace") == "llm":
                del tree["metadata"]["namespace"]

    assert told(nowhere, home="llm") == {}
    assert told(nowhere, home="shop") == {"picker-pools": PROBLEM, "picker-tls": PROBLEM, "rights": WARNING}


def test_one_gateway_or_namespace_can_be_looked_at_alone() -> None:
    spoiled = [without_filter, put(f"{RULE}.filters", [{"type": "CORS"}])]

    assert told(*spoiled, gateway="front") == told(*spoiled, gateway="gateways/front") == {"cors": PROBLEM}
    assert told(*spoiled, gateway="back") == {}
    assert told(*spoiled, namespace="llm") == {"cors": PROBLEM}
    assert told(*spoiled, namespace="shop") == {}
