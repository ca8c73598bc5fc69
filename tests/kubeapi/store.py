"""What an API server remembers: objects, the history of their changes, and versions that only grow."""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass, field
from typing import Any

from epp.edge.kube.client import Resource

Object = dict[str, Any]
Key = tuple[Resource, str, str]  # resource, namespace, name


@dataclass(frozen=True)
class Change:
    """Object before and after, None where absent."""

    version: int
    resource: Resource
    old: Object | None
    new: Object | None


@dataclass
class Store:
    """`oldest` is the version since which the history is known; each change in it raises the version by one."""

    version: int = 1_000_000_000
    oldest: int = 1_000_000_000
    objects: dict[Key, Object] = field(default_factory=dict)
    history: list[Change] = field(default_factory=list)
    uids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def put(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        """Create or replace, and return what is stored."""
        key = resource, namespace, name
        old = self.objects.get(key)
        new = copy.deepcopy(body)
        metadata = new.setdefault("metadata", {})
        metadata |= {"name": name, "namespace": namespace, "resourceVersion": str(self.version + 1)}
        for member, value in {"uid": f"uid-{next(self.uids)}", "creationTimestamp": "2026-01-01T00:00:00Z"}.items():
            metadata.setdefault(member, old["metadata"][member] if old else value)
        new |= {"apiVersion": resource.api_version, "kind": resource.kind}
        self.objects[key] = new
        self._changed(resource, old, new)
        return new

    def remove(self, resource: Resource, namespace: str, name: str) -> None:
        old = self.objects.pop((resource, namespace, name))
        last = copy.deepcopy(old)
        last["metadata"]["resourceVersion"] = str(self.version + 1)
        self._changed(resource, last, None)

    def compact(self) -> None:
        """Forget the history: no watch and no list can go on from a version before this one."""
        self.history.clear()
        self.oldest = self.version

    def restored(self, version: int) -> Store:
        """A copy in which every object is of that version."""
        other = copy.deepcopy(self)
        other.version = version
        for item in other.objects.values():
            item["metadata"]["resourceVersion"] = str(version)
        return other

    def select(self, resource: Resource, namespace: str | None, labels: str) -> list[Object]:
        return [
            item
            for (of, within, _), item in sorted(self.objects.items(), key=lambda entry: entry[0][1:])
            if of == resource and namespace in (None, within) and matches(item, labels)
        ]

    def events(self, resource: Resource, namespace: str | None, labels: str, after: int) -> list[tuple[str, Object]]:
        """What a watcher of that selection is told; to it, an object that no longer matches is deleted."""
        told = []
        for change in self.history[after - self.oldest :]:
            if change.resource != resource:
                continue
            some = change.new or change.old
            assert some is not None
            if namespace not in (None, some["metadata"]["namespace"]):
                continue
            before = change.old is not None and matches(change.old, labels)
            if change.new is not None and matches(change.new, labels):
                told.append(("MODIFIED" if before else "ADDED", change.new))
            elif before:
                assert change.old is not None
                gone = copy.deepcopy(change.old)
                gone["metadata"]["resourceVersion"] = str(change.version)
                told.append(("DELETED", gone))
        return told

    def _changed(self, resource: Resource, old: Object | None, new: Object | None) -> None:
        self.version += 1
        self.history.append(Change(self.version, resource, old, new))


def matches(item: Object, labels: str) -> bool:
    """Equality and existence selectors, separated by commas."""
    has = item["metadata"].get("labels") or {}
    for term in filter(None, labels.split(",")):
        key, equals, value = term.partition("=")
        if key not in has or (equals and has[key] != value.removeprefix("=")):
            return False
    return True
