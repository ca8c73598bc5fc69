"""Other scheduling rules for recorded requests: what these rules would have taken, and by the same rules the same."""

from __future__ import annotations

from random import Random

from epp.domain import Candidate
from epp.protocol import openai
from epp.replay import recorded
from epp.replay.again import again
from epp.replay.rules import Rules
from epp.scheduling.assembly import load
from epp.scheduling.default import default_profile
from epp.scheduling.framework import Query, Scheduler
from tests import make
from tests.replay.record import Recording, epc

ALIKE = 0.05  # of the picks of rules that learn: what they have learned is not all in a receipt


def made(content: bytes) -> Scheduler:
    return load(content).scheduler


def rules(content: bytes) -> Rules:
    assembly = load(content)
    return Rules(lambda: made(content), assembly.flow)


async def test_by_the_same_rules_nothing_changes() -> None:
    recording = Recording(made(epc()))
    await recording.asks(300)
    outcomes = again(recording.recorded, rules(epc()), None)

    assert len(outcomes) == 300
    assert [outcome for outcome in outcomes if outcome.changes or outcome.lacking] == []
    assert any(len(outcome.recorded.told["endpoints"]) == 3 for outcome in outcomes)
    assert any(outcome.recorded.told["cached_tokens"] for outcome in outcomes)


async def test_other_rules_take_what_they_would_have_taken() -> None:
    """The oracle runs them beside the real ones, on the real endpoints, at the real moment."""
    recording = Recording(made(epc()))
    other, expected = epc(queue=0.1, prefix=0), []
    beside = made(other)

    def look() -> None:
        request = openai.read("r", make.POST, make.chat("m", "short"))
        query = Query(request, Candidate("m"), recording.now + 0.01, Random(0))
        totals = beside.run(query, recording.pool.endpoints)
        assert totals is not None
        best = max(totals.totals)
        expected.append({e.address for e, t in zip(totals.endpoints, totals.totals, strict=True) if t == best})

    await recording.asks(200, before=look)
    outcomes = again(recording.recorded, rules(other), None)
    changed = [outcome for outcome in outcomes if "endpoint" in outcome.changes]

    assert len(changed) > 20
    assert all(set(outcome.endpoints) <= best for outcome, best in zip(outcomes, expected, strict=True))
    for outcome, best in zip(outcomes, expected, strict=True):
        assert ("endpoint" in outcome.changes) == (outcome.recorded.picked not in best)


async def test_rules_that_learn_take_nearly_the_same() -> None:
    recording = Recording(default_profile())
    await recording.asks(300)
    outcomes = again(recording.recorded, Rules(default_profile, None), None)

    assert sum(bool(outcome.changes) for outcome in outcomes) <= ALIKE * 300


async def test_who_was_left_out_as_ejected_stays_out() -> None:
    recording = Recording(default_profile())
    broken = recording.pool.endpoints[0]
    broken.reachable = False
    await recording.asks(50)
    outcomes = again(recording.recorded, rules(epc()), None)

    assert all(broken.address not in outcome.endpoints for outcome in outcomes)
    assert all(outcome.endpoints for outcome in outcomes)


async def test_a_receipt_without_inputs_is_said_to_lack_them() -> None:
    recording = Recording(made(epc()))
    await recording.asks(3)
    told = recording.told
    for one in told:
        for row in one["endpoints"]:
            del row["inputs"]
    outcomes = again(recorded.read(told), rules(epc()), None)

    assert {outcome.lacking for outcome in outcomes} == {"its endpoint: no receipt at all tells of endpoints of m"}
    assert not any(outcome.changes for outcome in outcomes)


async def test_two_pools_do_not_share_what_is_learned() -> None:
    content = epc()
    both = rules(content)
    one, other = Recording(made(content)), Recording(made(content))
    await one.asks(20)
    await other.asks(20)
    told = [*one.told, *({**each, "id": each["id"] + "x", "pool": "other"} for each in other.told)]
    outcomes = again(recorded.read(told), both, None)

    assert [outcome for outcome in outcomes if outcome.changes or outcome.lacking] == []


def test_what_cannot_be_replayed_is_named() -> None:
    content = epc().replace(b"active-request-scorer", b"lora-affinity-scorer")

    assert rules(content).blind == ["lora-affinity-scorer goes by adapters, which receipts do not tell"]
