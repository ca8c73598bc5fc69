"""Kubernetes Events about objects: what an operator finds below `kubectl describe`.

Must stay true: `note` never waits and never fails; what is noted again becomes a count of the same Event; there are
bounds on what waits, on what is remembered and on what the API server is asked to write.
Events of the core group, because rights to create and patch those are what roles commonly grant.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from uuid import uuid4

from epp.edge.kube.client import ApiError, Kube, Object, Resource

log = logging.getLogger(__name__)

EVENTS = Resource("", "v1", "events", "Event")

WAITING_MAX = 200
KNOWN_MAX = 1000
MESSAGE_LENGTH_MAX = 1024
NAME_LENGTH_MAX = 253
TRIES_MAX = 5
BURST_MAX = 25
ONE_EACH_S = 10.0
PAUSE_S, PAUSE_S_MAX = 1.0, 30.0
DENIED_PAUSE_S = 60.0

Kind = Literal["Normal", "Warning"]


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """What an Event is about. `kubectl describe` looks for it by kind, name and uid."""

    resource: Resource
    namespace: str
    name: str
    uid: str = ""


@dataclass(frozen=True, slots=True)
class _Said:
    regarding: ObjectRef
    reason: str
    message: str
    kind: Kind


@dataclass(slots=True)
class _Times:
    """How often and when something was said; `tries` is how often we failed to write it, `name` what was tried."""

    first: datetime
    last: datetime
    count: int = 1
    tries: int = 0
    name: str = ""


@dataclass(slots=True)
class Allowance:
    """`BURST_MAX` at once, and then one each `ONE_EACH_S`."""

    left: float = BURST_MAX
    at: float = 0.0

    def take(self, now: float) -> float:
        """Take one; the seconds to wait before using it."""
        self.left = min(BURST_MAX, self.left + (now - self.at) / ONE_EACH_S)
        self.at = now
        self.left -= 1
        return max(0.0, -self.left) * ONE_EACH_S


class Recorder:
    """Writes what is noted, in turn. `dropped` counts what was not written: no room, or refused."""

    def __init__(
        self,
        kube: Kube,
        component: str = "onehop",
        *,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.kube = kube
        self.component = component
        self.instance = socket.gethostname()
        self.now = now
        self.wall = wall
        self.condition: str | None = None
        self.dropped = 0
        self._waiting: OrderedDict[_Said, _Times] = OrderedDict()
        self._known: OrderedDict[_Said, tuple[str, int]] = OrderedDict()  # the Event's name, and its count
        self._woken = asyncio.Event()
        self._allowance = Allowance(at=now())
        self._pause_s = PAUSE_S

    def note(self, regarding: ObjectRef, reason: str, message: str, kind: Kind = "Warning") -> None:
        """Say this of that object, soon."""
        said = _Said(regarding, reason, message[:MESSAGE_LENGTH_MAX], kind)
        wall = self.wall()
        times = self._waiting.get(said)
        if times is not None:
            times.count += 1
            times.last = wall
        elif len(self._waiting) < WAITING_MAX:
            self._waiting[said] = _Times(wall, wall)
            self._woken.set()
        else:
            self.dropped += 1

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._woken.wait()
            while self._waiting:
                await asyncio.sleep(self._allowance.take(self.now()))
                said, times = self._waiting.popitem(last=False)
                await asyncio.sleep(await self._write(said, times))
            self._woken.clear()

    async def _write(self, said: _Said, times: _Times) -> float:
        """Write one; the pause before the next."""
        try:
            await self._send(said, times)
        except ApiError as error:
            return self._failed(said, times, error)
        self.condition = None
        self._pause_s = PAUSE_S
        return 0.0

    async def _send(self, said: _Said, times: _Times) -> None:
        """Count on, if the Event is still there; else a new one."""
        namespace = said.regarding.namespace or "default"
        name, count = self._known.pop(said, ("", 0))
        if name:
            try:
                await self.kube.patch(EVENTS, namespace, name, _again(count + times.count, times.last))
            except ApiError as error:
                if error.status != 404:
                    self._known[said] = name, count
                    raise
            else:
                self._remember(said, name, count + times.count)
                return
        times.name = times.name or _event_name(said.regarding.name)
        try:
            await self.kube.create(EVENTS, namespace, self._event(said, times))
        except ApiError as error:
            if error.status != 409:
                raise
            # An earlier try did arrive, only its answer did not.
            await self.kube.patch(EVENTS, namespace, times.name, _again(times.count, times.last))
        self._remember(said, times.name, times.count)

    def _remember(self, said: _Said, name: str, count: int) -> None:
        self._known[said] = name, count
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)

    def _failed(self, said: _Said, times: _Times, error: ApiError) -> float:
        namespace = said.regarding.namespace or "default"
        trouble = f"Events cannot be written in namespace {namespace}: {error}"
        if error.status == 403:
            trouble = f"we may not write Events in namespace {namespace}: grant create and patch on them"
        if trouble != self.condition:
            self.condition = trouble
            log.warning("%s", trouble)
        times.tries += 1
        if error.status == 403 or not _may_pass(error) or times.tries >= TRIES_MAX:
            self.dropped += 1
            return DENIED_PAUSE_S if error.status == 403 else 0.0
        self._put_back(said, times)
        pause, self._pause_s = self._pause_s, min(2 * self._pause_s, PAUSE_S_MAX)
        return pause

    def _put_back(self, said: _Said, times: _Times) -> None:
        """In front, with what was said in the meantime."""
        again = self._waiting.get(said)
        if again is not None:
            times.last = again.last
            times.count += again.count
        self._waiting[said] = times
        self._waiting.move_to_end(said, last=False)

    def _event(self, said: _Said, times: _Times) -> Object:
        about = said.regarding
        involved = {
            "apiVersion": about.resource.api_version,
            "kind": about.resource.kind,
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid,
        }
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": times.name, "namespace": about.namespace or "default"},
            "involvedObject": {name: value for name, value in involved.items() if value},
            "type": said.kind,
            "reason": said.reason,
            "message": said.message,
            "count": times.count,
            "firstTimestamp": _time(times.first),
            "lastTimestamp": _time(times.last),
            "source": {"component": self.component},
            "reportingComponent": self.component,
            "reportingInstance": self.instance,
        }


def _event_name(about: str) -> str:
    """A new name, told apart from any other by chance alone."""
    suffix = f".{uuid4().hex[:16]}"
    return about[: NAME_LENGTH_MAX - len(suffix)].rstrip("-.") + suffix


def _again(count: int, last: datetime) -> Object:
    return {"count": count, "lastTimestamp": _time(last)}


def _may_pass(error: ApiError) -> bool:
    """Whether the same request may well succeed later."""
    return error.status in (0, 401, 409, 429) or error.status >= 500


def _time(wall: datetime) -> str:
    """As Kubernetes writes a Time."""
    return wall.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
