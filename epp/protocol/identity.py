"""Where a name that decides about rights comes from: the tenant (fairness id), and the objective.

A client can write any header it likes. What it cannot forge is what the gateway sets itself or matched on: a header
that a filter before us fills (from a verified token, say), the host a listener is bound to, the route. So the operator
says where to look; only the protocol's own headers are taken as the reference picker takes them, on trust.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from epp.protocol.headers import first

NAME_LENGTH_MAX = 253  # of a Kubernetes name; longer values cannot be one and would only fill our memory


@dataclass(frozen=True, slots=True)
class Source:
    """One place to look; `names` are those of the headers or of the attribute."""

    kind: Literal["none", "headers", "host", "attribute"]
    names: tuple[str, ...] = ()

    def find(self, headers: Mapping[str, str], attributes: Mapping[str, str] | None) -> str | None:
        """What stands there; None when nothing does."""
        match self.kind:
            case "headers":
                found = first(headers, self.names)
            case "host":
                found = _host(headers)
            case "attribute":
                found = (attributes or {}).get(self.names[0])
            case "none":
                found = None
        return found[:NAME_LENGTH_MAX] if found else None


def source(text: str, own: tuple[str, ...]) -> Source:
    """`header` (the protocol's `own` names), `none`, `header:NAME`, `host` or `attribute:NAME`. Raises ValueError."""
    kind, _, name = text.partition(":")
    if text == "header":
        return Source("headers", own)
    if text in ("none", "host"):
        return Source("none" if text == "none" else "host")
    if kind == "header" and name:
        return Source("headers", (name.lower(),))
    if kind == "attribute" and name:
        return Source("attribute", (name,))
    raise ValueError(f"'{text}' is none of header, none, host, header:NAME, attribute:NAME")


def _host(headers: Mapping[str, str]) -> str | None:
    """The host the request was sent to, without its port, in lower case."""
    authority = headers.get(":authority") or headers.get("host") or ""
    name, colon, port = authority.rpartition(":")
    bare = name if colon and port.isdigit() else authority
    return bare.lower() or None
