"""Whether a picker's service account may do what its flags ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from epp.doctor.cluster import POLICY_GROUPS, POOL_GROUPS, Cluster
from epp.doctor.findings import Finding, NotChecked, problem, unknown, warning
from epp.doctor.pickers import Picker, all_pickers
from epp.doctor.tree import Object, namespace_of, objects, text, texts

EVERYTHING = "cluster-admin"


class Need(NamedTuple):
    """Verbs on one resource, in any one of the groups; `without` is what happens without them."""

    namespace: str
    groups: tuple[str, ...]
    resource: str
    verbs: tuple[str, ...]
    without: str
    is_vital: bool = True


def rights(cluster: Cluster) -> Iterator[Finding]:
    """Every need of every picker, once for each service account."""
    judged = False
    seen = set()
    for picker in all_pickers(cluster):
        account = text(picker.workload.spec, "serviceAccountName") or "default"
        for need in needs(picker, cluster):
            if (picker.workload.namespace, account, need) in seen:
                continue
            seen.add((picker.workload.namespace, account, need))
            has_roles = cluster.live or _has_roles(cluster, need)
            if not has_roles and cluster.find("ServiceAccount", picker.workload.namespace, account) is None:
                continue
            judged = True
            # Files with the account and no role may still not be all the files there are.
            yield from _judge(cluster, picker, account, need, problem if need.is_vital and has_roles else warning)
    if not judged:
        raise NotChecked("no picker that asks the API server is seen, or neither its account nor roles are")


def needs(picker: Picker, cluster: Cluster) -> list[Need]:
    """What the flags ask for."""
    if picker.last("discovery-file"):
        return []
    by_pool = picker.named_pools or picker.last("pool-selector") or picker.last("picker-service")
    if not by_pool and not picker.last("endpoint-selector"):
        return []
    spaces = sorted({picker.namespace, *(key.partition("/")[0] for key in picker.named_pools)})
    if picker.named_pools and not (picker.last("pool-selector") or picker.last("picker-service")):
        spaces = sorted({key.partition("/")[0] for key in picker.named_pools})
    found = [
        Need(space, ("",), "pods", ("list", "watch"), "it knows no endpoint and never gets ready") for space in spaces
    ]
    if by_pool:
        for space in spaces:
            found += _of_pools(picker, cluster, space)
    if picker.switch("ha-enable-leader-election", default=False):
        lease = ("get", "create", "update")
        home = picker.namespace if picker.namespace in spaces else spaces[0]
        found.append(Need(home, ("coordination.k8s.io",), "leases", lease, "no replica becomes the leader or ready"))
    if picker.is_onehop and picker.switch("events", default=True):
        lost = "what an operator must know is in its log and /debug only"
        found += [Need(space, ("",), "events", ("create", "patch"), lost, is_vital=False) for space in spaces]
    return found


def _of_pools(picker: Picker, cluster: Cluster, space: str) -> Iterator[Need]:
    group = picker.last("pool-group") or POOL_GROUPS[0]
    pools = (group, *(each for each in POOL_GROUPS if each != group)) if _is_old(cluster) else (group,)
    yield Need(space, pools, "inferencepools", ("list", "watch"), "it knows no pool and never gets ready")
    for plural, lost in (
        ("inferenceobjectives", "requests have no priority (the Go picker never gets ready)"),
        ("inferencemodelrewrites", "no model is rewritten"),
    ):
        served = cluster.served
        if served is None or any(
            plural in found for version, found in served.items() if _group(version) in POLICY_GROUPS
        ):
            yield Need(space, POLICY_GROUPS, plural, ("list", "watch"), lost, is_vital=False)


def _judge(
    cluster: Cluster, picker: Picker, account: str, need: Need, lacking: Callable[[str, str, str], Finding]
) -> Iterator[Finding]:
    granted, unseen = _granted(cluster, picker.workload.namespace, account, need)
    missing = [verb for verb in need.verbs if verb not in granted]
    if not missing:
        return
    subject = f"ServiceAccount {picker.workload.namespace}/{account}"
    if unseen:
        what = f"it has {', '.join(sorted(unseen))}, which was not seen."
        yield unknown(
            subject, what, f"Ask: kubectl auth can-i {missing[0]} {need.resource} -n {need.namespace} --as=..."
        )
        return
    groups = " or ".join(group or "the core group" for group in need.groups)
    yield lacking(
        subject,
        f"it may not {' or '.join(missing)} {need.resource} ({groups}) in {need.namespace};"
        f" {picker.workload.title} needs that: without it {need.without}.",
        f"Add the verbs {', '.join(missing)} on {need.resource} to a Role in {need.namespace} that is bound to it.",
    )


def _has_roles(cluster: Cluster, need: Need) -> bool:
    """Whether these files are about rights there: they bind something, or have a role for this need."""
    roles = (role for role in cluster.all("Role") if namespace_of(role) == need.namespace)
    return bool(_bindings(cluster, need.namespace)) or any(_of_role(role, need) & {*need.verbs} for role in roles)


def _granted(cluster: Cluster, namespace: str, account: str, need: Need) -> tuple[set[str], set[str]]:
    """The verbs that are granted, and the roles that nobody has shown us."""
    verbs: set[str] = set()
    unseen = {"perhaps a ClusterRoleBinding"} if "ClusterRoleBinding" in cluster.unread else set()
    if cluster.hidden & {("Role", need.namespace), ("RoleBinding", need.namespace)}:
        unseen.add(f"perhaps a RoleBinding in {need.namespace}")
    for binding in _bindings(cluster, need.namespace):
        if not any(_is_meant(subject, binding, namespace, account) for subject in objects(binding, "subjects")):
            continue
        kind, name = text(binding, "roleRef", "kind"), text(binding, "roleRef", "name")
        role = cluster.find(kind, namespace_of(binding) if kind == "Role" else "", name)
        if kind == "ClusterRole" and name == EVERYTHING:
            verbs |= set(need.verbs)
        elif role is None:
            unseen.add(f"{kind} {name}")
        else:
            verbs |= _of_role(role, need)
    return verbs, unseen


def _bindings(cluster: Cluster, namespace: str) -> list[Object]:
    """What gives rights in that namespace."""
    here = [binding for binding in cluster.all("RoleBinding") if namespace_of(binding) == namespace]
    return [*here, *cluster.all("ClusterRoleBinding")]


def _is_meant(subject: Object, binding: Object, namespace: str, account: str) -> bool:
    kind, name = text(subject, "kind"), text(subject, "name")
    if kind == "ServiceAccount":
        return name == account and (text(subject, "namespace") or namespace_of(binding)) == namespace
    everybody = {"system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"}
    if kind == "Group":
        return name in everybody
    return kind == "User" and name == f"system:serviceaccount:{namespace}:{account}"


def _of_role(role: Object, need: Need) -> set[str]:
    granted = set()
    for rule in objects(role, "rules"):
        groups, resources = texts(rule, "apiGroups"), texts(rule, "resources")
        if not ({*groups} & {*need.groups, "*"} and {*resources} & {need.resource, "*"}):
            continue
        for verb in texts(rule, "verbs"):
            # A name cannot be known before `create`, and we list and watch without one.
            if not texts(rule, "resourceNames") or verb in ("get", "update", "patch"):
                granted |= set(need.verbs) if verb == "*" else {verb}
    return granted


def _is_old(cluster: Cluster) -> bool:
    """Whether pools may be of v1alpha2."""
    if cluster.served is not None:
        return f"{POOL_GROUPS[0]}/v1" not in cluster.served
    return any(text(pool, "apiVersion").startswith(POOL_GROUPS[1]) for pool in cluster.all("InferencePool"))


def _group(version: str) -> str:
    return version.rpartition("/")[0]
