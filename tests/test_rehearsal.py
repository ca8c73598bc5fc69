"""A decision that is not carried out: the same as one that is, and nothing remembers it."""

from __future__ import annotations

from typing import Any

from epp.director import Director
from epp.domain import Receipt
from epp.outcome import Routed
from epp.picking import Picking
from epp.protocol.messages import Decide
from epp.rehearsal import rehearse
from epp.scheduling.default import default_profile
from tests import make

LONG = "What is the meaning of life? " * 200


def setting() -> tuple[Director, Picking, Any]:
    over = make.pool("a", "b", models={"a": ["m"], "b": ["m"]})
    picking = Picking(over, default_profile(), make.Random(1))
    return make.director(over, make.FixedChooser("m"), picking=picking), picking, make.FixedChooser("m")


async def tried(picking: Picking, chooser: Any, body: bytes) -> Receipt:
    receipt = Receipt("dry-run", "dry-run", 0.0, "/v1/chat/completions", None)
    await rehearse(receipt, body, chooser, picking)
    return receipt


async def test_it_goes_where_the_request_would_go() -> None:
    director, picking, chooser = setting()
    body = make.chat("auto", LONG)
    done = await director.decide(Decide(make.POST, body, None))
    assert isinstance(done, Routed)
    again = await tried(picking, chooser, body)

    assert (again.picked, again.model) == (done.receipt.picked, "m")
    assert again.cached_tokens > 0
    assert again.outcome == "dry run"


async def test_nothing_remembers_it() -> None:
    _, picking, chooser = setting()
    body = make.chat("auto", LONG)
    first = await tried(picking, chooser, body)
    second = await tried(picking, chooser, body)

    assert (first.cached_tokens, second.cached_tokens) == (0, 0)
    assert [e.inflight_requests for e in picking.pool.endpoints] == [0, 0]
    assert [e.work_s for e in picking.pool.endpoints] == [0.0, 0.0]


async def test_refusals_are_what_the_receipt_says() -> None:
    _, picking, chooser = setting()
    bad = await tried(picking, chooser, b"no json")
    unknown = await tried(picking, chooser, make.chat("nobody"))

    assert (bad.outcome, bad.status) == ("bad_request", 400)
    assert (unknown.outcome, unknown.status) == ("model_not_found", 404)


async def test_the_meter_is_back_whatever_happens() -> None:
    _, picking, chooser = setting()
    meter = picking.profile.meter
    await tried(picking, chooser, make.chat("nobody"))
    await tried(picking, chooser, make.chat("auto"))

    assert picking.profile.meter is meter
