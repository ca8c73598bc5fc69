"""Whether gateways speak TLS to a picker exactly where the picker does."""

from __future__ import annotations

from collections.abc import Iterator

from epp.doctor import services
from epp.doctor.cluster import Cluster
from epp.doctor.envoyfilters import ROOT_NAMESPACE
from epp.doctor.findings import Finding, NotChecked, problem, unknown, warning
from epp.doctor.gateways import Family
from epp.doctor.pickers import Picker, pickers
from epp.doctor.services import Call, PickerRef, Resolved
from epp.doctor.tree import Object, at, key_of, namespace_of, number, objects, text

ALWAYS_TLS = (Family.AGENTGATEWAY, Family.KGATEWAY, Family.ENVOY_AI)
LIKELY_TLS = (Family.NGINX, Family.GKE)
MESH_TLS = "ISTIO_MUTUAL"
PLAIN = ("", "DISABLE")
FAILS = "so every call fails: 5xx with failureMode FailClose, pods picked blindly with FailOpen."


def picker_tls(cluster: Cluster) -> Iterator[Finding]:
    """Both ends of each call to a picker must agree."""
    judged = False
    for call in services.calls(cluster):
        found = services.resolve(cluster, *call.service)
        for tls, picker in _served(found):
            for family in sorted(call.families - {None}, key=str):
                judged = True
                if tls is None:
                    yield unknown(picker.workload.title, "--secure-serving is no boolean.", "Say true or false.")
                elif family is Family.ISTIO:
                    yield from _istio(cluster, call, found, tls, picker)
                elif not tls:
                    yield from _without_tls(family, call, picker)
    if not judged:
        raise NotChecked("no picker is seen behind a Service that a known gateway calls")


def rule_for(cluster: Cluster, service: PickerRef, clients: frozenset[str]) -> Object | None:
    """The DestinationRule that counts: of the caller's namespace, else the Service's, else Istio's own."""
    for namespace in (*sorted(clients), service.namespace, ROOT_NAMESPACE):
        fitting = [
            rule
            for rule in cluster.all("DestinationRule")
            if namespace_of(rule) == namespace and _host_fits(rule, service) and at(rule, "spec", "trafficPolicy")
        ]
        if fitting:
            return min(fitting, key=lambda rule: ("*" in text(rule, "spec", "host"), key_of(rule)))
    return None


def policy(rule: Object | None, port: int | None, part: str) -> object:
    """A part of the traffic policy, from the port's own settings where there are some."""
    for setting in objects(rule, "spec", "trafficPolicy", "portLevelSettings"):
        if number(setting, "port", "number") == port:
            return at(setting, part)
    return at(rule, "spec", "trafficPolicy", part)


def _served(found: Resolved) -> Iterator[tuple[bool | None, Picker]]:
    """What is spoken at each pod's port, once for pods that are alike."""
    seen = set()
    for workload in found.workloads:
        for picker in pickers(workload):
            listening = picker.ports.get(found.numbers.get(workload.title) or 0)
            if listening is not None and (listening, picker.last("cert-path")) not in seen:
                seen.add((listening, picker.last("cert-path")))
                yield listening.tls, picker


def _istio(cluster: Cluster, call: Call, found: Resolved, tls: bool, picker: Picker) -> Iterator[Finding]:
    host = f"{call.service.name}.{call.service.namespace}.svc.cluster.local"
    rule = rule_for(cluster, call.service, call.clients)
    settings = policy(rule, call.service.port, "tls")
    mode = text(settings, "mode")
    said = f"DestinationRule {key_of(rule)}" if rule is not None else "no DestinationRule"
    if tls and mode in PLAIN:
        how = f"{said} says {mode or 'nothing of TLS'}" if rule is not None else f"{said} says TLS for it"
        yield problem(
            call.subject,
            f"{picker.workload.title} speaks TLS and {how}, {FAILS}",
            f"Add a DestinationRule for {host} with tls {{mode: SIMPLE, insecureSkipVerify: true}}, or run the picker"
            " with --secure-serving=false.",
        )
    elif not tls and mode not in PLAIN and mode != MESH_TLS:
        yield problem(
            call.subject,
            f"{said} says {mode} for {host}, but {picker.workload.title} speaks plaintext, {FAILS}",
            "Set tls {mode: DISABLE} there, or run the picker with --secure-serving=true.",
        )
    elif tls and mode == MESH_TLS:
        yield problem(
            call.subject,
            f"{said} says {MESH_TLS} for {host}, which is for pods with a sidecar; {picker.workload.title} has a"
            f" certificate of its own, {FAILS}",
            "Set tls {mode: SIMPLE, insecureSkipVerify: true} there.",
        )
    elif tls and not _accepts(settings, picker):
        yield problem(
            call.subject,
            f"{said} verifies the certificate of {host}, but {picker.workload.title} signs its own, {FAILS}",
            "Set insecureSkipVerify: true there, or give the picker a certificate (--cert-path) of a known authority.",
        )


def _without_tls(family: Family | None, call: Call, picker: Picker) -> Iterator[Finding]:
    assert family is not None
    if family in ALWAYS_TLS:
        yield problem(
            call.subject,
            f"{family.value} always speaks TLS to a picker, {picker.workload.title} does not, {FAILS}",
            "Run the picker with --secure-serving=true; its self-signed certificate is accepted.",
        )
    elif family in LIKELY_TLS:
        yield warning(
            call.subject,
            f"{family.value} speaks TLS to a picker unless told otherwise, and {picker.workload.title} does not.",
            "Run the picker with --secure-serving=true, or tell the gateway to speak plaintext.",
        )


def _accepts(settings: object, picker: Picker) -> bool:
    """Whether the gateway may take the picker's certificate; an authority that is named is the operator's affair."""
    if at(settings, "insecureSkipVerify") is True:
        return True
    return bool(picker.last("cert-path")) or bool(text(settings, "caCertificates") or text(settings, "credentialName"))


def _host_fits(rule: Object, service: PickerRef) -> bool:
    """As Istio reads hosts: without a dot a Service of the rule's namespace, with one a full name and never half."""
    host = text(rule, "spec", "host")
    if host.startswith("*"):
        return f"{service.name}.{service.namespace}.svc.cluster.local".endswith(host[1:])
    if "." not in host:
        return (host, namespace_of(rule)) == (service.name, service.namespace)
    return host.startswith(f"{service.name}.{service.namespace}.svc.")
