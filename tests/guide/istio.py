"""Kubernetes objects -> the Envoy configuration that Istio makes of them, as far as inference gateways are concerned.

Rebuilt from what Istio 1.28 to 1.31 generates for a Gateway (its source was read, it was not run): the order of the
filters, the placeholder `envoy.filters.http.ext_proc` that is there when an InferencePool is, the override of it on
each route that leads to a pool, found by the filter's NAME, clusters that take the endpoint from dynamic metadata
only, retries, and the patches of EnvoyFilters. Must stay true: what Istio would not accept, or ignore in silence, is
an error here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
EXT_PROC = "envoy.filters.http.ext_proc"
_TYPE = "type.googleapis.com/envoy.extensions."
_NO_LIMIT = 4_294_967_295  # what Istio sets where nobody asked for less
_DESTINATION = "x-gateway-destination-endpoint"
_HTTP2 = ("kubernetes.io/h2c", "http2", "grpc")
SERVED_SINCE = (1, 38)  # Istio 1.30 asks `override_host` to tell who served


class NotAccepted(Exception):
    """Istio would refuse this object, or never look at it; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that is ready, and where it listens for connections to any of its pool's target ports."""

    namespace: str
    labels: Mapping[str, str]
    at: str


@dataclass(slots=True)
class Mesh:
    """What is in the cluster. `backends` says where a Service's port really is: `namespace/name:port` -> addresses."""

    objects: Sequence[Json]
    pods: Sequence[Pod]
    backends: Mapping[str, Sequence[str]]
    envoy: tuple[int, int] = (1, 40)
    clusters: dict[str, Json] = field(default_factory=dict)

    def bootstrap(self, gateway: str, port: int, admin_port: int) -> Json:
        """The configuration of the one Envoy of the Gateway `namespace/name`, on ports of ours."""
        found = self._named("Gateway", gateway)
        if found["spec"]["gatewayClassName"] != "istio":
            raise NotAccepted(f"Gateway {gateway}: not of class istio")
        self.clusters = {}
        listener = self._listener(self._hosts(gateway), port)
        for patch in self._patches(gateway):
            _apply(listener, patch)
        return {
            "admin": {"address": _address(f"127.0.0.1:{admin_port}")},
            "static_resources": {
                "listeners": [listener],
                "clusters": [*self.clusters.values(), *self._named_in_filters(listener)],
            },
        }

    # -- routes ------------------------------------------------------------------------------------------------------

    def _hosts(self, gateway: str) -> dict[str, list[Json]]:
        """Host -> every match of every HTTPRoute that is attached there as an Envoy route, the most specific first."""
        hosts: dict[str, list[Json]] = {}
        for route in self._kind("HTTPRoute"):
            for host in self._attached(route, gateway):
                for rule in route["spec"]["rules"]:
                    for match in rule.get("matches") or [{}]:
                        hosts.setdefault(host, []).append(self._rule(route, rule, match))
        return {host: sorted(routes, key=_specificity) for host, routes in hosts.items()}

    def _attached(self, route: Json, gateway: str) -> set[str]:
        """The hosts for which a route is attached to the Gateway."""
        namespace = _namespace(route)
        refs = [r for r in route["spec"]["parentRefs"] if f"{r.get('namespace', namespace)}/{r['name']}" == gateway]
        if not refs:
            return set()
        listeners = self._named("Gateway", gateway)["spec"]["listeners"]
        open_to = [one for one in listeners if self._allows(one, namespace, gateway)]
        if not open_to:
            raise NotAccepted(f"HTTPRoute {_name(route)}: the Gateway allows no routes from namespace {namespace}")
        wanted = set(route["spec"].get("hostnames", []))
        offered = {one.get("hostname", "*") for one in open_to}
        hosts = wanted if "*" in offered else (wanted & offered if wanted else offered)
        if wanted and not hosts:
            raise NotAccepted(f"HTTPRoute {_name(route)}: no listener for its hosts is open to namespace {namespace}")
        return hosts or {"*"}

    def _allows(self, listener: Json, namespace: str, gateway: str) -> bool:
        allowed = listener.get("allowedRoutes", {}).get("namespaces", {})
        if allowed.get("from", "Same") == "Selector":
            labels = self._named("Namespace", f"default/{namespace}")["metadata"].get("labels", {})
            return bool(allowed["selector"]["matchLabels"].items() <= labels.items())
        return allowed.get("from", "Same") == "All" or gateway.startswith(f"{namespace}/")

    def _rule(self, route: Json, rule: Json, match: Json) -> Json:
        path = match.get("path", {"type": "PathPrefix", "value": "/"})
        if path["type"] != "PathPrefix":
            raise NotAccepted(f"HTTPRoute {_name(route)}: only PathPrefix is rebuilt here")
        headers = [{"name": h["name"], "string_match": {"exact": h["value"]}} for h in match.get("headers", [])]
        (ref,) = rule["backendRefs"]
        if ref.get("kind") != "InferencePool" or ref.get("group") != "inference.networking.k8s.io":
            raise NotAccepted(f"HTTPRoute {_name(route)}: only InferencePools are rebuilt here")
        if ref.get("namespace", _namespace(route)) != _namespace(route):
            raise NotAccepted(f"HTTPRoute {_name(route)}: a pool in another namespace needs a ReferenceGrant")
        pool = self._named("InferencePool", f"{_namespace(route)}/{ref['name']}")
        made: Json = {
            "match": {"prefix": path["value"], **({"headers": headers} if headers else {})},
            "route": {
                "cluster": self._pool(pool),
                "timeout": rule.get("timeouts", {}).get("request", "0s"),
                "retry_policy": _retries(),
            },
            "typed_per_filter_config": {EXT_PROC: self._override(pool)},
        }
        cors = any(f["type"] == "CORS" for f in rule.get("filters", []))
        if cors:  # as in Istio: written last, over what was there
            made["typed_per_filter_config"] = {}
        return made

    # -- pools -------------------------------------------------------------------------------------------------------

    def _pool(self, pool: Json) -> str:
        """The name of the pool's cluster."""
        wanted = pool["spec"]["selector"]["matchLabels"]
        members = [p.at for p in self.pods if p.namespace == _namespace(pool) and wanted.items() <= p.labels.items()]
        name = f"outbound|54321||{pool['metadata']['name']}-ip-0.{_namespace(pool)}.svc.cluster.local"
        served = {"key": "envoy.lb", "path": [{"key": f"{_DESTINATION}-served"}]}
        override = _extension(
            "envoy.load_balancing_policies.override_host",
            "load_balancing_policies.override_host.v3.OverrideHost",
            override_host_sources=[{"metadata": {"key": "envoy.lb", "path": [{"key": _DESTINATION}]}}],
            fallback_policy={"policies": [{"typed_extension_config": _ROUND_ROBIN}]},
            **({"selected_host_key": served} if self.envoy >= SERVED_SINCE else {}),
        )
        balancing = {"policies": [{"typed_extension_config": override}]}
        self.clusters[name] = _cluster(name, members) | {"load_balancing_policy": balancing}
        return name

    def _override(self, pool: Json) -> Json:
        """What Istio writes on the route of a pool for the filter of that name."""
        ref = pool["spec"]["endpointPickerRef"]
        if ref.get("kind", "Service") != "Service":
            raise NotAccepted(f"InferencePool {_name(pool)}: its picker is no Service")
        name = self._service(f"{_namespace(pool)}/{ref['name']}", ref["port"]["number"])
        sends = {"request_header_mode": "SEND", "request_body_mode": "FULL_DUPLEX_STREAMED",
                 "request_trailer_mode": "SEND", "response_header_mode": "SEND",
                 "response_body_mode": "FULL_DUPLEX_STREAMED", "response_trailer_mode": "SEND"}  # fmt: skip
        return {
            "@type": f"{_TYPE}filters.http.ext_proc.v3.ExtProcPerRoute",
            "overrides": {
                "failure_mode_allow": ref.get("failureMode", "FailClose") == "FailOpen",
                "grpc_service": {"envoy_grpc": {"cluster_name": name}},
                "processing_mode": sends,
            },
        }

    # -- services ----------------------------------------------------------------------------------------------------

    def _service(self, at: str, number: int) -> str:
        """The name of the cluster of a Service's port; made when first asked for."""
        service = self._named("Service", at)
        if service["spec"].get("type") == "ExternalName":
            raise NotAccepted(f"Service {at}: Istio makes no cluster of this name for an ExternalName")
        ports = [port for port in service["spec"]["ports"] if port["port"] == number]
        if not ports:
            raise NotAccepted(f"Service {at} has no port {number}")
        host = f"{service['metadata']['name']}.{_namespace(service)}.svc.cluster.local"
        name = f"outbound|{number}||{host}"
        self.clusters[name] = _cluster(name, self.backends.get(f"{at}:{number}", [])) | self._policy(host)
        if ports[0].get("appProtocol") in _HTTP2 or str(ports[0].get("name", "")).startswith(("grpc", "http2")):
            self.clusters[name] |= _http2()
        return name

    def _policy(self, host: str) -> Json:
        """What a DestinationRule for the host adds; at most one may be about it."""
        rules = [rule for rule in self._kind("DestinationRule") if _host(rule) == host]
        if len(rules) > 1:
            raise NotAccepted(f"DestinationRule {_name(rules[1])}: a second one for {host}")
        made: Json = {"lb_policy": "LEAST_REQUEST"}  # Istio's default
        policy = rules[0]["spec"].get("trafficPolicy", {}) if rules else {}
        tls = policy.get("tls", {"mode": "DISABLE"})
        if tls["mode"] == "SIMPLE":
            if not tls.get("insecureSkipVerify"):
                raise NotAccepted(f"DestinationRule {_name(rules[0])}: verification is not rebuilt here")
            common = {"alpn_protocols": ["h2"]}
            context = {"@type": f"{_TYPE}transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context": common}
            made["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": context}
        elif tls["mode"] != "DISABLE":
            raise NotAccepted(f"DestinationRule {_name(rules[0])}: tls.mode {tls['mode']} is not rebuilt here")
        balancer = policy.get("loadBalancer", {}).get("simple")
        if balancer:
            made["lb_policy"] = balancer
        if "outlierDetection" in policy:
            made["outlier_detection"] = _outliers(policy["outlierDetection"])
        return made

    def _named_in_filters(self, listener: Json) -> Iterator[Json]:
        """Clusters that only filters name: those of Services, which exist whether or not anybody routes there."""
        for one in _manager(listener)["http_filters"]:
            service = one["typed_config"].get("grpc_service")
            name = service["envoy_grpc"]["cluster_name"] if service else "dummy"
            if name == "dummy" or name in self.clusters:
                continue
            _, number, _, host = name.split("|")
            service_name, namespace, *rest = host.split(".")
            if rest != ["svc", "cluster", "local"]:
                raise NotAccepted(f"{name} is not the name of a cluster of Istio's")
            yield self.clusters[self._service(f"{namespace}/{service_name}", int(number))]

    # -- the listener and what patches it ----------------------------------------------------------------------------

    def _listener(self, hosts: Mapping[str, Sequence[Json]], port: int) -> Json:
        filters = [
            *([_placeholder()] if hosts else []),
            _extension("envoy.filters.http.grpc_stats", "filters.http.grpc_stats.v3.FilterConfig"),
            _extension("envoy.filters.http.fault", "filters.http.fault.v3.HTTPFault"),
            _extension("envoy.filters.http.cors", "filters.http.cors.v3.Cors"),
            _extension("envoy.filters.http.router", "filters.http.router.v3.Router"),
        ]
        manager = _extension(
            "envoy.filters.network.http_connection_manager",
            "filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix="outbound_0.0.0.0_80",
            stream_idle_timeout="0s",
            use_remote_address=True,
            normalize_path=True,
            http_filters=filters,
            route_config={"name": "http.80", "virtual_hosts": [_virtual_host(*one) for one in hosts.items()]},
        )
        return {
            "name": "0.0.0.0_80",
            "address": _address(f"127.0.0.1:{port}"),
            "filter_chains": [{"filters": [manager]}],
        }

    def _patches(self, gateway: str) -> Iterator[Json]:
        """The patches of EnvoyFilters that select this Gateway's pods; merges of filters come last, as in Istio."""
        namespace, _, name = gateway.partition("/")
        found = []
        for one in sorted(self._kind("EnvoyFilter"), key=lambda one: one["spec"].get("priority", 0)):
            wanted = one["spec"].get("workloadSelector", {}).get("labels", {})
            if _namespace(one) not in (namespace, "istio-system"):
                continue
            if wanted.items() <= {"gateway.networking.k8s.io/gateway-name": name}.items():
                found += one["spec"]["configPatches"]
        for patch in found:
            if patch["match"].get("context", "ANY") not in ("GATEWAY", "ANY"):
                raise NotAccepted(f"a patch for context {patch['match']['context']} never meets a gateway")
        yield from sorted(found, key=lambda p: p["applyTo"] == "HTTP_FILTER" and p["patch"]["operation"] == "MERGE")

    def _kind(self, kind: str) -> list[Json]:
        return [found for found in self.objects if found["kind"] == kind]

    def _named(self, kind: str, at: str) -> Json:
        for found in self._kind(kind):
            if f"{_namespace(found)}/{found['metadata']['name']}" == at:
                return found
        raise NotAccepted(f"there is no {kind} {at}")


def _apply(listener: Json, patch: Json) -> None:
    """One patch of an EnvoyFilter. What matches nothing does nothing in Istio; here it is an error."""
    what, operation, value = patch["applyTo"], patch["patch"]["operation"], copy.deepcopy(patch["patch"].get("value"))
    manager = _manager(listener)
    if what == "LISTENER" and operation == "MERGE":
        _merge(listener, value)
    elif what == "NETWORK_FILTER" and operation == "MERGE":
        _merge(listener["filter_chains"][0]["filters"][0], value)
    elif what == "VIRTUAL_HOST" and operation == "MERGE":
        wanted = patch["match"].get("routeConfiguration", {}).get("vhost", {}).get("name")
        hosts = [h for h in manager["route_config"]["virtual_hosts"] if wanted in (None, h["name"])]
        if not hosts:
            raise NotAccepted(f"no virtual host {wanted!r}")
        for host in hosts:
            _merge(host, value)
    elif what == "HTTP_ROUTE" and operation == "MERGE":
        routes = [r for h in manager["route_config"]["virtual_hosts"] for r in h["routes"]]
        action = patch["match"].get("routeConfiguration", {}).get("vhost", {}).get("route", {}).get("action", "ANY")
        wanted = {"ANY": lambda r: True, "ROUTE": lambda r: "route" in r}.get(action)
        if wanted is None:
            raise NotAccepted(f"routes whose action is {action} are not rebuilt here")
        for route in filter(wanted, routes):
            _merge(route, copy.deepcopy(value))
    elif what == "HTTP_FILTER":
        _filter(manager["http_filters"], patch, operation, value)
    else:
        raise NotAccepted(f"{operation} of {what} is not rebuilt here")


def _filter(filters: list[Json], patch: Json, operation: str, value: Json) -> None:
    chain = patch["match"]["listener"]["filterChain"]["filter"]
    if chain["name"] != "envoy.filters.network.http_connection_manager":
        raise NotAccepted(f"no network filter {chain['name']}")
    if operation == "INSERT_FIRST":
        filters.insert(0, value)
        return
    name = chain["subFilter"]["name"]
    at = next((number for number, one in enumerate(filters) if one["name"] == name), None)
    if at is None:
        raise NotAccepted(f"no HTTP filter {name}, so {operation} does nothing")
    if operation == "REPLACE":
        filters[at] = value
    elif operation == "INSERT_BEFORE":
        filters.insert(at, value)
    elif operation == "INSERT_AFTER":
        filters.insert(at + 1, value)
    elif operation == "MERGE":
        _merge(filters[at], value)
    elif operation == "REMOVE":
        filters[:] = [one for one in filters if one["name"] != name]
    else:
        raise NotAccepted(f"{operation} of HTTP_FILTER is not rebuilt here")


def _merge(into: Json, value: Json) -> None:
    """As protobuf merges: messages field by field, lists appended, the rest replaced."""
    for key, new in value.items():
        if isinstance(new, dict) and isinstance(into.get(key), dict):
            _merge(into[key], new)
        elif isinstance(new, list) and isinstance(into.get(key), list):
            into[key] += new
        else:
            into[key] = new


def _manager(listener: Json) -> Json:
    found: Json = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def _virtual_host(host: str, routes: Sequence[Json]) -> Json:
    domains = ["*"] if host == "*" else [host, f"{host}:*"]
    return {"name": f"{host}:80", "domains": domains, "routes": routes}


def _placeholder() -> Json:
    """What Istio puts in for pools; it does nothing until a route overrides it."""
    return _extension(
        EXT_PROC,
        "filters.http.ext_proc.v3.ExternalProcessor",
        grpc_service={"envoy_grpc": {"cluster_name": "dummy"}, "timeout": "10s"},
        failure_mode_allow=True,
        processing_mode={"request_header_mode": "SKIP", "response_header_mode": "SKIP"},
        message_timeout="1000s",
        metadata_options={
            "receiving_namespaces": {"untyped": ["envoy.lb"]},
            "forwarding_namespaces": {"untyped": ["envoy.lb"]},
        },
    )


def _retries() -> Json:
    """Istio's for every route."""
    previous = "envoy.retry_host_predicates.previous_hosts"
    return {
        "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
        "num_retries": 2,
        "host_selection_retry_max_attempts": "5",
        "retry_host_predicate": [_extension(previous, "retry.host.previous_hosts.v3.PreviousHostsPredicate")],
    }


def _outliers(found: Json) -> Json:
    """`outlierDetection` of a DestinationRule in Envoy's words."""
    names = {
        "splitExternalLocalOriginErrors": "split_external_local_origin_errors",
        "consecutiveLocalOriginFailures": "consecutive_local_origin_failure",
        "consecutive5xxErrors": "consecutive_5xx",
        "consecutiveGatewayErrors": "consecutive_gateway_failure",
        "interval": "interval",
        "baseEjectionTime": "base_ejection_time",
        "maxEjectionPercent": "max_ejection_percent",
    }
    made: Json = {names[key]: value for key, value in found.items() if key != "minHealthPercent"}
    if "consecutiveLocalOriginFailures" in found:
        made["enforcing_consecutive_local_origin_failure"] = 100
    made["enforcing_success_rate"] = 0
    return made


def _cluster(name: str, members: Iterable[str]) -> Json:
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), _NO_LIMIT)
    hosts = [{"endpoint": {"address": _address(at)}} for at in members]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}]},
    }


def _http2() -> Json:
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    explicit: Json = {"explicit_http_config": {"http2_protocol_options": {}}}
    return {"typed_extension_protocol_options": {options: {"@type": f"type.googleapis.com/{options}", **explicit}}}


def _specificity(route: Json) -> tuple[int, int]:
    return -len(route["match"]["prefix"]), -len(route["match"].get("headers", []))


def _host(rule: Json) -> str:
    host: str = rule["spec"]["host"]
    return host if "." in host else f"{host}.{_namespace(rule)}.svc.cluster.local"


def _namespace(found: Json) -> str:
    namespace: str = found["metadata"].get("namespace", "default")
    return namespace


def _name(found: Json) -> str:
    return f"{_namespace(found)}/{found['metadata']['name']}"


def _address(at: str) -> Json:
    host, _, port = at.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def _extension(extension_name: str, type_name: str, **fields: Any) -> Json:
    return {"name": extension_name, "typed_config": {"@type": _TYPE + type_name, **fields}}


_ROUND_ROBIN = _extension(
    "envoy.load_balancing_policies.round_robin", "load_balancing_policies.round_robin.v3.RoundRobin"
)
