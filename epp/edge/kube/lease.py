"""When a lease may be taken, and what is written into it: as Go's clients do, so that both can compete for one.

Must stay true: a lease runs out by our own clock since we last saw it change, never by comparing the times written in
it; a holder that stops earlier than the others can begin is never one of two.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from epp.edge.kube.client import Object, Resource

LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")


@dataclass(frozen=True, slots=True)
class Terms:
    """Seconds. Others wait `lease_s` for a sign of life; who could not give one for `renew_s` has stepped down.

    Attempts are `retry_s` apart; those who wait add up to `jitter` times as much.
    """

    lease_s: int = 15
    renew_s: float = 10.0
    retry_s: float = 2.0
    jitter: float = 1.2

    def __post_init__(self) -> None:
        if not self.lease_s > self.renew_s > self.retry_s > 0:
            raise ValueError("lease_s must be longer than renew_s, and that longer than retry_s")


@dataclass(slots=True, eq=False)
class Observed:
    """What one candidate knows of the lease: whose it was when last seen, and since when it is unchanged."""

    identity: str
    terms: Terms
    holder: str = ""
    duration_s: float = 0.0
    since: float = 0.0
    version: str | None = None

    def look(self, lease: Object | None, now: float) -> None:
        """Any write is a sign of life, whatever it says; and a holder whose lease is deleted may well go on leading."""
        version = _part(lease, "metadata").get("resourceVersion")
        if version != self.version:
            self.version = version
            self.since = now
        if lease is None:
            return
        spec = _part(lease, "spec")
        holder, duration_s = spec.get("holderIdentity"), spec.get("leaseDurationSeconds")
        self.holder = holder if isinstance(holder, str) else ""
        self.duration_s = duration_s if isinstance(duration_s, int) else self.terms.lease_s

    def is_free(self, now: float) -> bool:
        """Whether we may write ourselves into it: nobody's, ours already, or run out."""
        return self.holder in ("", self.identity) or now - self.since > self.duration_s


def claimed(lease: Object | None, name: str, identity: str, terms: Terms, wall: datetime) -> Object:
    """The lease with us as its holder since now, or renewed if it is ours already."""
    spec = _part(lease, "spec")
    written = time(wall)
    renewed = spec.get("holderIdentity") == identity
    transitions = spec.get("leaseTransitions")
    count = transitions if isinstance(transitions, int) else 0
    return {
        "apiVersion": LEASES.api_version,
        "kind": LEASES.kind,
        "metadata": _part(lease, "metadata") or {"name": name},
        "spec": spec
        | {
            "holderIdentity": identity,
            "leaseDurationSeconds": terms.lease_s,
            "acquireTime": spec.get("acquireTime", written) if renewed else written,
            "renewTime": written,
            "leaseTransitions": count if renewed or lease is None else count + 1,
        },
    }


def released(lease: Object, wall: datetime) -> Object:
    """The lease as nobody's, to be had at once."""
    written = time(wall)
    spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "acquireTime": written, "renewTime": written}
    return lease | {"spec": _part(lease, "spec") | spec}


def time(wall: datetime) -> str:
    """As Kubernetes writes a MicroTime."""
    return wall.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _part(lease: Object | None, name: str) -> Object:
    part = (lease or {}).get(name)
    return part if isinstance(part, dict) else {}
