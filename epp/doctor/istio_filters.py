"""What goes wrong between filters that an EnvoyFilter adds and the one that Istio adds for pools."""

from __future__ import annotations

from collections.abc import Iterator

from epp.doctor import envoyfilters
from epp.doctor.cluster import Cluster
from epp.doctor.envoyfilters import PLACEHOLDER, Patch
from epp.doctor.findings import Finding, NotChecked, problem, warning
from epp.doctor.istio import istio_rules, istio_versions
from epp.doctor.pickers import pickers
from epp.doctor.services import resolve
from epp.doctor.tree import key_of

TRUNCATING = ((1, 28), (1, 29), (1, 30))  # with Envoy 1.36, 1.37 and 1.38


def filter_name(cluster: Cluster) -> Iterator[Finding]:
    """Istio's settings on a pool's route hit every filter of the placeholder's name, also one that is not meant."""
    found = istio_rules(cluster)
    patches = [patch for patch in envoyfilters.ext_procs(cluster) if _collides(patch)]
    for patch in patches:
        if not any(patch.reaches(rule.gateway) for rule in found):
            continue
        if _is_first_stream_of_onehop(cluster, patch):
            yield warning(
                patch.title,
                f"a client that sends the header of a pool's route itself skips this filter, which is called"
                f" {PLACEHOLDER} as Istio's own; OneHop behind both then decides in the pool's stream.",
                "A known limit of the drop-in; rename the filter, or use the one-hop wiring.",
            )
        else:
            yield problem(
                patch.title,
                f"its filter is called {PLACEHOLDER} as Istio's own: a request that matches a pool's route from the"
                " start (a catch-all rule, or a client's own model header) goes to the endpoint picker twice and"
                " never to this filter.",
                "Give the filter another name, such as inference.semantic, and strip the model header before routing.",
            )


def filter_place(cluster: Cluster) -> Iterator[Finding]:
    """An EnvoyFilter in the wrong namespace, or with labels that no gateway has, does nothing."""
    gateways = [key_of(gateway) for gateway in cluster.all("Gateway")]
    patches = {id(patch.item): patch for patch in envoyfilters.ext_procs(cluster)}
    if not patches:
        raise NotChecked("no EnvoyFilter adds an ext_proc filter")
    if not gateways:
        raise NotChecked("no Gateway is among what could be read")
    for patch in patches.values():
        if any(patch.reaches(gateway) for gateway in gateways):
            continue
        if envoyfilters.selects_a_pod(cluster, patch.item):
            continue
        yield (problem if cluster.live else warning)(
            patch.title,
            f"it reaches no Gateway (there are {', '.join(gateways)}), so its filter is nowhere.",
            f"Put it into the Gateway's namespace and select by {envoyfilters.GATEWAY_LABEL}: NAME.",
        )


def chained_filters(cluster: Cluster) -> Iterator[Finding]:
    """Two filters that handle bodies, one behind the other, lose the ends of long answers on Envoy 1.36 to 1.38."""
    found = istio_rules(cluster)
    versions = {each[:2] for each in istio_versions(cluster)}
    for gateway in sorted({rule.gateway for rule in found}):
        if envoyfilters.is_replaced(cluster, gateway):
            continue
        for patch in envoyfilters.on(cluster, gateway):
            if not patch.inserts or not _handles_bodies(patch) or _is_cured(cluster, patch):
                continue
            if versions and not versions & set(TRUNCATING):
                continue
            happens = "behind it Istio's filter for pools handles bodies too, and then long answers (1 MiB and more)"
            do = "Use one filter in place of Istio's (the one-hop wiring), or an Istio with Envoy 1.39 or later."
            if versions:
                yield problem(patch.title, f"{happens} are cut off with status 200 on this Istio.", do)
            else:
                yield warning(patch.title, f"{happens} are cut off with status 200 on Istio 1.28 to 1.30.", do)


def _collides(patch: Patch) -> bool:
    """Whether a filter that should do its own work bears the placeholder's name, or is merged into the placeholder."""
    return patch.name == PLACEHOLDER and patch.operation not in ("REMOVE", "")


def _is_first_stream_of_onehop(cluster: Cluster, patch: Patch) -> bool:
    """Whether the filter calls the port on which OneHop chooses models only."""
    target = patch.target
    if target is None:
        return False
    found = resolve(cluster, target.namespace, target.name, target.port)
    for workload in found.workloads:
        for picker in pickers(workload):
            semantic = picker.last("semantic-port", "0")
            if semantic != "0" and semantic in {str(port) for port in found.target_ports}:
                return True
    return False


def _handles_bodies(patch: Patch) -> bool:
    modes = envoyfilters.proto(patch.config, "processing_mode")
    return any(
        envoyfilters.proto(modes, mode) not in (None, "NONE") for mode in ("request_body_mode", "response_body_mode")
    )


def _is_cured(cluster: Cluster, patch: Patch) -> bool:
    """OneHop asks Envoy to leave the answer's headers out, which ends the first filter's part in time."""
    return envoyfilters.proto(patch.config, "allow_mode_override") is True and _is_first_stream_of_onehop(
        cluster, patch
    )
