"""What the arguments of an endpoint picker's container say: OneHop's, or the Go picker's whose flags are ours too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from epp import flag_values
from epp.datastore import selectors
from epp.doctor.arguments import arguments, environment, parse
from epp.doctor.cluster import Cluster, Workload
from epp.doctor.tree import Object, key_of, namespace_of, pairs, text

OURS = {
    "pool", "pool-selector", "picker-service", "discovery-file", "semantic-config-file", "semantic-port",
    "decision-key-file", "fallback-endpoints", "admin-address", "events", "model-label", "serves", "tenant-from",
    "objective-from", "default-model", "unknown-model", "drain-notice",
}  # fmt: skip
PICKERS = OURS | {"pool-name", "pool-group", "endpoint-selector", "secure-serving", "grpc-health-port"}
GRPC_PORT = 9002


class Listening(NamedTuple):
    """One ext_proc port: whether it speaks TLS (None: not known), and the pool it decides in, empty for all."""

    tls: bool | None
    pool: str = ""


@dataclass(frozen=True, slots=True)
class Picker:
    """A container that is an endpoint picker, by the flags it is given."""

    workload: Workload
    flags: Mapping[str, tuple[str, ...]]
    is_onehop: bool
    variables: Mapping[str, str]

    def last(self, flag: str, default: str = "") -> str:
        """The value that counts."""
        return (self.flags.get(flag) or (default,))[-1]

    def switch(self, flag: str, default: bool) -> bool | None:
        """A boolean; None where its text is none."""
        return _truth(self.last(flag), default)

    @property
    def namespace(self) -> str:
        """Where its pools, objectives and rewrites are."""
        return self.last("pool-namespace") or self.variables.get("NAMESPACE") or self.workload.namespace

    @property
    def named_pools(self) -> dict[str, int | None]:
        """The pools it is told by name (`namespace/name`), with the port that is theirs alone."""
        found: dict[str, int | None] = {}
        if self.last("pool-name") and not self.last("discovery-file"):
            found[f"{self.namespace}/{self.last('pool-name')}"] = None
        for word in self.flags.get("pool", ()):
            try:
                pool = flag_values.pool_port(word)
            except ValueError:
                continue
            found[f"{pool.namespace or self.namespace}/{pool.name}"] = pool.port
        return found

    @property
    def ports(self) -> dict[int, Listening]:
        """Where it answers ext_proc."""
        tls = self.switch("secure-serving", default=True)
        found = {_port(self.last("grpc-port"), GRPC_PORT): Listening(tls)}
        found |= {port: Listening(tls, key) for key, port in self.named_pools.items() if port is not None}
        semantic = _port(self.last("semantic-port"), 0)
        return found | ({semantic: Listening(tls=False)} if semantic else {})

    def picks_for(self, pool: Object, service: str) -> bool | None:
        """Whether this pool is one of its own; None where its arguments cannot tell."""
        if key_of(pool) in self.named_pools:
            return True
        by_label, by_service = self.last("pool-selector"), self.last("picker-service")
        if self.last("discovery-file") or self.last("endpoint-selector"):
            return None
        if not (by_label or by_service or self.named_pools):
            return None
        return namespace_of(pool) == self.namespace and (by_service == service or _fits(by_label, pool))


def pickers(workload: Workload) -> Iterator[Picker]:
    """The pickers of a pod."""
    for container in workload.containers:
        words = arguments(container, workload.namespace)
        variables = environment(container, workload.namespace)
        flags = parse(words)
        is_onehop = bool(OURS & flags.keys()) or _is_our_image(container, words)
        if is_onehop:
            flags = {**_from_environment(variables), **flags}
        if is_onehop or PICKERS & flags.keys():
            yield Picker(workload, flags, is_onehop, variables)


def all_pickers(cluster: Cluster) -> list[Picker]:
    """Every picker there is."""
    return [picker for workload in cluster.workloads for picker in pickers(workload)]


def _is_our_image(container: Object, words: list[str]) -> bool:
    """The image is ours and is not told to be something else, such as the simulator."""
    image = text(container, "image").partition("@")[0].rpartition("/")[2].partition(":")[0]
    return image.startswith("onehop") and (not words or words[0] == "serve" or words[0].startswith("-"))


def _from_environment(variables: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """OneHop reads every flag from its environment as well."""
    prefix = "ONEHOP_"
    return {
        name.removeprefix(prefix).lower().replace("_", "-"): tuple(value.split())
        for name, value in variables.items()
        if name.startswith(prefix) and value
    }


def _fits(selector: str, pool: Object) -> bool:
    try:
        return bool(selector) and selectors.parse(selector).matches(pairs(pool, "metadata", "labels"))
    except ValueError:
        return False


def _truth(value: str, default: bool) -> bool | None:
    if not value:
        return default
    try:
        return flag_values.boolean(value)
    except ValueError:
        return None


def _port(value: str, default: int) -> int:
    return int(value) if value.isascii() and value.isdigit() else default
