"""Several profiles under a handler: who runs, what goes into headers, who is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar

import pytest

from epp.domain import Endpoint
from epp.scheduling.framework import Point, Producer, Profile, Query, Scheduler
from epp.scheduling.handlers import Handled
from epp.scheduling.pick import Pick
from epp.scheduling.plugins.data_parallel import DataParallelProfileHandler
from epp.scheduling.plugins.disagg_profile import DisaggProfileHandler
from epp.scheduling.plugins.max_score import MaxScorePicker

from . import make
from .test_assembly import assembled, profile


def stages(*names: str) -> list[dict[str, Any]]:
    return [profile(name, f"{name}-filter") for name in names]


def workers(**roles: str) -> list[Endpoint]:
    return [make.endpoint(name, labels={"llm-d.ai/role": role}) for name, role in roles.items()]


def scheduler(
    *deciders: str | tuple[str, dict[str, int]], order: str = "decode-first", encode: bool = False
) -> Scheduler:
    """Prefill and decode, or with encode all three; the first decider is about prefill, the second about encode."""
    names = ["prefill", "decode", *(["encode"] if encode else [])]
    asked = [d if isinstance(d, str) else d[0] for d in deciders]
    decides = {stage: name for stage, name in zip(("prefill", "encode"), asked, strict=False) if name}
    parameters = {"stageOrder": order, **({"deciders": decides} if decides else {})}
    return assembled(
        *(f"{name}-filter" for name in names),
        *filter(None, deciders),
        ("disagg-profile-handler", parameters),
        schedulingProfiles=stages(*names),
    ).scheduler


def chosen(of: Scheduler, query: Query, pool: Sequence[Endpoint]) -> Pick:
    pick = of.run(query, pool)
    assert pick is not None
    return pick


def test_decode_is_chosen_and_prefill_beside_it() -> None:
    pool, query = workers(p="prefill", d="decode"), make.query(b"a" * 400)
    pick = chosen(scheduler(), query, pool)

    assert pick.endpoint.name == "d"
    assert query.extra is not None
    assert query.extra.headers == [("x-prefiller-host-port", "p:8000")]
    assert [e.name for e in query.extra.beside] == ["p"]
    assert {name: e.name for name, e in query.extra.picks.items()} == {"decode": "d", "prefill": "p"}


@pytest.mark.parametrize("order", ["decode-first", "prefill-first"])
def test_without_a_prefill_endpoint_the_request_goes_on_alone(order: str) -> None:
    query = make.query(b"a" * 400)
    pick = chosen(scheduler(order=order), query, workers(d="decode"))

    assert pick.endpoint.name == "d"
    assert query.extra is not None
    assert (query.extra.headers, query.extra.beside) == ([], [])


@pytest.mark.parametrize("order", ["decode-first", "prefill-first"])
def test_without_a_decode_endpoint_there_is_no_choice(order: str) -> None:
    assert scheduler(order=order).run(make.query(), workers(p="prefill")) is None


def test_an_endpoint_does_not_prefill_for_itself() -> None:
    query = make.query(b"a" * 400)
    chosen(scheduler(), query, workers(both="both"))

    assert query.extra is not None
    assert query.extra.headers == []


def test_the_decider_says_whether_prefill_is_done_apart() -> None:
    pool = workers(p="prefill", d="decode")
    of = scheduler(("prefix-based-pd-decider", {"nonCachedTokens": 50}))
    prompt = Random(1).randbytes(4096)
    long, short, again = make.query(prompt), make.query(prompt[:100]), make.query(prompt)
    chosen(of, long, pool)
    of.picked(long, pool[1])
    chosen(of, short, pool)
    chosen(of, again, pool)

    apart = [bool(query.extra and query.extra.headers) for query in (long, short, again)]
    assert apart == [True, False, False]


def test_images_are_encoded_apart_before_prefill_is_decided() -> None:
    pool = workers(p="prefill", d="decode", e="encode")
    of = scheduler("always-disagg-pd-decider", "always-disagg-multimodal-decider", encode=True)
    image, plain = make.query(b'[{"type":"image_url"}]'), make.query(b"a")
    chosen(of, image, pool)
    chosen(of, plain, pool)

    assert image.extra is not None
    assert plain.extra is not None
    assert image.extra.headers == [("x-encoder-hosts-ports", "e:8000"), ("x-prefiller-host-port", "p:8000")]
    assert plain.extra.headers == [("x-prefiller-host-port", "p:8000")]
    assert [e.name for e in image.extra.beside] == ["p"]


def test_an_older_file_says_the_same_with_older_words() -> None:
    pool, query = workers(p="prefill", d="decode"), make.query(b"a" * 400)
    of = assembled(
        "prefill-filter",
        "decode-filter",
        ("pd-profile-handler", {"threshold": 400, "primaryPort": 9000}),
        ("prefill-header-handler", {"prefillProfile": "prefill"}),
        schedulingProfiles=stages("prefill", "decode"),
    ).scheduler
    chosen(of, query, pool)
    short = make.query(b"a" * 396)
    chosen(of, short, pool)

    assert query.extra is not None
    assert short.extra is not None
    ranks = ("x-data-parallel-host-port", "d:8000")
    assert query.extra.headers == [("x-prefiller-host-port", "p:8000"), ranks]
    assert short.extra.headers == [ranks]
    assert query.extra.destination == "d:9000"


def test_a_rank_is_reached_through_its_pods_primary_port() -> None:
    pool = [Endpoint(f"ns/pod-rank-{rank}", f"[fd00::1]:{8000 + rank}") for rank in range(3)]
    pool[0].inflight_requests = pool[1].inflight_requests = 5
    of = assembled(
        "active-request-scorer",
        "data-parallel-profile-handler",
        schedulingProfiles=[profile("default", "active-request-scorer")],
    ).scheduler
    query = make.query()
    pick = chosen(of, query, pool)

    assert pick.endpoint is pool[2]
    assert query.extra is not None
    assert query.extra.headers == [("x-data-parallel-host-port", "[fd00::1]:8002")]
    assert query.extra.destination == "[fd00::1]:8000"


@pytest.mark.parametrize(("asked", "name"), [("a", "a"), ("b", "b"), ("nobody", "b"), (None, "b")])
def test_a_header_says_which_profile_runs(asked: str | None, name: str) -> None:
    labels = [{"label": "app", "validValues": [value]} for value in ("a", "b")]
    of = assembled(
        {"name": "only-a", "type": "by-label", "parameters": labels[0]},
        {"name": "only-b", "type": "by-label", "parameters": labels[1]},
        ("header-profile-handler", {"defaultProfile": "b"}),
        experimental=True,
        schedulingProfiles=[profile("a", "only-a"), profile("b", "only-b")],
    ).scheduler
    pool = [make.endpoint(value, labels={"app": value}) for value in ("a", "b")]
    query = make.query(headers={} if asked is None else {"epp-profile": asked})

    assert chosen(of, query, pool).endpoint.name == name


@dataclass(slots=True)
class Counting(Producer):
    """Counts what it is told."""

    type: ClassVar[str] = "counting"
    seen: list[tuple[str, str]] = field(default_factory=list)

    def produce(self, query: Query, endpoints: Sequence[Endpoint]) -> None:
        self.seen.append(("produce", ",".join(e.name for e in endpoints)))

    def picked(self, query: Query, endpoint: Endpoint) -> None:
        self.seen.append(("picked", endpoint.name))


@dataclass(slots=True)
class Timed:
    """What was told of the plugins."""

    told: list[tuple[str, str]] = field(default_factory=list)

    def clock(self) -> float:
        return 0.0

    def took(self, point: Point, plugin_type: str, seconds: float) -> None:
        self.told.append((point, plugin_type))


def handled(counting: Counting) -> Handled:
    profiles = {name: Profile(name, picker=MaxScorePicker()) for name in ("prefill", "decode")}
    return Handled("x", DisaggProfileHandler(), profiles, producers=[counting])


def test_facts_are_worked_out_once_over_everybody_and_who_prefills_is_told_first() -> None:
    counting = Counting()
    of, query, pool = handled(counting), make.query(), make.endpoints(3)
    query.able = pool
    pick = chosen(of, query, pool[:1])
    assert query.extra is not None
    of.picked(query, pick.endpoint)

    (beside,) = query.extra.beside
    assert pick.endpoint is pool[0]
    assert beside in pool[1:]
    assert counting.seen == [("produce", "e0,e1,e2"), ("picked", beside.name), ("picked", "e0")]


def test_the_plugins_of_every_profile_are_timed() -> None:
    of, timed = handled(Counting()), Timed()
    of.meter = timed
    chosen(of, make.query(), make.endpoints(2))

    assert of.meter is timed
    assert timed.told == [("DataProducer", "counting"), ("Picker", "max-score-picker"), ("Picker", "max-score-picker")]


def test_a_single_profile_runs_without_a_handler() -> None:
    of = assembled("queue-scorer", "single-profile-handler").scheduler

    assert isinstance(of, Profile)
    with pytest.raises(ValueError, match="exactly one profile"):
        DataParallelProfileHandler().runs(["a", "b"])
