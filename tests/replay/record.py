"""Requests that are really decided, over endpoints whose loads change, and their receipts as an operator gets them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec

from epp.datastore.receipts import Receipts
from epp.domain import Chooser, Load
from epp.outcome import Answered, Routed
from epp.picking import Picking
from epp.protocol.messages import Decide
from epp.replay import recorded
from epp.replay.recorded import Recorded
from epp.scheduling.framework import Scheduler
from tests import make

EPC = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- {type: queue-scorer}
- {type: kv-cache-utilization-scorer}
- {type: prefix-cache-scorer}
- {type: active-request-scorer}
- {type: max-score-picker}
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: queue-scorer, weight: %s}
  - {pluginRef: kv-cache-utilization-scorer, weight: 2}
  - {pluginRef: prefix-cache-scorer, weight: %s}
  - {pluginRef: active-request-scorer, weight: 1}
  - {pluginRef: max-score-picker}
"""


def epc(queue: float = 2, prefix: float = 3, more: str = "") -> bytes:
    return (EPC % (queue, prefix) + more).encode()


class Recording:
    """A director on a clock of its own; `told` is what `/debug/decisions` says afterwards."""

    def __init__(self, scheduler: Scheduler, chooser: Chooser | None = None, models: Any = None, **more: Any) -> None:
        self.now = 100.0
        self.rng = Random(7)
        self.pool = make.pool("a", "b", "c", models=models or {name: ["m"] for name in "abc"})
        for endpoint in self.pool.endpoints:
            endpoint.limited = False
        self.receipts = Receipts(1_700_000_000.0)
        self.picking = Picking(self.pool, scheduler, Random(3))
        self.open: list[Routed] = []
        self.director = make.director(
            self.pool,
            chooser or make.FixedChooser("m"),
            picking=self.picking,
            receipts=self.receipts,
            now=lambda: self.now,
            **more,
        )

    def sampled(self) -> None:
        """Every engine says anew how busy it is."""
        for endpoint in self.pool.endpoints:
            endpoint.load = Load(
                self.now, float(self.rng.randint(0, 9)), float(self.rng.randint(0, 9)), round(self.rng.random(), 3)
            )

    async def ask(self, body: bytes, **headers: str) -> Routed | Answered:
        self.now += 0.01
        done = await self.director.decide(Decide({**make.POST, **headers, "x-request-id": ""}, body, None))
        if isinstance(done, Routed):
            self.open.append(done)
            if len(self.open) > 12:
                ended = self.open.pop(self.rng.randrange(len(self.open)))
                ended.receipt.status, ended.receipt.outcome, ended.receipt.ended_s = 200, "completed", 1.0
                self.director.ended(ended)
        return done

    async def asks(self, count: int, before: Callable[[], None] = lambda: None) -> None:
        prefixes = [f"{n} " + "what there is to know of it " * 60 for n in range(4)]
        for n in range(count):
            if n % 10 == 0:
                self.sampled()
            before()
            await self.ask(make.chat("m", self.rng.choice([*prefixes, "short"])))

    @property
    def told(self) -> Sequence[Any]:
        """As JSON, and back."""
        return list(json.loads(msgspec.json.encode(list(self.receipts.latest(10_000)))))

    @property
    def recorded(self) -> list[Recorded]:
        return recorded.read(self.told)
