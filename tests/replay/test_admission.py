"""Another flow control for recorded requests: who would wait, who would be refused, who would go on after all."""

from __future__ import annotations

from typing import Any

from epp.datastore.policies import Policies
from epp.domain import Load
from epp.flow.build import Place, llmd_gate
from epp.replay.again import Outcome, again
from tests import make
from tests.replay.record import Recording, epc
from tests.replay.test_endpoints import made, rules

FLOW = "featureGates: [flowControl]\n"
LOW = {"x-llm-d-inference-objective": "low"}


def busy(recording: Recording, waiting: float) -> None:
    for endpoint in recording.pool.endpoints:
        endpoint.load = Load(recording.now, waiting, 5.0, 0.5)


async def recorded(waiting: tuple[float, ...], legacy: bool = False) -> Recording:
    """One request of each class while as many wait at every endpoint."""
    found = Recording(made(epc()))
    if legacy:
        place = Place(found.pool, found.picking.eligible, lambda: found.now)
        found.director._gate = llmd_gate(place, flow_control=False)
    for many in waiting:
        busy(found, many)
        for priority in (0, -1):
            found.pool.policies = _one(priority)
            await found.ask(make.chat("m"), **LOW)
        found.now += 5.0
    return found


def _one(priority: int) -> Policies:
    made_up: Any = Policies()
    made_up.priority = lambda name: priority
    return made_up  # type: ignore[no-any-return]


def fates(outcomes: list[Outcome]) -> list[str]:
    return [outcome.fate for outcome in outcomes]


async def test_without_flow_control_what_may_be_shed_is_shed_while_they_are_full() -> None:
    found = await recorded((0.0, 30.0))
    outcomes = again(found.recorded, rules(epc()), None)

    assert fates(outcomes) == ["goes", "goes", "goes", "refused: shed"]
    assert [outcome.changes for outcome in outcomes] == [[], [], [], ["fate"]]


async def test_with_flow_control_everybody_waits_while_they_are_full() -> None:
    found = await recorded((0.0, 30.0))

    assert fates(again(found.recorded, rules(epc(more=FLOW)), None)) == ["goes", "goes", "waits", "waits"]


async def test_what_was_shed_would_be_again_by_the_same_rules_as_others_saw_the_endpoints() -> None:
    found = await recorded((0.0, 30.0), legacy=True)
    outcomes = again(found.recorded, rules(epc()), None)

    assert [each.fate for each in found.recorded] == ["goes", "goes", "goes", "refused: shed"]
    assert [outcome.changes for outcome in outcomes] == [[]] * 4


async def test_what_was_shed_goes_on_where_there_would_be_room() -> None:
    found = await recorded((30.0,), legacy=True)
    lax = epc(more="flowControl: {saturationDetector: {pluginRef: utilization-detector}}\n")
    lax = lax.replace(
        b"plugins:\n", b"plugins:\n- {type: utilization-detector, parameters: {queueDepthThreshold: 100}}\n", 1
    )
    outcomes = again(found.recorded, rules(lax), None)

    assert fates(outcomes) == ["goes", "goes"]
    assert outcomes[1].changes == ["fate"]
    assert outcomes[1].borrowed == (found.recorded[0].id,)


async def test_a_refusal_of_which_nothing_nearby_is_known_is_not_guessed() -> None:
    found = await recorded((30.0,), legacy=True)
    alone = [each for each in found.recorded if each.at_the_gate]
    (outcome,) = again(alone, rules(epc()), None)

    assert not outcome.decided
    assert outcome.lacking == "its endpoint: no receipt at all tells of endpoints of m"
