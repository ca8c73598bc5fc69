"""What a gateway of some kind does not do as the objects ask it to."""

from __future__ import annotations

from collections.abc import Iterator

from epp.doctor import envoyfilters, services
from epp.doctor.cluster import Cluster
from epp.doctor.findings import Finding, NotChecked, note, problem, unknown, warning
from epp.doctor.gateways import Family, rules
from epp.doctor.tls import policy, rule_for
from epp.doctor.tree import at, key_of, number, objects, text

STREAMS = 1024  # Envoy's own limit of requests at once to a cluster
TAKE_LISTS = (Family.ISTIO, Family.GKE)
LIST_ENDS_IN = {
    Family.AGENTGATEWAY: "answers 5xx",
    Family.ENVOY_AI: "answers 503",
    Family.KGATEWAY: "picks any pod",
    Family.NGINX: "fails to connect",
}
PATCH_DO = "Raise circuit_breakers of the ext_proc cluster (EnvoyPatchPolicy), or run more replicas of the gateway."


def failure_mode(cluster: Cluster) -> Iterator[Finding]:
    """Some gateways do what they always do while no picker answers."""
    looked = False
    for call in services.calls(cluster):
        if call.pool is None:
            continue
        ref = at(call.pool, "spec", "endpointPickerRef") or at(call.pool, "spec", "extensionRef")
        mode = text(ref, "failureMode")
        looked = looked or bool(call.families - {None})
        if Family.KGATEWAY in call.families and mode != "FailOpen":
            yield warning(
                call.subject,
                f"failureMode is {mode or 'FailClose (by default)'}, but kgateway's Envoy goes on without a picker.",
                "Use agentgateway, which honours it, or do not rely on the picker to refuse.",
            )
        if Family.ENVOY_AI in call.families and mode == "FailOpen":
            yield warning(
                call.subject,
                "failureMode is FailOpen, but Envoy AI Gateway always answers 5xx while no picker answers.",
                "Run two or more replicas of the picker, and do not rely on FailOpen.",
            )
        if Family.ISTIO in call.families and mode == "FailClose":
            yield from _by_filter(cluster, call.subject, key_of(call.pool))
        if mode == "FailOpen":
            yield from _until_the_body(cluster, call.subject, key_of(call.pool))
    if not looked:
        raise NotChecked("no known gateway leads to an InferencePool with a picker")


def endpoint_lists(cluster: Cluster) -> Iterator[Finding]:
    """Several endpoints in one answer are understood by few gateways."""
    looked = False
    for call, _, picker in services.answering(cluster):
        looked = True
        more = picker.last("fallback-endpoints", "0")
        if more in ("0", ""):
            continue
        for family in sorted(call.families - set(TAKE_LISTS), key=str):
            if family is None:
                yield unknown(
                    call.subject,
                    f"{picker.workload.title} has --fallback-endpoints={more}; which gateway calls it is not known.",
                    "Istio, GKE and Envoy with override_host take a list; others fail.",
                )
            else:
                yield problem(
                    call.subject,
                    f"{picker.workload.title} has --fallback-endpoints={more}, and {family.value}"
                    f" {LIST_ENDS_IN[family]} when an answer names several endpoints.",
                    "Remove --fallback-endpoints.",
                )
    if not looked:
        raise NotChecked("no picker is seen behind a Service")


def stream_limit(cluster: Cluster) -> Iterator[Finding]:
    """Envoy refuses more calls at once than its circuit breaker allows, unless somebody raised it."""
    looked = False
    for call in services.calls(cluster):
        looked = looked or bool(call.families - {None})
        unraised = call.families & {Family.KGATEWAY, Family.ENVOY_AI}
        if unraised and not _is_raised(cluster):
            names = ", ".join(sorted(family.value for family in unraised if family is not None))
            yield warning(
                call.subject,
                f"{names} lets a proxy have {STREAMS} calls to the picker at once; requests beyond are answered 500.",
                PATCH_DO,
            )
        if Family.ISTIO in call.families:
            rule = rule_for(cluster, call.service, call.clients)
            pool = policy(rule, call.service.port, "connectionPool")
            limit = number(pool, "http", "http2MaxRequests")
            if rule is not None and limit is not None and 0 < limit <= STREAMS:
                yield warning(
                    f"DestinationRule {key_of(rule)}",
                    f"it lets a proxy have {limit} calls to the picker at once; requests beyond are answered 500.",
                    "Remove http2MaxRequests, or set it above the requests that are open at once.",
                )
    if not looked:
        raise NotChecked("no known gateway calls a picker")


def _by_filter(cluster: Cluster, subject: str, pool: str) -> Iterator[Finding]:
    """Where one filter stands in for Istio's, it is the filter that fails open or not."""
    for gateway in sorted({rule.gateway for rule in rules(cluster) if pool in rule.pools}):
        for patch in envoyfilters.on(cluster, gateway):
            if patch.replaces_placeholder and envoyfilters.proto(patch.config, "failure_mode_allow") is True:
                yield warning(
                    subject,
                    f"failureMode is FailClose, but {patch.title}, which stands in for Istio's filter, goes on without"
                    " a picker (failure_mode_allow).",
                    "Set failure_mode_allow: false in the filter, or say FailOpen in the pool.",
                )


def _until_the_body(cluster: Cluster, subject: str, pool: str) -> Iterator[Finding]:
    """Full duplex fails open only before it has sent any of the body; a filter in place of Istio's may buffer it."""
    late = {
        rule.family.value
        for rule in rules(cluster)
        if pool in rule.pools
        and (
            rule.family is Family.AGENTGATEWAY
            or (rule.family is Family.ISTIO and not envoyfilters.is_replaced(cluster, rule.gateway))
        )
    }
    if late:
        yield note(
            subject,
            f"{' and '.join(sorted(late))} honours FailOpen only until the first byte of a request's body was sent to"
            " the picker; when it breaks after that, the request is answered 500.",
            "Run two or more replicas of the picker; on Istio a filter that buffers the body has no such window"
            " (the chart's mode oneHop).",
        )


def _is_raised(cluster: Cluster) -> bool:
    """Whether some EnvoyPatchPolicy is about circuit breakers; of which cluster, its author will know."""
    changes = [
        at(patch, "operation")
        for item in cluster.all("EnvoyPatchPolicy")
        for patch in objects(item, "spec", "jsonPatches")
    ]
    return any("circuit_breakers" in text(c, "path") or at(c, "value", "circuit_breakers") for c in changes)
