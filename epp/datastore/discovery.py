"""The discovery file -> the endpoints it lists, or every mistake in it.

    endpoints:
    - name: llama-0            # required
      namespace: default       # this is the default
      address: 10.0.0.7        # required: IPv4, IPv6 or a host name
      port: 8000               # required: 1 to 65535, as a number or a string
      labels: {app: vllm}

YAML or JSON (which is YAML); an empty list is a pool scaled to zero. Strict: what is not known is a mistake, because
a misspelt key would silently lose an endpoint. Must stay true: whatever the bytes are, the result is endpoints or
`ConfigError`s.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import yaml

from epp.datastore.pool import Listed
from epp.domain import ConfigError
from epp.yaml_tree import compose, digits, is_null, quoted, shown, string

FILE_BYTES_MAX = 1 << 20
NAME_LENGTH_MAX = 253

_NONE_MEANT = "write `endpoints: []` for a pool without endpoints"
_NAME = re.compile(r"[^\s/\x00-\x1f\x7f]+")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_HOST_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
# A last label of digits only would be a mistyped IPv4 address.
_HOST = re.compile(rf"(?:{_HOST_LABEL}\.)*(?![0-9]+\.?$){_HOST_LABEL}\.?")


def parse(text: bytes) -> list[Listed]:
    """The endpoints of a file without mistakes; else the first mistake is raised and the others are counted in it."""
    listed, mistakes = examine(text)
    if not mistakes:
        return listed
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    raise ConfigError(mistakes[0].path, mistakes[0].message + more)


def examine(text: bytes) -> tuple[list[Listed], list[ConfigError]]:
    """The endpoints that have no mistake, and every mistake of the file."""
    reading = _Reading()
    with reading.noting():
        reading.file(text)
    return reading.listed, reading.mistakes


@dataclass(slots=True)
class _Reading:
    """One pass over the file; a mistake is noted and the pass goes on behind it."""

    listed: list[Listed] = field(default_factory=list)
    mistakes: list[ConfigError] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def noting(self) -> Iterator[None]:
        try:
            yield
        except ConfigError as mistake:
            self.mistakes.append(mistake)

    def file(self, text: bytes) -> None:
        if len(text) > FILE_BYTES_MAX:
            raise ConfigError("file", f"is larger than {FILE_BYTES_MAX} bytes")
        root = compose(text)
        if root is None:
            raise ConfigError("file", f"is empty; {_NONE_MEANT}")
        fields = self.mapping(root, "", ("endpoints",))
        if "endpoints" not in fields:
            raise ConfigError("endpoints", f"is required; {_NONE_MEANT}")
        items = fields["endpoints"]
        if not isinstance(items, yaml.SequenceNode):
            raise ConfigError("endpoints", f"must be a list, not {shown(items)}; {_NONE_MEANT}")
        for index, item in enumerate(items.value):
            with self.noting():
                self.endpoint(item, f"endpoints[{index}]")

    def endpoint(self, node: yaml.Node, path: str) -> None:
        mistakes_before = len(self.mistakes)
        fields = self.mapping(node, path, ("name", "namespace", "address", "port", "labels"))
        namespace, name, host, port, labels = "", "", "", 0, dict[str, str]()
        with self.noting():
            namespace = _name(fields, path, "namespace") if "namespace" in fields else "default"
        with self.noting():
            name = _name(fields, path, "name")
        with self.noting():
            host = _host(fields, path)
        with self.noting():
            port = _port(fields, path)
        with self.noting():
            labels = self.labels(fields, f"{path}.labels")
        if namespace and name:
            self.claim(self.names, f"{namespace}/{name}", f"{path}.name")
        if host and port:
            self.claim(self.addresses, f"{host}:{port}", f"{path}.address")
        if len(self.mistakes) == mistakes_before:
            self.listed.append(Listed(f"{namespace}/{name}", f"{host}:{port}", labels))

    def labels(self, fields: Mapping[str, yaml.Node], path: str) -> dict[str, str]:
        labels = {}
        if "labels" in fields:
            for key, value in self.mapping(fields["labels"], path, None).items():
                with self.noting():
                    labels[key] = string(value, f"{path}.{key}")
        return labels

    def mapping(self, node: yaml.Node, path: str, known: tuple[str, ...] | None) -> dict[str, yaml.Node]:
        """Key -> node; only `known` keys (None: any), each once. A key with nothing behind it counts as not given."""
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(path or "file", f"must be a mapping, not {shown(node)}")
        fields: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            with self.noting():
                key = string(key_node, f"{path or 'file'} (a key)")
                inside = f"{path}.{key}" if path else key
                if known is not None and key not in known:
                    raise ConfigError(inside, f"unknown key; {_suggestion(key, known)}")
                if key in fields:
                    raise ConfigError(inside, "is given twice")
                fields[key] = value
        return {key: value for key, value in fields.items() if not is_null(value)}

    def claim(self, taken: dict[str, str], value: str, path: str) -> None:
        first = taken.setdefault(value, path)
        if first != path:
            self.mistakes.append(ConfigError(path, f"{quoted(value)} is already taken by {first}"))


def _name(fields: Mapping[str, yaml.Node], path: str, key: str) -> str:
    text = string(_required(fields, path, key), f"{path}.{key}")
    if len(text) > NAME_LENGTH_MAX or not _NAME.fullmatch(text):
        rule = f"must be 1 to {NAME_LENGTH_MAX} characters without spaces and slashes"
        raise ConfigError(f"{path}.{key}", f"{rule}, not {quoted(text)}")
    return text


def _host(fields: Mapping[str, yaml.Node], path: str) -> str:
    """The host as it stands in `host:port`: IPv6 in brackets and in its short form, names in lower case."""
    text = string(_required(fields, path, "address"), f"{path}.address")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        if len(text) <= NAME_LENGTH_MAX and _HOST.fullmatch(text):
            return text.lower()
    else:
        if not address.is_unspecified and "%" not in text:
            return f"[{address}]" if address.version == 6 else str(address)
    rule = "must be an IPv4 address, an IPv6 address or a host name, without scheme, brackets and port"
    raise ConfigError(f"{path}.address", f"{rule}, not {quoted(text)}")


def _port(fields: Mapping[str, yaml.Node], path: str) -> int:
    node = _required(fields, path, "port")
    text = digits(node)
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise ConfigError(f"{path}.port", f"must be a whole number from 1 to 65535, not {shown(node)}")
    return int(text)


def _required(fields: Mapping[str, yaml.Node], path: str, key: str) -> yaml.Node:
    if key not in fields:
        raise ConfigError(f"{path}.{key}", "is required")
    return fields[key]


def _suggestion(key: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f'did you mean "{near[0]}"?' if near else f"valid keys are {', '.join(known)}"
