"""Every check there is, in the order in which they are told."""

from __future__ import annotations

from epp.doctor import istio, istio_filters, istio_routes, limits, models, picker_services, pools, rights, tls
from epp.doctor.definitions import definitions
from epp.doctor.findings import Check

ROUTES = ("InferencePool", "HTTPRoute")
BEHIND = ("InferencePool", "Service", "Pod")

CHECKS = (
    Check("resource-definitions", "the kinds are installed", ("InferencePool",), definitions),
    Check("inference-flag", "Istio takes notice of InferencePools", (*ROUTES, "Deployment"), istio.inference_flag),
    Check("istio-version", "this Istio knows all pools", ROUTES, istio.version),
    Check(
        "filter-name", "no filter bears the name of Istio's own", (*ROUTES, "EnvoyFilter"), istio_filters.filter_name
    ),
    Check("filter-place", "EnvoyFilters reach a Gateway", ("EnvoyFilter", "Gateway"), istio_filters.filter_place),
    Check("chained-filters", "one filter handles bodies", (*ROUTES, "EnvoyFilter"), istio_filters.chained_filters),
    Check("cors", "no CORS or fault filter on a pool's route", (*ROUTES, "EnvoyFilter"), istio_routes.cors),
    Check("weighted-pools", "one picker for each rule", (*ROUTES, "EnvoyFilter"), istio_routes.weighted_pools),
    Check("rule-names", "rules are told apart", (*ROUTES, "EnvoyFilter"), istio_routes.rule_names),
    Check("picker-namespace", "pickers are in their pool's namespace", BEHIND, picker_services.picker_namespace),
    Check("picker-service", "a ready picker listens", BEHIND, picker_services.picker_service),
    Check("picker-pools", "pickers pick for their pools", BEHIND, picker_services.picker_pools),
    Check("picker-protocol", "Istio speaks HTTP/2 to pickers", (*ROUTES, *BEHIND), picker_services.picker_protocol),
    Check("picker-tls", "both ends agree on TLS", (*ROUTES, *BEHIND, "DestinationRule"), tls.picker_tls),
    Check("failure-mode", "failureMode is honoured", (*ROUTES, "EnvoyFilter"), limits.failure_mode),
    Check("endpoint-lists", "lists of endpoints are understood", (*ROUTES, *BEHIND), limits.endpoint_lists),
    Check("stream-limit", "no limit of 1024 streams", (*ROUTES, "DestinationRule"), limits.stream_limit),
    Check("rights", "pickers may do what they need", ("Pod", "Role", "RoleBinding"), rights.rights),
    Check("pool-pods", "pools have pods", ("InferencePool", "Pod"), pools.pool_pods),
    Check("pool-ports", "pods listen at the pool's ports", ("InferencePool", "Pod"), pools.pool_ports),
    Check("pool-models", "pods serve the models of their routes", (*ROUTES, "Pod"), models.pool_models),
)
