"""What flags look like as text -> values: Go's durations and booleans, Kubernetes' quantities, addresses.

Every function raises ValueError with a sentence that shows the text and says what it should look like.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TERM = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_POWERS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(k|M|G|T|Ki|Mi|Gi|Ti|)")
TARGET_PORTS_MAX = 8  # of an InferencePool
_TRUE, _FALSE = {"1", "t", "true"}, {"0", "f", "false"}
_OBJECT_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_DNS_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?")


def seconds(value: object) -> object:
    """A Go duration (`1m30s`) or a plain number of seconds; what is not text passes."""
    if not isinstance(value, str):
        return value
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    terms = _TERM.findall(value)
    if not terms or "".join(number + unit for number, unit in terms) != value:
        raise ValueError(f"'{value}' is not a duration such as 500ms, 30s or 1m30s")
    return sum(float(number) * _UNITS_S[unit] for number, unit in terms)


def quantity(value: object) -> object:
    """A Kubernetes quantity of bytes (`10Mi`, `4M`, `4194304`); what is not text passes."""
    if not isinstance(value, str):
        return value
    found = _QUANTITY.fullmatch(value)
    if found is None:
        raise ValueError(f"'{value}' is not a quantity such as 4194304, 10M or 10Mi")
    return int(float(found[1]) * _POWERS[found[2]])


def boolean(value: str) -> bool:
    """A Go boolean."""
    text = value.lower()
    if text not in _TRUE | _FALSE:
        raise ValueError(f"'{value}' is not a boolean: true or false")
    return text in _TRUE


def host_and_port(value: str) -> str:
    """`host:port`, unchanged."""
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"'{value}' is not host:port")
    return value


def names(value: str) -> str:
    """Host names or addresses separated by commas, unchanged."""
    for name in filter(None, value.split(",")):
        if not (_DNS_NAME.fullmatch(name) or is_address(name)):
            raise ValueError(f"'{name}' is neither a host name nor an IP address")
    return value


def is_address(host: str) -> bool:
    """Whether this is an IP address and not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host_port: str) -> bool:
    """Whether only this machine can reach `host:port`. Names other than localhost are taken for reachable."""
    host = host_port.rpartition(":")[0].strip("[]")
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


class PoolPort(NamedTuple):
    """A pool, and its own ext_proc port if it has one; the namespace is empty where none was named."""

    namespace: str
    name: str
    port: int | None


def pool_port(value: str) -> PoolPort:
    """`[NAMESPACE/]NAME[=PORT]`."""
    key, equals, port = value.partition("=")
    namespace, slash, name = key.rpartition("/")
    if not _OBJECT_NAME.fullmatch(name) or (slash and not _OBJECT_NAME.fullmatch(namespace)):
        raise ValueError(f"'{value}' is not [NAMESPACE/]NAME[=PORT]")
    if equals and not (port.isascii() and port.isdigit() and 0 < int(port) <= 65535):
        raise ValueError(f"'{port}' of '{value}' is not a port from 1 to 65535")
    return PoolPort(namespace, name, int(port) if equals else None)


def object_name(value: str) -> str:
    """The name of a Kubernetes object, unchanged."""
    if not _OBJECT_NAME.fullmatch(value):
        raise ValueError(f"'{value}' is not the name of a Kubernetes object")
    return value


def ports(value: object) -> object:
    """1 to 8 ports separated by commas, in brackets or not; what is not text passes."""
    if not isinstance(value, str):
        return value
    inner = value[1:-1] if value[:1] + value[-1:] == "[]" else value
    numbers = [number.strip() for number in inner.split(",")] if inner.strip() else []
    if not all(number.isascii() and number.isdigit() and 0 < int(number) <= 65535 for number in numbers):
        raise ValueError(f"'{value}' is not a list of ports from 1 to 65535, such as 8000,8001")
    found = tuple(int(number) for number in numbers)
    if len(set(found)) != len(found) or len(found) > TARGET_PORTS_MAX:
        raise ValueError(f"'{value}' must name at most {TARGET_PORTS_MAX} ports, each once")
    return found
