"""Where requests go: a chain of our own, or a URL that somebody gave."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

CHAT = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Target:
    """An address, the HTTP path and host name to ask for, and the processes whose CPU counts."""

    name: str
    address: tuple[str, int]
    path: str
    host: str
    tls_name: str | None = None
    """Over TLS, to a server with this name."""
    envoy: int | None = None
    picker: int | None = None
    """Whoever chooses: an ext_proc picker, or another router that proxies."""
    ext_proc: bool = False
    """Whether Envoy asks it, and counts that."""
    admin: int | None = None
    """Envoy's admin port."""
    metrics: int | None = None
    """The port of our own picker's metrics."""
    page: int | None = None
    """The port of its live page."""

    @property
    def processes(self) -> dict[str, int]:
        """Role -> process id."""
        pids = {"picker": self.picker, "envoy": self.envoy}
        return {role: pid for role, pid in pids.items() if pid is not None}


def parse_url(url: str, *, remote: bool) -> Target:
    """A target; the name is looked up once, so that what was checked is what is asked. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"--url: {url!r} is not http://HOST:PORT or https://HOST:PORT")
    if parts.username or parts.query or parts.fragment:
        raise ValueError("--url: no user, query or fragment; headers go into --header")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = resolve(parts.hostname, port, remote=remote, flag="--url")
    path = parts.path.rstrip("/")
    path = path if path.endswith("/chat/completions") else path.removesuffix("/v1") + CHAT
    return Target(url, (address, port), path, parts.netloc, parts.hostname if parts.scheme == "https" else None)


def resolve(host: str, port: int, *, remote: bool, flag: str) -> str:
    """An IP address of the host: a loopback one unless `remote`. Raises ValueError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise ValueError(f"{flag}: {host!r} has no address: {error.strerror}") from None
    addresses = [str(row[4][0]) for row in found]
    outside = [address for address in addresses if not ipaddress.ip_address(address).is_loopback]
    if outside and not remote:
        raise ValueError(
            f"{flag}: {host} is {outside[0]}, not this machine; load goes elsewhere only with --allow-remote"
        )
    return addresses[0]


def parse_address(text: str, *, remote: bool, flag: str) -> str:
    """`HOST:PORT` with the host looked up. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{flag}: {text!r} is not HOST:PORT")
    address = resolve(host.strip("[]"), int(port), remote=remote, flag=flag)
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
