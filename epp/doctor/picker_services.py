"""What must hold between a pool, the Service of its picker, and the picker's pods."""

from __future__ import annotations

from collections.abc import Iterator

from epp.doctor import services
from epp.doctor.arguments import container_ports
from epp.doctor.cluster import Cluster, Workload
from epp.doctor.findings import Finding, NotChecked, missing, problem, warning
from epp.doctor.gateways import Family
from epp.doctor.pickers import pickers
from epp.doctor.services import Call, Resolved
from epp.doctor.tree import at, key_of, name_of, namespace_of, text

HTTP2 = {"grpc", "grpc-web", "http2"}


def picker_service(cluster: Cluster) -> Iterator[Finding]:
    """The Service and its port exist, and lead to a port where a ready picker listens."""
    pools = cluster.pools()
    if not pools:
        raise NotChecked("there is no InferencePool")
    for pool in pools:
        if services.picker_ref(pool) is None:
            yield warning(
                f"InferencePool {key_of(pool)}",
                "it names no Service as its picker, so gateways balance it by themselves or refuse it.",
                "Set endpointPickerRef {name: SERVICE, port: {number: 9002}}.",
            )
    for call in services.calls(cluster):
        yield from _service(cluster, call)


def picker_namespace(cluster: Cluster) -> Iterator[Finding]:
    """A pool names a Service of its own namespace; there is no way to name another."""
    looked = False
    for call in services.calls(cluster):
        if call.pool is None:
            continue
        looked = True
        namespace, name, port = call.service
        elsewhere = [s for s in cluster.all("Service") if name_of(s) == name and namespace_of(s) != namespace]
        if cluster.find("Service", namespace, name) is None and elsewhere:
            yield problem(
                call.subject,
                f"its picker {name} is looked for in the pool's namespace {namespace}, but is in"
                f" {namespace_of(elsewhere[0])}.",
                f"Add a Service {name} with port {port} in {namespace}: one OneHop for several has one in each.",
            )
        if at(call.pool, "spec", "endpointPickerRef", "namespace") is not None:
            yield warning(
                call.subject,
                "endpointPickerRef has no field `namespace`; it is ignored.",
                f"Remove it; the Service is looked for in {namespace}.",
            )
    if not looked:
        raise NotChecked("no InferencePool names a picker")


def picker_protocol(cluster: Cluster) -> Iterator[Finding]:
    """Istio speaks HTTP/1.1 to a port that does not say otherwise, and gRPC needs HTTP/2."""
    looked = False
    for call in services.calls(cluster):
        found = services.resolve(cluster, *call.service)
        if Family.ISTIO not in call.families or found.port is None:
            continue
        looked = True
        protocol = text(found.port, "appProtocol") or text(found.port, "name").partition("-")[0]
        if protocol.lower() not in HTTP2 | {"kubernetes.io/h2c"}:
            given = text(found.port, "appProtocol")
            said = f"its appProtocol is {given}" if given else "it has no appProtocol"
            yield problem(
                f"Service {call.service.namespace}/{call.service.name}",
                f"port {call.service.port} does not say that it speaks HTTP/2 ({said}), so Istio's gRPC calls fail.",
                "Set appProtocol: http2 (or kubernetes.io/h2c) on the port.",
            )
    if not looked:
        raise NotChecked("no Service of a picker is called by Istio, as far as can be seen")


def picker_pools(cluster: Cluster) -> Iterator[Finding]:
    """The picker behind a pool's Service picks for that pool, and its port does."""
    looked = False
    for call, found, picker in services.answering(cluster):
        if call.pool is None:
            continue
        looked = True
        key = key_of(call.pool)
        listening = picker.ports.get(found.numbers.get(picker.workload.title) or 0)
        if picker.picks_for(call.pool, call.service.name) is False:
            yield problem(
                call.subject,
                f"{picker.workload.title} picks for {', '.join(picker.named_pools) or 'other pools'}, so requests for"
                " this pool are answered with pods of others or refused.",
                f"Start it with --pool={key} (or --pool-name), or name its own Service in the pool.",
            )
        elif listening is not None and listening.pool not in ("", key):
            yield problem(
                call.subject,
                f"its Service leads to the port of {picker.workload.title} that decides inside {listening.pool} only.",
                f"Set the Service's targetPort to the port of --pool={key}=PORT, or to --grpc-port.",
            )
    if not looked:
        raise NotChecked("no picker is seen behind the Service of an InferencePool")


def _service(cluster: Cluster, call: Call) -> Iterator[Finding]:
    namespace, name, port = call.service
    found = services.resolve(cluster, namespace, name, port)
    if found.service is None:
        others = {name_of(service) for service in cluster.all("Service")}
        if call.pool is not None and name in others:
            return  # in another namespace, which `picker_namespace` tells
        where = "does not exist" if cluster.live else "is not among these files"
        yield missing(
            cluster,
            call.subject,
            f"it calls the Service {namespace}/{name}, which {where}.",
            "Create it, or correct the name.",
            where=("Service", namespace),
            files_have_others=any(namespace_of(service) == namespace for service in cluster.all("Service")),
        )
    elif found.port is None:
        yield problem(
            call.subject,
            f"it calls port {port or '(none is named)'} of the Service {namespace}/{name}, which has none such.",
            "Name a port that the Service has; OneHop's is 9002.",
        )
    else:
        if found.leads_to and Family.ISTIO in call.families and call.pool is not None:
            yield warning(
                call.subject,
                f"its picker's Service {name} is a name for {found.leads_to} (ExternalName), for which Istio may make"
                " no cluster that it can call.",
                "Use the one-hop wiring, whose filter calls the Service behind it, or a picker in that namespace.",
            )
        yield from _pods(cluster, call, found)


def _pods(cluster: Cluster, call: Call, found: Resolved) -> Iterator[Finding]:
    assert found.service is not None
    service = f"Service {key_of(found.service)}"
    if found.leads_to and text(found.service, "spec", "type") == "ExternalName":
        yield warning(service, f"it leads to {found.leads_to}, which was not seen.", "See that it exists.")
    elif not found.workloads:
        yield missing(
            cluster,
            service,
            f"its selector fits {'no pod' if cluster.live else 'no workload of these files'}, so nobody picks.",
            "Give the picker's pods the labels of the selector, or correct the selector.",
            where=("Pod", namespace_of(found.service)),
            files_have_others=bool(cluster.in_namespace(namespace_of(found.service))),
        )
    elif all(workload.ready is False for workload in found.workloads):
        yield problem(
            service,
            f"none of its {len(found.workloads)} pods is ready, so nobody picks.",
            "Look at the pods: kubectl describe, and the log of the picker.",
        )
    ports = {_listens(workload, found.numbers[workload.title]): workload for workload in found.workloads}
    for verdict, workload in ports.items():
        if verdict:
            yield (problem if pickers_of(workload) else warning)(
                service,
                f"port {call.service.port} leads to {at(found.port, 'targetPort') or call.service.port}, where"
                f" {workload.title} {verdict}.",
                "Set the targetPort to the picker's --grpc-port (9002 where none is given) or a --pool=NAME=PORT.",
            )


def pickers_of(workload: Workload) -> bool:
    """Whether we know this to be a picker, and so where it listens."""
    return any(True for _ in pickers(workload))


def _listens(workload: Workload, port: int | None) -> str:
    """What is wrong with the port, empty when all is well."""
    if port is None:
        return "has no port of that name"
    listening = {number for picker in pickers(workload) for number in picker.ports}
    if listening:
        return "" if port in listening else f"does not listen (it does at {', '.join(map(str, sorted(listening)))})"
    declared = container_ports(workload).values()
    return "" if not declared or port in declared else "declares no such port"
