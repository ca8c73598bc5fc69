"""Kubernetes JSON -> the objects we follow, with only what we need of them.

Must stay true: whatever the tree is, a decoder gives a value or raises `BadObject`. A field that would change what an
object means and that we do not know makes it bad: to drop a condition silently would widen it. Elsewhere unknown
fields pass, since newer servers add some.
"""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from epp.datastore.selectors import Selector

POOL_GROUP = "inference.networking.k8s.io"
OLD_POOL_GROUP = "inference.networking.x-k8s.io"
ACTIVE_PORTS = ("llm-d.ai/active-ports", "inference.networking.k8s.io/active-ports")  # the second is its old name
PICKER_PORT = 9002  # where v1alpha2 names none
PORTS_MAX = 8


class BadObject(Exception):
    """An object we cannot use: `namespace/name: which field: what is wrong with it`."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key}: {message}")
        self.key = key
        self.message = message


@dataclass(slots=True, frozen=True)
class Named:
    """An object of a namespace."""

    namespace: str
    name: str

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


@dataclass(slots=True, frozen=True)
class InferencePool(Named):
    """Which pods form a pool, on which ports they answer, and the Service of its endpoint picker (if it is one)."""

    uid: str
    group: str
    labels: Mapping[str, str]
    selector: Mapping[str, str]
    ports: tuple[int, ...]
    picker: str | None = None
    picker_port: int | None = None
    fail_open: bool = False
    app_protocol: str = "http"


@dataclass(slots=True, frozen=True)
class Pod(Named):
    """A pod as far as it may be an endpoint.

    `ready` pods have an IP, are not being deleted and have not ended. `active_ports` None: all target ports.
    """

    uid: str
    ip: str
    labels: Mapping[str, str] = field(default_factory=dict)
    ready: bool = False
    active_ports: tuple[int, ...] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class PoolRef:
    """A pool of the object's own namespace."""

    group: str
    name: str


@dataclass(slots=True, frozen=True)
class Objective(Named):
    """The priority of the requests that name this objective; negative ones are shed first."""

    pool: PoolRef
    priority: int = 0
    uid: str = ""


@dataclass(slots=True, frozen=True)
class Target:
    """A model to send requests to, and its share."""

    model: str
    weight: int | None = None


@dataclass(slots=True, frozen=True)
class RewriteRule:
    """Requests for any of the models `matches` (for any model at all where it is empty) go to one of the targets."""

    matches: tuple[str, ...]
    targets: tuple[Target, ...]


@dataclass(slots=True, frozen=True)
class Rewrite(Named):
    """The rules of one InferenceModelRewrite; `created` is UTC text that sorts by time, empty where it is unknown."""

    created: str
    uid: str
    pool: PoolRef
    rules: tuple[RewriteRule, ...] = ()


def decode_pool(tree: Mapping[str, Any]) -> InferencePool:
    """An InferencePool of version v1 or v1alpha2, told apart by its apiVersion (v1 where it has none)."""
    given = tree.get("apiVersion") if isinstance(tree, Mapping) else None
    group, _, version = str(given or f"{POOL_GROUP}/v1").rpartition("/")
    if version == "v1":
        return _pool_v1(tree, group)
    if version == "v1alpha2":
        return _pool_v1alpha2(tree, group)
    raise BadObject(_key(tree), f"apiVersion: must be v1 or v1alpha2, not {_shown(version)}")


def decode_pod(tree: Mapping[str, Any]) -> Pod:
    """A Pod; a malformed active-ports annotation is a warning and leaves all its ports active."""
    found = _convert(tree, _PodTree)
    meta, status = found.metadata, found.status or _PodStatus()
    ip = _ip(meta.key, status.pod_ip or "")
    ended = meta.deletion_timestamp is not None or status.phase in ("Succeeded", "Failed")
    is_ready = any(c.type == "Ready" and c.status == "True" for c in status.conditions or ())
    active_ports, warnings = _active_ports(meta.annotations or {})
    return Pod(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid or "",
        ip=ip,
        labels=_labels(meta),
        ready=is_ready and not ended and bool(ip),
        active_ports=active_ports,
        warnings=warnings,
    )


def decode_objective(tree: Mapping[str, Any]) -> Objective:
    """An InferenceObjective of either group."""
    found = _convert(tree, _ObjectiveTree)
    meta, spec = found.metadata, found.spec
    return Objective(meta.namespace, meta.name, _ref(spec.pool_ref), spec.priority or 0, meta.uid or "")


def decode_rewrite(tree: Mapping[str, Any]) -> Rewrite:
    """An InferenceModelRewrite of either group."""
    found = _convert(tree, _RewriteTree)
    meta = found.metadata
    rules = tuple(
        RewriteRule(
            tuple(dict.fromkeys(match.model.value for match in rule.matches or ())),
            tuple(Target(target.model_rewrite, target.weight) for target in rule.targets),
        )
        for rule in found.spec.rules
    )
    return Rewrite(meta.namespace, meta.name, _created(meta), meta.uid or "", _ref(found.spec.pool_ref), rules)


# What the API server sends. A null is as good as nothing; the bounds are those of the resource definitions.

_Name = Annotated[str, msgspec.Meta(max_length=253, pattern=r"\A[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?\Z")]
_Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
_Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
_Weight = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
_Text = Annotated[str, msgspec.Meta(min_length=1)]
# It becomes the value of a header, where a control character would spoil every request that it is given to.
_Model = Annotated[str, msgspec.Meta(pattern=r"\A[^\x00-\x1f\x7f\ud800-\udfff]+\Z")]
_Selector = Annotated[dict[str, str], msgspec.Meta(min_length=1, max_length=64)]
_FailureMode = Literal["FailOpen", "FailClose"]


class _Tree(msgspec.Struct, rename="camel"):
    pass


class _Strict(_Tree, forbid_unknown_fields=True):
    pass


class _Metadata(_Tree):
    name: _Name
    namespace: _Name
    uid: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


class _PortNumber(_Tree):
    number: _Port


class _MatchLabels(_Strict):
    match_labels: _Selector


class _Ref(_Tree):
    name: _Text
    group: str | None = None
    kind: str | None = None
    failure_mode: _FailureMode | None = None

    @property
    def is_service(self) -> bool:
        return not self.group and (self.kind or "Service") == "Service"


class _PickerRef(_Ref):
    port: _PortNumber | None = None


class _PoolSpec(_Tree):
    selector: _MatchLabels
    target_ports: Annotated[list[_PortNumber], msgspec.Meta(min_length=1, max_length=PORTS_MAX)]
    endpoint_picker_ref: _PickerRef | None = None
    app_protocol: Literal["http", "kubernetes.io/h2c"] | None = None


class _PoolTree(_Tree):
    metadata: _Metadata
    spec: _PoolSpec


class _ExtensionRef(_Ref):
    port_number: _Port | None = None


class _OldPoolSpec(_Tree):
    selector: _Selector
    target_port_number: _Port
    extension_ref: _ExtensionRef | None = None


class _OldPoolTree(_Tree):
    metadata: _Metadata
    spec: _OldPoolSpec


class _Condition(_Tree):
    type: str
    status: str


class _PodStatus(_Tree):
    phase: str | None = None
    pod_ip: str | None = msgspec.field(default=None, name="podIP")
    conditions: list[_Condition] | None = None


class _PodTree(_Tree):
    metadata: _Metadata
    status: _PodStatus | None = None


class _PoolRefTree(_Tree):
    name: _Text
    group: str | None = None
    kind: Literal["InferencePool"] | None = None


class _ObjectiveSpec(_Tree):
    pool_ref: _PoolRefTree
    priority: _Int32 | None = None


class _ObjectiveTree(_Tree):
    metadata: _Metadata
    spec: _ObjectiveSpec


class _ModelMatch(_Strict):
    value: _Model
    type: Literal["Exact"] | None = None


class _Match(_Strict):
    model: _ModelMatch


class _TargetTree(_Strict):
    model_rewrite: _Model
    weight: _Weight | None = None


class _Rule(_Strict):
    targets: Annotated[list[_TargetTree], msgspec.Meta(min_length=1)]
    matches: list[_Match] | None = None


class _RewriteSpec(_Strict):
    pool_ref: _PoolRefTree
    rules: list[_Rule]


class _RewriteTree(_Tree):
    metadata: _Metadata
    spec: _RewriteSpec


_T = TypeVar("_T")
_WHERE = re.compile(r" - at `(?:\$|key in \$)\.?(.*)`\Z", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_NUMBER = re.compile(r"[1-9][0-9]{0,4}")


def _convert(tree: Mapping[str, Any], shape: type[_T]) -> _T:
    try:
        return msgspec.convert(tree, shape)
    except (msgspec.MsgspecError, UnicodeError, OverflowError) as error:
        raise BadObject(_key(tree), _explained(str(error))) from error


def _explained(message: str) -> str:
    """msgspec's message with the field first."""
    where = _WHERE.search(message)
    path, what = ("", message) if where is None else (where[1], message[: where.start()])
    what = what.replace(" | null`", "`")
    if named := _MISSING.fullmatch(what):
        path, what = f"{path}.{named[1]}".lstrip("."), "is required"
    elif named := _UNKNOWN.fullmatch(what):
        path, what = f"{path}.{named[1]}".lstrip("."), "is not known to us"
    elif "matching regex" in what:
        what = "is not a name" if path.startswith("metadata.") else "is empty or holds control characters"
    return _shown(f"{path}: {what}" if path else what, 300)


def _key(tree: Mapping[str, Any]) -> str:
    """The object's name for a message, also where it has none that is any good."""
    metadata = tree.get("metadata") if isinstance(tree, Mapping) else None
    given = metadata if isinstance(metadata, Mapping) else {}
    return "/".join(_shown(given.get(part)) if given.get(part) else "?" for part in ("namespace", "name"))


def _shown(value: object, length_max: int = 60) -> str:
    """A value of an object on one line, not too long."""
    text = str(value) if isinstance(value, str | int | float) else f"a {type(value).__name__}"
    shown = text if len(text) <= length_max else text[:length_max] + "..."
    return shown.encode("unicode_escape").decode()


def _pool_v1(tree: Mapping[str, Any], group: str) -> InferencePool:
    found = _convert(tree, _PoolTree)
    meta, spec, ref = found.metadata, found.spec, found.spec.endpoint_picker_ref
    ports = tuple(port.number for port in spec.target_ports)
    if len(set(ports)) < len(ports):
        raise BadObject(meta.key, "spec.targetPorts: a port is listed twice")
    # The port of a Service is required, but the gateway dials it and we do not: without it the pool is still usable.
    is_service = ref is not None and ref.is_service
    return InferencePool(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid or "",
        group=group,
        labels=_labels(meta),
        selector=_selector(meta.key, "spec.selector.matchLabels", spec.selector.match_labels),
        ports=ports,
        picker=ref.name if ref is not None and is_service else None,
        picker_port=ref.port.number if ref is not None and is_service and ref.port is not None else None,
        fail_open=ref is not None and ref.failure_mode == "FailOpen",
        app_protocol=spec.app_protocol or "http",
    )


def _pool_v1alpha2(tree: Mapping[str, Any], group: str) -> InferencePool:
    found = _convert(tree, _OldPoolTree)
    meta, spec, ref = found.metadata, found.spec, found.spec.extension_ref
    is_service = ref is not None and ref.is_service
    return InferencePool(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid or "",
        group=group,
        labels=_labels(meta),
        selector=_selector(meta.key, "spec.selector", spec.selector),
        ports=(spec.target_port_number,),
        picker=ref.name if ref is not None and is_service else None,
        picker_port=(ref.port_number or PICKER_PORT) if ref is not None and is_service else None,
        fail_open=ref is not None and ref.failure_mode == "FailOpen",
    )


def _selector(key: str, path: str, labels: dict[str, str]) -> dict[str, str]:
    """The labels as they are, if they can be any: the server checks no keys, and we send them to it as text."""
    try:
        Selector.of(labels)
    except ValueError as error:
        raise BadObject(key, f"{path}: {error}") from error
    return labels


def _ref(found: _PoolRefTree) -> PoolRef:
    return PoolRef(POOL_GROUP if found.group is None else found.group, found.name)


def _labels(meta: _Metadata) -> dict[str, str]:
    """The labels; thousands of pods share most of the words, so each word is kept once."""
    return {sys.intern(key): sys.intern(value) for key, value in (meta.labels or {}).items()}


def _ip(key: str, text: str) -> str:
    """The address in its short form, empty where there is none yet."""
    if not text:
        return ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        pass
    else:
        if not address.is_unspecified and "%" not in text:
            return str(address)
    raise BadObject(key, f"status.podIP: {_shown(text)} is not an IP address of a pod")


def _active_ports(annotations: Mapping[str, str]) -> tuple[tuple[int, ...] | None, tuple[str, ...]]:
    """The ports of the annotation and what is wrong with it; an empty one means that no port is active."""
    for annotation in ACTIVE_PORTS:
        text = annotations.get(annotation)
        if text is None:
            continue
        entries = [entry.strip() for entry in text.split(",")] if text.strip() else []
        if all(_NUMBER.fullmatch(entry) and int(entry) <= 65535 for entry in entries):
            return tuple(dict.fromkeys(map(int, entries))), ()
        return None, (f"annotation {annotation}: {_shown(text)} is not a list of ports such as 8000,8001",)
    return None, ()


def _created(meta: _Metadata) -> str:
    """The creation time in one spelling, so that text order is time order."""
    text = meta.creation_timestamp
    if not text:
        return ""
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is not None:
            return time.astimezone(UTC).isoformat(timespec="microseconds")
    except (ValueError, OverflowError):
        pass
    raise BadObject(meta.key, f"metadata.creationTimestamp: {_shown(text)} is not a time such as 2026-01-31T12:00:00Z")
