"""Every bound and constant of flow control, by name. Times are seconds, sizes bytes, pressures fractions of full.

The classes and their numbers are those of a simulation of 8B models on H100s under 1.5 to 3 times what they can
serve: pressures between 0.25 and 0.5 for what may be shed were all good.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Literal

OrderName = Literal["fcfs", "edf", "slo-deadline", "shortest"]
ShareName = Literal["tokens", "round-robin", "global-strict"]
Level = Literal["critical", "standard", "sheddable"]


@dataclass(frozen=True, slots=True)
class BandSettings:
    """What one priority's queue may hold, who is next in it, and by what its tenants share; 0 is no bound."""

    requests_max: int = 5000
    bytes_max: int = 256 * 2**20
    order: OrderName = "shortest"
    share: ShareName = "tokens"

    def __post_init__(self) -> None:
        for name in ("requests_max", "bytes_max"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")


@dataclass(frozen=True, slots=True)
class ClassSettings:
    """`ceiling`: the highest pressure of an endpoint that still takes this class. `patience`: the part of its SLO that
    a request may be predicted to take, its own prefill included, and still be let wait."""

    ceiling: float
    patience: float

    def __post_init__(self) -> None:
        if not (self.ceiling > 0 and self.patience >= 0):
            raise ValueError("ceiling must be above 0 and patience must not be negative")


@dataclass(frozen=True, slots=True)
class GatewayTimeouts:
    """How long a gateway waits for our answer to one message, except in full duplex, where it waits for ever.

    `message_s` is its `message_timeout`, `message_s_max` its `max_message_timeout`: what we may extend the first to,
    once; 0 where it grants nothing. A wait ends `margin` of the limit before it, and never later than a second before.
    """

    message_s: float = 2.0
    message_s_max: float = 30.0
    margin: float = 0.2
    margin_s_max: float = 1.0

    def __post_init__(self) -> None:
        if not (self.message_s >= 0 and self.message_s_max >= 0 and 0 < self.margin < 1 and self.margin_s_max > 0):
            raise ValueError("timeouts must not be negative, and the margin is a fraction between 0 and 1")

    @property
    def extends(self) -> bool:
        """Whether asking for more time gets us any."""
        return self.message_s_max > self.message_s

    @property
    def answer_s(self) -> float:
        """By when a message that nothing was extended for is to be answered; endless without a limit."""
        return self._before(self.message_s) if self.message_s else inf

    def wait_s(self, spent_s: float) -> float:
        """How long a request may still wait, `spent_s` after its last message came; 0: not at all.

        An extension is counted by the gateway from when it arrives there.
        """
        if self.extends:
            return self._before(self.message_s_max)
        return max(0.0, self._before(self.message_s) - spent_s)

    def _before(self, limit_s: float) -> float:
        return limit_s - min(self.margin * limit_s, self.margin_s_max)


DEFAULT_BAND = BandSettings()


@dataclass(frozen=True, slots=True)
class FlowSettings:
    """What waits, for how long, and what each class may do.

    `requests_max` and `bytes_max` bound what waits in all bands together; `band` is every priority's that `bands` does
    not name, `negative_band` that of negative ones (None: `band`). A request waits for `wait_s_max` at most, in every
    mode of the gateway; while nobody is there to serve it, for `hold_s` (0: it is refused at once).

    Priorities from `critical_from` on are critical, those below `sheddable_below` may be shed. A request without an SLO
    of its own has `slo_ttft_s` plus `slo_own_factor` times its own prefill. `pressure_s` of prefill waiting at an
    endpoint are a pressure of 1. Where critical requests are, other classes find `beside_critical` of their ceiling.
    Decoding slower than `slo_tpot_s` a token is a pressure of 1, too. A first token is to come `slo_margin_s` before it
    is due; and a second of prefill that a cache saves is worth `worth` seconds of waiting for it, or `worth_scarce`
    while the KV caches of all endpoints are under a pressure of more than `scarce`: then a copy of what another holds
    takes the room of a request, for as long as it runs.

    The pace of decoding is no pressure up to `pace_easy` of `slo_tpot_s` for a request that has nothing to compute, and
    up to less the longer its own prefill is, from `pace_own_s` on up to nothing: long prefills are what holds up those
    that decode.

    `evict` allows requests in flight that may be shed to be cut off for others, `evicted_at_once` at a time, and again
    only when these have ended or `evict_grace_s` have passed.
    """

    requests_max: int = 10_000
    bytes_max: int = 256 * 2**20
    band: BandSettings = DEFAULT_BAND
    negative_band: BandSettings | None = None
    bands: Mapping[int, BandSettings] = field(default_factory=dict)
    wait_s_max: float = 60.0
    hold_s: float = 0.0
    gateway: GatewayTimeouts = GatewayTimeouts()
    critical_from: int = 1
    sheddable_below: int = 0
    critical: ClassSettings = ClassSettings(1.0, 1.5)
    standard: ClassSettings = ClassSettings(0.8, 1.0)
    sheddable: ClassSettings = ClassSettings(0.35, 1.0)
    beside_critical: float = 0.5
    slo_ttft_s: float = 2.0
    slo_own_factor: float = 2.0
    slo_tpot_s: float = 0.1
    pace_easy: float = 0.7
    pace_own_s: float = 0.3
    slo_margin_s: float = 0.2
    worth: float = 1.0
    worth_scarce: float = 20.0
    scarce: float = 0.3
    pressure_s: float = 1.0
    evict: bool = False
    evicted_at_once: int = 2
    evict_grace_s: float = 10.0

    def __post_init__(self) -> None:
        for name in ("requests_max", "bytes_max", "hold_s", "slo_own_factor"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        for name in ("wait_s_max", "slo_ttft_s", "pressure_s", "evict_grace_s", "evicted_at_once"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0")
        if not 0 <= self.pace_easy < 1 or self.pace_own_s <= 0:
            raise ValueError("pace_easy must be from 0 to below 1, and pace_own_s above 0")
        if self.sheddable_below > self.critical_from:
            raise ValueError("sheddable_below must not be above critical_from")
        if not self.critical.ceiling >= self.standard.ceiling >= self.sheddable.ceiling:
            raise ValueError("ceiling must not be higher for a lower class")

    def of(self, priority: int) -> BandSettings:
        """The settings of one priority's queue."""
        named = self.bands.get(priority)
        if named is not None:
            return named
        return self.negative_band if priority < 0 and self.negative_band is not None else self.band

    def due_s(self, slo_s: float | None, own_s: float) -> float:
        """The SLO of a request, its own or by its own prefill."""
        return self.slo_ttft_s + self.slo_own_factor * own_s if slo_s is None else slo_s

    def level(self, priority: int) -> Level:
        """The class of a priority."""
        if priority >= self.critical_from:
            return "critical"
        return "sheddable" if priority < self.sheddable_below else "standard"

    def limits(self, level: Level) -> ClassSettings:
        """The numbers of a class."""
        return self.critical if level == "critical" else self.standard if level == "standard" else self.sheddable
