"""Work out which endpoints were sent the start of this prompt before: their KV caches probably still hold it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from epp.domain import Endpoint, Request
from epp.plugin import duration
from epp.scheduling.calibration import Calibration
from epp.scheduling.framework import Answer, Producer, Query
from epp.scheduling.prefix import BYTES_PER_TOKEN, PrefixIndex, blocks_in, covered_bytes, hashes_of


@dataclass(slots=True)
class _Noted:
    """The prompt's hashes, and those that were new to the endpoint it was sent to."""

    hashes: list[int]
    new: list[int] = field(default_factory=list)


@dataclass(slots=True)
class ApproxPrefixCacheProducer(Producer):
    """Leading blocks of the prompt that each endpoint was sent before, least recently sent ones forgotten (llm-d).

    An endpoint that does not tell its cache's size, and with `autoTune: false` every one, is taken to hold
    `lruCapacityPerServer` blocks of `blockSizeTokens`. Of a prompt at most `maxPrefixTokensToMatch` tokens are looked
    at, or where that is 0 `maxPrefixBlocksToMatch` blocks; 0 for both is all that the index takes.
    """

    type: ClassVar[str] = "approx-prefix-cache-producer"
    makes: ClassVar[tuple[str, ...]] = ("prefix",)
    differs: ClassVar[str] = (
        "Prompts are compared in blocks of 64 tokens, past 8k tokens of 256, whatever `blockSizeTokens` says; a last"
        " block that is not full does not count. A prompt is looked at up to 480k tokens unless a maximum is given."
        " What the index believes follows the endpoint that really served, and the `cached_tokens` of its answers."
    )
    auto_tune: bool = True
    block_size_tokens: int = 16
    max_prefix_blocks_to_match: int = 0
    max_prefix_tokens_to_match: int = 0
    lru_capacity_per_server: int = 31_250
    index: PrefixIndex = field(init=False, repr=False)
    _blocks_max: int | None = field(init=False, repr=False)
    _calibration: Calibration = field(init=False, repr=False, compare=False, default_factory=Calibration)

    def __post_init__(self) -> None:
        for name in ("block_size_tokens", "lru_capacity_per_server"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0")
        for name in ("max_prefix_blocks_to_match", "max_prefix_tokens_to_match"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        tokens = self.max_prefix_tokens_to_match or self.max_prefix_blocks_to_match * self.block_size_tokens
        self._blocks_max = blocks_in(tokens * BYTES_PER_TOKEN) if tokens else None
        self.index = PrefixIndex(self.lru_capacity_per_server * self.block_size_tokens, engine_capacity=self.auto_tune)

    def produce(self, query: Query, endpoints: Sequence[Endpoint]) -> None:
        """Fills `cached` and `hashed` of the query from the index."""
        hashes = self._hashes(query.request, query.candidate.model)
        query.notes[id(self)] = _Noted(hashes)
        query.hashed = covered_bytes(len(hashes)) // BYTES_PER_TOKEN
        query.cached = self._tokens(query.request, query.candidate.model, hashes, endpoints)

    def cached(self, request: Request, model: str | None, endpoints: Sequence[Endpoint]) -> dict[Endpoint, int]:
        """Prompt tokens that each endpoint is believed to hold; those that hold none are left out."""
        return self._tokens(request, model, self._hashes(request, model), endpoints)

    def picked(self, query: Query, endpoint: Endpoint) -> None:
        """The endpoint will hold this prompt."""
        noted: _Noted = query.notes[id(self)]
        noted.new = self.index.insert(noted.hashes, endpoint)

    def moved(self, query: Query, picked: Endpoint, served: Endpoint) -> None:
        """The endpoint that served holds it, and the one picked only what it held before."""
        noted: _Noted = query.notes[id(self)]
        self.index.remove(noted.new, picked)
        noted.new = self.index.insert(noted.hashes, served)

    def ended(self, query: Query, endpoint: Endpoint, answer: Answer) -> None:
        """What the answer tells of its prompt's cached part corrects how much the endpoint is thought to hold."""
        usage = answer.usage
        if usage is None or not usage.prompt or not query.hashed:
            return
        by = self._calibration.note(endpoint, query.cached.get(endpoint, 0) / query.hashed, usage.cached / usage.prompt)
        if by != 1.0:
            self.index.scale(endpoint, by)

    def relisted(self, endpoints: Sequence[Endpoint]) -> None:
        """Forget the endpoints that left."""
        self.index.prune(endpoints)

    def _tokens(
        self, request: Request, model: str | None, hashes: list[int], endpoints: Sequence[Endpoint]
    ) -> dict[Endpoint, int]:
        """Looked up once while nothing changes: the gate asks, and then whoever picks."""
        about = id(self), model
        known = request.memo.get(about)
        if known is not None and known[0] == self.index.changes and known[1] is endpoints:
            found: dict[Endpoint, int] = known[2]
            return found
        found = self.index.tokens(hashes, endpoints)
        request.memo[about] = self.index.changes, endpoints, found
        return found

    def _hashes(self, request: Request, model: str | None) -> list[int]:
        hashes = hashes_of(request, model)
        return hashes if self._blocks_max is None else hashes[: self._blocks_max]


def _not_a_parameter(default: Any) -> Any:
    return field(init=False, repr=False, default=default)


@dataclass(slots=True)
class PrecisePrefixCacheProducer(ApproxPrefixCacheProducer):
    """In this version the approximate index under the name of the precise one: files that ask for it run, and are told.

    The parameters are the Go picker's; none has an effect, as all are about the engines' cache events.
    """

    type: ClassVar[str] = "precise-prefix-cache-producer"
    differs: ClassVar[str] = (
        "Engines' KV cache events are not read: what an endpoint holds is taken from what was sent there, sized by the"
        " engine's own cache and corrected by the `cached_tokens` of answers."
    )
    token_processor_config: dict[str, Any] = field(default_factory=dict)
    indexer_config: dict[str, Any] = field(default_factory=dict)
    kv_events_config: dict[str, Any] = field(default_factory=dict)
    speculative_indexing: bool = False
    speculative_ttl: float = duration(2.0, "speculativeTTL")
    auto_tune: bool = _not_a_parameter(True)
    block_size_tokens: int = _not_a_parameter(16)
    max_prefix_blocks_to_match: int = _not_a_parameter(0)
    max_prefix_tokens_to_match: int = _not_a_parameter(0)
    lru_capacity_per_server: int = _not_a_parameter(31_250)

    def notes(self) -> list[str]:
        """It is not what was asked for."""
        return [
            "ENGINES' KV CACHE EVENTS ARE NOT READ IN THIS VERSION: the approximate index runs in place of the precise"
            " one, and the parameters have no effect; prefixes are still matched, by what was sent where"
        ]
