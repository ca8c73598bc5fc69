"""When a request leaves the model it was meant for: only for a long wait, for a real gain, and never all at once.

Pure: the predictions, the time and the session are given. Must stay true:
- without a prediction nothing spills;
- a model counts as overloaded from when its predicted wait passes the bound until that has been below `CALM` of it for
  `CALM_S` seconds, so that a wait around the bound does not send requests to and fro;
- of the requests of the last `WINDOW_S` seconds that wanted a model, at most `share_max` are sent away from it;
- a session that was sent away stays where its cache is.

The ladder and the hysteresis follow the design of joint (model, replica) choice in which latency is free while inside
the objective: quality is not traded while the preferred model is quick enough.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from epp.domain import Endpoint, SpillReason
from epp.scheduling.framework import Query

CALM, CALM_S = 0.6, 5.0
GAIN_MIN = 0.25  # of the seconds to the first token: what is saved for less is within the error of a prediction
WINDOW_S, SLOTS = 30.0, 30
SESSIONS_MAX, SESSION_IDLE_S = 8192, 600.0  # an engine under load has long evicted what nobody asked for in 10 minutes


@runtime_checkable
class Outlook(Protocol):
    """What a part of a profile may know about times to come. Seconds; None where it does not know."""

    def wait_s(self, query: Query, endpoint: Endpoint) -> float | None:
        """Until the endpoint begins with this request's prompt: the work of others."""

    def first_token_s(self, query: Query, endpoint: Endpoint) -> float | None:
        """Until its first token: the wait, and its own prompt less what is cached there."""


@dataclass(frozen=True, slots=True)
class SpillRules:
    """`wait_s` is the predicted wait that is too long, 0 for never; `share_max` the part that may be sent away.

    `margin_max` is the quality that may be lost, of 1.
    """

    wait_s: float = 1.0
    share_max: float = 0.5
    margin_max: float = 0.1

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if self.wait_s < 0:
            raise ValueError("wait_s must not be below 0")
        if not (0 <= self.share_max <= 1 and 0 <= self.margin_max <= 1):
            raise ValueError("share_max and margin_max must lie between 0 and 1")


@dataclass(frozen=True, slots=True)
class Option:
    """A model at its best endpoint: predicted seconds, and the prompt tokens that are cached there."""

    model: str | None
    wait_s: float | None
    ttft_s: float | None
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The option to take, and why, where there is something to say."""

    option: Option
    reason: SpillReason | None = None
    best: Option | None = None


class Spill:
    """Remembers, by preferred model, its pressure and what was sent away; models are those of the configuration."""

    def __init__(self, rules: SpillRules) -> None:
        self.rules = rules
        self._models: dict[str | None, _Model] = {}
        self._homes: OrderedDict[Hashable, _Home] = OrderedDict()

    def judge(
        self, preferred: Option, others: Iterable[Option], session: Callable[[], Hashable | None], now: float
    ) -> Verdict:
        """Stay with the preferred option, or take one of the others, which come best first.

        `others` and `session` cost something to know, and are asked for only where they matter.
        """
        if not self.rules.wait_s or preferred.wait_s is None or preferred.ttft_s is None:
            return Verdict(preferred)
        model = self._models.setdefault(preferred.model, _Model())
        model.felt(preferred.wait_s / self.rules.wait_s, now)
        while self._homes and now - next(iter(self._homes.values())).at > SESSION_IDLE_S:
            self._homes.popitem(last=False)
        if not model.overloaded and not self._homes:
            return Verdict(preferred)
        who = session()
        home = self._homes.get(who)
        if home is not None and home.preferred != preferred.model:
            home = None
        if not model.overloaded and home is None:
            return Verdict(preferred)
        known = list(others)
        stay = next((o for o in known if home is not None and o.model == home.model), None)
        if stay is not None and _worth_staying(stay, preferred, overloaded=model.overloaded):
            self._settle(who, preferred.model, stay.model, now)
            model.window.spilled(now)
            return Verdict(stay, SpillReason.SESSION)
        if home is not None:
            self._homes.pop(who, None)
        return self._leave(model, preferred, known, who, now) if model.overloaded else Verdict(preferred)

    def asked(self, model: str | None, now: float) -> None:
        """One more request wants this model first, whatever becomes of it: called once for each, before `judge`."""
        self._models.setdefault(model, _Model()).window.asked(now)

    def may_leave(self, model: str | None, now: float) -> bool:
        """Whether the request that asked may wait for another model's room as well, and so leave this one."""
        known = self._models.setdefault(model, _Model())
        known.window.forget(now)
        return self.rules.wait_s > 0 and known.window.room(self.rules.share_max, known.held)

    @contextmanager
    def held(self, model: str | None) -> Iterator[None]:
        """While a request waits that may leave, it counts as one that does."""
        known = self._models.setdefault(model, _Model())
        known.held += 1
        try:
            yield
        finally:
            known.held -= 1

    def sent(self, preferred: str | None, model: str | None, who: Hashable | None, now: float) -> None:
        """A request left for another model that had room."""
        self._models.setdefault(preferred, _Model()).window.spilled(now)
        self._settle(who, preferred, model, now)

    def _leave(self, model: _Model, preferred: Option, others: list[Option], who: Hashable, now: float) -> Verdict:
        quick = next((o for o in others if _gains(o, preferred)), None)
        if quick is None or not model.window.room(self.rules.share_max, model.held):
            held = SpillReason.HELD_SHARE if quick else SpillReason.HELD_NO_GAIN
            held = held if others else SpillReason.HELD_NO_OTHER
            assert preferred.wait_s is not None
            too_long = preferred.wait_s > self.rules.wait_s  # else it is only not over yet
            return Verdict(preferred, held if too_long else None, quick or next(iter(others), None))
        model.window.spilled(now)
        self._settle(who, preferred.model, quick.model, now)
        return Verdict(quick, SpillReason.WAIT)

    def _settle(self, who: Hashable, preferred: str | None, model: str | None, now: float) -> None:
        if who is None:
            return
        self._homes[who] = _Home(preferred, model, now)
        self._homes.move_to_end(who)
        if len(self._homes) > SESSIONS_MAX:
            self._homes.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _Home:
    """A session that wanted one model is at another since a moment ago."""

    preferred: str | None
    model: str | None
    at: float


@dataclass(slots=True)
class _Slot:
    at: float
    asked: int = 0
    away: int = 0


class _Window:
    """Requests of the last `WINDOW_S` seconds in slots: all, and those sent away."""

    def __init__(self) -> None:
        self._slots: deque[_Slot] = deque()
        self._asked = self._away = 0

    def forget(self, now: float) -> None:
        """What was before the window."""
        while self._slots and now - self._slots[0].at >= WINDOW_S:
            old = self._slots.popleft()
            self._asked -= old.asked
            self._away -= old.away

    def asked(self, now: float) -> None:
        """One more request."""
        self._slot(now).asked += 1
        self._asked += 1

    def spilled(self, now: float) -> None:
        """One of them was sent away."""
        self._slot(now).away += 1
        self._away += 1

    def room(self, share: float, held: int) -> bool:
        """Whether one more may be sent away; those `held` may still be."""
        return self._away + held + 1 <= share * self._asked

    def _slot(self, now: float) -> _Slot:
        self.forget(now)
        if not self._slots or now - self._slots[-1].at >= WINDOW_S / SLOTS:
            self._slots.append(_Slot(now))
        return self._slots[-1]


@dataclass(slots=True)
class _Model:
    """Whether a model is overloaded, and how many that wanted it were sent away."""

    overloaded: bool = False
    calm_since: float | None = None
    held: int = 0
    window: _Window = field(default_factory=_Window)

    def felt(self, pressure: float, now: float) -> None:
        """A request would wait for so much of the bound."""
        if pressure > 1:
            self.overloaded = True
        if pressure >= CALM:
            self.calm_since = None
        elif self.calm_since is None:
            self.calm_since = now
        elif now - self.calm_since >= CALM_S:
            self.overloaded = False


def _gains(other: Option, preferred: Option) -> bool:
    """Whether the first token comes so much sooner, the lost cache included, that it is worth the quality."""
    assert preferred.ttft_s is not None
    return other.ttft_s is not None and other.ttft_s < (1 - GAIN_MIN) * preferred.ttft_s


def _worth_staying(home: Option, preferred: Option, *, overloaded: bool) -> bool:
    """While the preferred model is overloaded, unless it is the quicker one; after that, for a cache it would lose."""
    if home.ttft_s is None or preferred.ttft_s is None or _gains(preferred, home):
        return False
    return overloaded or home.cached > preferred.cached
