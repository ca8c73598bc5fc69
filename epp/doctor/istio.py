"""Whether Istio is told about InferencePools, and is one that knows them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from epp import flag_values
from epp.doctor.cluster import Cluster
from epp.doctor.findings import Finding, NotChecked, problem, unknown, warning
from epp.doctor.gateways import Family, Rule, rules
from epp.doctor.tree import Object, at, key_of, name_of, objects, text, title

FLAG = "ENABLE_GATEWAY_API_INFERENCE_EXTENSION"
Version = tuple[int, int, int]
_TAG = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?![\d.])")


def inference_flag(cluster: Cluster) -> Iterator[Finding]:
    """istiod takes no notice of InferencePools unless it is told to."""
    istio_rules(cluster)
    daemons = _daemons(cluster)
    if not daemons:
        raise NotChecked("istiod is not among what could be read")
    for daemon, values in daemons:
        value = values.get(FLAG, "")
        if value is None:
            yield unknown(
                title(daemon), f"the value of {FLAG} comes from elsewhere.", f"See that {FLAG} is true there."
            )
        elif not _is_true(value):
            yield problem(
                title(daemon),
                f"{FLAG} is not true, so Istio ignores InferencePools and routes to them answer 500.",
                f"Set it: istioctl install --set values.pilot.env.{FLAG}=true (Helm: --set pilot.env.{FLAG}=true).",
            )


def version(cluster: Cluster) -> Iterator[Finding]:
    """Releases of Istio that lose pools or do not know them."""
    found = istio_rules(cluster)
    versions = istio_versions(cluster)
    if not versions:
        raise NotChecked("no image of istiod or of a gateway's proxy tells the version of Istio")
    oldest = min(versions)
    shown = ".".join(map(str, oldest))
    routes: dict[str, set[str]] = {}
    for rule in found:
        routes.setdefault(rule.gateway, set()).add(key_of(rule.route))
    for gateway, names in sorted(routes.items()):
        if oldest == (1, 28, 0) and len(names) > 1:
            yield problem(
                f"Gateway {gateway}",
                "Istio 1.28.0 loses the pools of every HTTPRoute but one of a Gateway.",
                "Upgrade Istio to a later 1.28 or to 1.29.",
            )
    if oldest < (1, 28, 0):
        yield warning(
            f"Istio {shown}",
            "what is known about Istio here begins with 1.28, the first with InferencePool v1.",
            "Upgrade Istio to 1.28.1 or later.",
        )


def istio_versions(cluster: Cluster) -> set[Version]:
    """By the images of istiod and of gateways' proxies."""
    found = set()
    for workload in (*cluster.workloads, *cluster.templates):
        for container in workload.containers:
            image = text(container, "image").partition("@")[0]
            name, _, tag = image.rpartition("/")[2].partition(":")
            matched = _TAG.match(tag)
            if name in ("pilot", "proxyv2") and matched:
                found.add((int(matched[1]), int(matched[2]), int(matched[3])))
    return found


def istio_rules(cluster: Cluster) -> list[Rule]:
    """Rules that lead to pools from a Gateway of Istio; NotChecked where there are none."""
    found = [rule for rule in rules(cluster) if rule.family is Family.ISTIO]
    if not found:
        raise NotChecked("no route of a Gateway of Istio leads to an InferencePool")
    return found


def _daemons(cluster: Cluster) -> list[tuple[Object, dict[str, str | None]]]:
    """istiod, or what will install it, with its environment; None where a value cannot be known."""
    found: list[tuple[Object, dict[str, str | None]]] = []
    for item in cluster.all("Deployment"):
        for container in objects(item, "spec", "template", "spec", "containers"):
            image = text(container, "image").partition("@")[0].rpartition("/")[2].partition(":")[0]
            if image == "pilot" or (name_of(item).startswith("istiod") and text(container, "name") == "discovery"):
                found.append((item, _environment(container)))
    for kind in ("IstioOperator", "Istio"):
        for item in cluster.all(kind):
            values = at(item, "spec", "values", "pilot", "env")
            listed = objects(item, "spec", "components", "pilot", "k8s", "env")
            found.append((item, {**_values(values), **{text(each, "name"): text(each, "value") for each in listed}}))
    return found


def _environment(container: Object) -> dict[str, str | None]:
    env = {
        text(each, "name"): None if "valueFrom" in each else text(each, "value") for each in objects(container, "env")
    }
    return {FLAG: None, **env} if objects(container, "envFrom") else {**env}


def _values(tree: Any) -> dict[str, str | None]:
    """Values may be booleans as well as text."""
    return {key: str(value) for key, value in tree.items()} if isinstance(tree, dict) else {}


def _is_true(value: str) -> bool:
    try:
        return flag_values.boolean(value)
    except ValueError:
        return False
