"""The workers: starts them, hands them connections, starts those again that die, and tells them what all must know.

Must stay true: a connection goes to one worker, of those that serve the one that carries the fewest; what a worker held
is given back before its successor starts.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Sequence

from epp.director import Director
from epp.edge.tls import Pair
from epp.edge.tracing import Tracer
from epp.settings import Settings
from epp.telemetry import Telemetry
from epp.transport import address_of
from epp.workers.desk import Deciding
from epp.workers.door import Door
from epp.workers.messages import Bye, Certified, Down, Leave, Left, Ready, Serving, Shed, Up
from epp.workers.process import CLOSE_S, Worker, launch
from epp.workers.setup import Port, Setup

log = logging.getLogger(__name__)
PAUSE_S, PAUSE_S_MAX = 0.1, 5.0  # before a worker that died is started again; twice as long each time
LIVED_S = 30.0  # one that lived so long died of something new
POLL_S = 0.01
BEGIN_S = 10.0  # for all workers to be there before the first connection is taken
BALANCE_S = 2.0
PAIR_S = 0.5  # how often the TLS pair is looked at
GRACE_S = 1.0  # for streams that are still open at the very end


class Crew:
    """The workers for the ports that `door` is called for, before `run`; `changed` hears whether any of them serves.

    `directors` decide, by the place of their port. `pair` gives the TLS pair of the moment, where there is TLS.
    """

    def __init__(
        self,
        settings: Settings,
        directors: Sequence[Director],
        telemetry: Telemetry,
        *,
        pair: Callable[[], Pair] | None,
        changed: Callable[[bool], None],
        tracer: Tracer | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._deciding = Deciding(directors, telemetry, now, tracer)
        self._pair_now = pair
        self._changed = changed
        self._pair = None if pair is None else pair()
        self._ready = False
        self._begun = self._ending = False
        self._ports: list[Port] = []
        self._doors: list[Door] = []
        self.workers: list[Worker] = []  # that serve
        self.restarts = 0

    def door(self, port: int, *, first: bool = False, plaintext: bool = False) -> Door:
        """One more port. Raises OSError where it is taken."""
        door = Door(address_of(self._settings, port), self, len(self._doors))
        self._doors.append(door)
        self._ports.append(Port(first, plaintext))
        return door

    async def run(self) -> None:
        """Until cancelled; then they end, too."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(self._settings.workers):
                tasks.create_task(self._keep(number), name=f"worker {number}")
            tasks.create_task(self._follow(), name="pair")
            tasks.create_task(self._begin(), name="begin")
            tasks.create_task(self._balance(), name="balance")

    def tell_ready(self, ready: bool) -> None:
        """What their health is to say."""
        self._ready = ready
        self._tell(Ready(ready))

    def hand(self, place: int, accepted: socket.socket) -> None:
        """Give a connection to a worker, or end it where none takes it."""
        with accepted:
            for worker in sorted(self.workers, key=lambda w: w.load(place)):
                try:
                    socket.send_fds(worker.door, [bytes([place])], [accepted.fileno()])
                except OSError as full:
                    log.warning("worker %d takes no connection: %s", worker.number, full.strerror)
                    continue
                worker.handed[place] += 1
                return

    async def leave(self, place: int, grace: float | None) -> None:
        """No new streams on that port; returns when there are none any more."""
        told = [*self.workers]
        self._tell(Leave(place, grace))
        while any(place not in worker.left and not worker.gone.is_set() for worker in told):
            await asyncio.sleep(POLL_S)

    def open(self, place: int) -> int:
        """Streams that are open on that port."""
        return sum(worker.desk.open[place] for worker in self.workers if worker.desk.open)

    def turned_away(self, place: int) -> int:
        """Streams that were one too many, at the workers that there are now."""
        return sum(worker.desk.turned_away[place] for worker in self.workers if worker.desk.turned_away)

    def counts(self) -> dict[str, object]:
        """What an operator may want to look at."""
        return {
            "restarts": self.restarts,
            "workers": [
                {
                    "number": worker.number,
                    "pid": worker.process.pid,
                    "connections": worker.desk.connected - worker.desk.disconnected,
                    "carrying": worker.desk.carrying,
                    "streams": sum(worker.desk.open),
                    "decisions": worker.desk.decided,
                }
                for worker in sorted(self.workers, key=lambda w: w.number)
            ],
        }

    def missing(self) -> str | None:
        """Trouble: that some do not serve."""
        serving, wanted = len(self.workers), self._settings.workers
        return None if serving == wanted else f"{serving} of {wanted} workers serve"

    async def _keep(self, number: int) -> None:
        loop, pause = asyncio.get_running_loop(), PAUSE_S
        while True:
            began = loop.time()
            try:
                reason, why = await self._once(number)
            except OSError as refused:  # no more processes, or no more files
                reason, why = "launched", f"could not be started: {refused.strerror}"
            pause = PAUSE_S if loop.time() - began > LIVED_S else pause
            log.warning("worker %d %s; it is started again in %.1f s", number, why, pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, PAUSE_S_MAX)
            self.restarts += 1
            self._deciding.telemetry.restarted(reason)

    async def _once(self, number: int) -> tuple[str, str]:
        """One life of a worker; how it ended, in a word and in words."""
        settings = self._settings.model_copy(update={"config_text": None})  # may be large, and is for us
        setup = Setup(settings, tuple(self._ports), settings.workers, self._pair, self._ready)
        worker = await launch(number, setup, self._deciding, self._heard)
        try:
            await worker.watch()
        except asyncio.CancelledError:
            self._ending = True
            await self._dismiss(worker)
            raise
        finally:
            self._lost(worker)
        code = await worker.ended()
        if worker.silent_s:
            return "silent", f"said nothing for {worker.silent_s:.0f} s and was ended"
        return "ended", f"ended ({code})"

    def _heard(self, worker: Worker, message: Up) -> None:
        worker.unanswered = 0
        match message:
            case Serving():
                worker.serves = True
                self.workers.append(worker)
                worker.say(Ready(self._ready))  # this may have changed while the worker started
                if self._pair is not None:
                    worker.say(_certified(self._pair))
                self._serves()
            case Left():
                worker.left.add(message.port)
            case _:
                worker.desk.heard(message)

    def _lost(self, worker: Worker) -> None:
        """Give back what it held."""
        if worker in self.workers:
            self.workers.remove(worker)
        worker.desk.close()
        worker.door.close()
        self._serves()

    def _serves(self) -> None:
        """Connections are taken while there is somebody to serve them."""
        if self._ending:
            return
        self._begun = self._begun or len(self.workers) == self._settings.workers
        some = self._begun and bool(self.workers)
        for door in self._doors:
            door.serve(some)
        self._changed(some)

    async def _dismiss(self, worker: Worker) -> None:
        worker.say(Bye(GRACE_S))
        try:
            await asyncio.wait_for(worker.gone.wait(), GRACE_S + CLOSE_S)
        except TimeoutError:
            worker.kill()
        await worker.ended()

    async def _begin(self) -> None:
        """The first connections are for all workers to share, unless some cannot start."""
        await asyncio.sleep(BEGIN_S)
        self._begun = True
        self._serves()

    async def _balance(self) -> None:
        """Where one carries two connections more than another, one of them makes way.

        Gateways open few connections and keep them: without this, all would stay where they were when a worker died.
        """
        while True:
            await asyncio.sleep(BALANCE_S)
            serving = sorted(self.workers, key=lambda w: w.desk.carrying)
            if serving and serving[-1].desk.carrying - serving[0].desk.carrying > 1:
                serving[-1].say(Shed())

    async def _follow(self) -> None:
        """New connections use the pair that is current."""
        while True:
            await asyncio.sleep(PAIR_S)
            pair = None if self._pair_now is None else self._pair_now()
            if pair is not None and pair is not self._pair:
                self._pair = pair
                self._tell(_certified(pair))

    def _tell(self, message: Down) -> None:
        for worker in self.workers:
            worker.say(message)


def _certified(pair: Pair) -> Certified:
    return Certified(pair.chain, pair.key, pair.expires.timestamp())
