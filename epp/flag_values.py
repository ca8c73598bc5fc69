"""What flags look like as text -> values: Go's durations and booleans, Kubernetes' quantities, addresses.

Every function raises ValueError with a sentence that shows the text and says what it should look like.
"""

from __future__ import annotations

import ipaddress
import re

_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TERM = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_POWERS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(k|M|G|T|Ki|Mi|Gi|Ti|)")
_TRUE, _FALSE = {"1", "t", "true"}, {"0", "f", "false"}
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
