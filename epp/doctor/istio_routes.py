"""What Istio makes of routes to pools that it does not mean; none of it where one filter stands in for Istio's."""

from __future__ import annotations

from collections.abc import Iterator

from epp.doctor import envoyfilters
from epp.doctor.cluster import Cluster
from epp.doctor.findings import Finding, NotChecked, problem, warning
from epp.doctor.gateways import Rule, backend_pool
from epp.doctor.istio import istio_rules
from epp.doctor.services import picker_of
from epp.doctor.tree import key_of, objects, text


def cors(cluster: Cluster) -> Iterator[Finding]:
    """A CORS or fault filter makes Istio forget the picker of the rule."""
    for rule in _untouched(cluster):
        kinds = {text(each, "type") for each in objects(rule.rule, "filters")}
        kinds |= {text(each, "extensionRef", "kind") for each in objects(rule.rule, "filters")}
        kinds |= {str(key) for each in objects(rule.rule, "filters") for key in each}
        if any(kind.lower() in ("cors", "fault", "faultinjection") for kind in kinds):
            yield problem(
                rule.title,
                "Istio drops the picker of a rule with a CORS or fault filter: its requests go round robin, silently.",
                "Answer CORS elsewhere (before the gateway, or in the model server), or use the one-hop wiring.",
            )


def weighted_pools(cluster: Cluster) -> Iterator[Finding]:
    """Of several backends in one rule, Istio asks the picker of the last only."""
    for rule in _untouched(cluster):
        backends = objects(rule.rule, "backendRefs")
        keys = [backend_pool(rule.route, ref) for ref in backends]
        if len(backends) < 2:
            continue
        asked = {picker_of(cluster, key) for key in keys if key}
        if not keys[-1]:
            yield problem(
                rule.title,
                "its last backend is no InferencePool, so Istio asks no picker for any of them.",
                "Name the pools last, or give the Service a rule of its own.",
            )
        elif len(asked) > 1:
            every_picker_is_known = not any(isinstance(each, str) for each in asked)
            yield (problem if every_picker_is_known else warning)(
                rule.title,
                f"Istio asks the picker of the last pool ({keys[-1]}) for all of them; what it picks is of no use to"
                " the others, which are balanced round robin.",
                "Split by weight with an InferenceModelRewrite, or give each pool a rule of its own.",
            )
        elif len(set(keys)) > 1:
            yield warning(
                rule.title,
                "the gateway draws the pool by weight by itself, so a pod that was picked in another of these pools"
                " is passed over.",
                "Split by weight with an InferenceModelRewrite, or give each pool a rule of its own.",
            )


def rule_names(cluster: Cluster) -> Iterator[Finding]:
    """Istio keeps the pickers of a Gateway by the rule's name alone."""
    users: dict[tuple[str, str], dict[str, Rule]] = {}
    for rule in _untouched(cluster):
        name = text(rule.rule, "name")
        if name:
            users.setdefault((rule.gateway, name), {}).setdefault(key_of(rule.route), rule)
    for (gateway, name), routes in sorted(users.items()):
        if len(routes) > 1:
            yield problem(
                f"Gateway {gateway}",
                f"the HTTPRoutes {', '.join(sorted(routes))} each have a rule called {name}, and Istio keeps the picker"
                " of one of them for all.",
                "Leave the names of rules away, or make them different.",
            )


def _untouched(cluster: Cluster) -> list[Rule]:
    """Rules on Gateways where Istio's own filter does the work."""
    found = istio_rules(cluster)
    left = [rule for rule in found if not envoyfilters.is_replaced(cluster, rule.gateway)]
    if not left:
        raise NotChecked("one filter stands in for Istio's, which is what this would break")
    return left
