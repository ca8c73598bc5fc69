"""A request in stages on endpoints of their own: encode and prefill for the one that decodes.

The gateway sends the request to the decoding endpoint; the headers tell its sidecar where the other stages are done.
A stage that finds no endpoint is done where the request goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from epp.domain import Endpoint
from epp.scheduling.framework import Profile, Query
from epp.scheduling.handlers import Decider
from epp.scheduling.pick import Pick

PREFILL_HEADER = "x-prefiller-host-port"
ENCODE_HEADER = "x-encoder-hosts-ports"
RANK_HEADER = "x-data-parallel-host-port"


@dataclass(slots=True, frozen=True)
class Stages:
    """The profiles of the stages, those of encode and prefill empty where there is none, and who decides about them.

    Without a decider a stage that has a profile is always done apart.
    """

    decode: str
    prefill: str = ""
    encode: str = ""
    prefill_decider: Decider | None = None
    encode_decider: Decider | None = None

    def decode_first(self, query: Query, endpoints: Sequence[Endpoint], profiles: Mapping[str, Profile]) -> Pick | None:
        """Decode is chosen, then, where they are worth it, encode and prefill."""
        pick = profiles[self.decode].run(query, endpoints)
        if pick is None:
            return None
        query.brings().picks[self.decode] = pick.endpoint
        self._encode(query, profiles, pick.endpoint)
        if _wanted(self.prefill, self.prefill_decider, profiles, query, pick.endpoint):
            self._beside(query, profiles[self.prefill], PREFILL_HEADER, pick.endpoint)
        return pick

    def prefill_first(
        self, query: Query, endpoints: Sequence[Endpoint], profiles: Mapping[str, Profile]
    ) -> Pick | None:
        """Prefill is chosen before anything else, then decode."""
        if self.prefill in profiles:
            self._beside(query, profiles[self.prefill], PREFILL_HEADER)
        pick = profiles[self.decode].run(query, endpoints)
        if pick is None:
            return None
        query.brings().picks[self.decode] = pick.endpoint
        self._encode(query, profiles, pick.endpoint)
        return pick

    def _encode(self, query: Query, profiles: Mapping[str, Profile], decode: Endpoint) -> None:
        if _wanted(self.encode, self.encode_decider, profiles, query, decode):
            self._beside(query, profiles[self.encode], ENCODE_HEADER, decode)

    def _beside(self, query: Query, profile: Profile, header: str, decode: Endpoint | None = None) -> None:
        pick = profile.run(query, query.able)
        if pick is None or pick.endpoint is decode:
            return
        extra = query.brings()
        chosen = [pick.endpoint, *pick.further] if header == ENCODE_HEADER else [pick.endpoint]
        extra.headers.append((header, ",".join(e.address for e in chosen)))
        extra.picks[profile.name] = pick.endpoint
        if header == PREFILL_HEADER:
            extra.beside.append(pick.endpoint)


def through_primary_port(query: Query, pick: Pick, port: int) -> None:
    """The request goes to the pod's primary port, whose sidecar hands it on to the rank that the header names."""
    extra, address = query.brings(), pick.endpoint.address
    extra.headers.append((RANK_HEADER, address))
    extra.destination = f"{address.rpartition(':')[0]}:{port}"


def _wanted(
    name: str, decider: Decider | None, profiles: Mapping[str, Profile], query: Query, decode: Endpoint
) -> bool:
    return name in profiles and (decider is None or decider.apart(query, decode))
