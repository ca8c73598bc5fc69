"""Arguments to what is played: setups, each with its model servers, its chains and its cases."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.live import cases
from benchmarks.live.arguments import REMOTE_REQUESTS_MAX, REQUESTS_MAX, WIRINGS
from benchmarks.live.cases import Case, Pace, answer_case, prompt_case, workload_case
from benchmarks.live.fleet import Instant, Kind, Simulated
from benchmarks.live.measure import Hold
from benchmarks.live.site import Chain
from benchmarks.live.target import parse_address
from benchmarks.rivals import known
from benchmarks.sim.fleet import FleetSpec
from benchmarks.workloads import catalogue
from benchmarks.workloads.read import read
from benchmarks.workloads.workload import PLAIN, Shape, Workload

NONE = "none"
PROMPT_FACTOR, ANSWER_FACTOR = 0.02, 0.25
"""Real seconds that a GPU second takes: prompts are read in no time; tokens are 2 ms apart, so each travels alone."""
TOKEN_S = 0.0075  # one sequence alone on an H100
STREAMS, QUICK_STREAMS = (1, 100, 5_000), (1, 100)
LARGE_PROMPT_BYTES, LARGE_STREAMS_MAX = 1 << 20, 100
"""As many of the largest prompts are held open as fit into the memory of a small machine, beside the small ones."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What stands at the same time; `servers` None means that the targets are somebody else's."""

    wiring: str | None
    servers: Kind | None
    chains: Sequence[Chain]
    cases: Sequence[Case]
    holds: Sequence[Hold] = ()


def setups(given: argparse.Namespace) -> list[Setup]:
    """In the order in which they are played. Raises ValueError."""
    groups = [(servers, _chosen(given, found)) for servers, found in _groups(given)]
    groups = [(servers, found) for servers, found in groups if found]
    if not groups:
        raise ValueError("nothing to play: no case is left by --only, --prompts and --answers")
    if given.url:
        return [Setup(None, None, (), [case for _, found in groups for case in found])]
    return [
        Setup(wiring, servers, list(_chains(given, wiring)), found, _holds(given) if n == 0 else ())
        for wiring in given.wiring
        for n, (servers, found) in enumerate(groups)
    ]


def _groups(given: argparse.Namespace) -> Iterator[tuple[Kind, list[Case]]]:
    """Cases by the model servers that they need."""
    pace = _pace(given)
    if given.workload or given.trace:
        workload = _workload(given)
        servers = _simulated(given, 1.0, workload.shape)
        yield servers, [workload_case(workload, pace, servers.time_factor)]
        return
    instant = given.upstream == "instant" and not given.url
    prompts = given.prompts or (cases.QUICK_PROMPTS if given.quick else cases.PROMPTS)[given.closed]
    answers = given.answers or (cases.QUICK_ANSWERS if given.quick else cases.ANSWERS)
    if given.answers and not given.prompts:
        prompts = ()
    if given.prompts and not given.answers:
        answers = ()
    asking = [prompt_case(size, pace, instant=instant) for size in prompts if size]
    if given.closed and asking and given.connections is None:  # and what one alone sees
        asking.insert(1, prompt_case(next(filter(None, prompts)), pace, instant=instant, connections=1))
    reading = [_answers(tokens, pace, given, instant=instant) for tokens in answers if tokens]
    if instant:
        yield Instant(given.replicas), [*asking, *reading]
    else:
        yield _simulated(given, PROMPT_FACTOR), asking
        yield _simulated(given, ANSWER_FACTOR), reading


def _answers(tokens: int, pace: Pace, given: argparse.Namespace, *, instant: bool) -> Case:
    pause_ms = 4.0 if tokens < 10_000 else 1.0
    token_s = pause_ms / 1e3 if instant else TOKEN_S * (given.time_factor or ANSWER_FACTOR)
    return answer_case(tokens, pace, token_s=token_s, pause_ms=pause_ms if instant else None)


def _chosen(given: argparse.Namespace, found: Sequence[Case]) -> list[Case]:
    return [case for case in found if given.only in case.name]


def _pace(given: argparse.Namespace) -> Pace:
    most = REMOTE_REQUESTS_MAX if given.allow_remote else REQUESTS_MAX
    seconds = given.seconds or ((2.0 if given.quick else 5.0) if given.closed else (1.5 if given.quick else 3.0))
    return Pace(seconds, given.arrivals, given.rate, given.requests or most, given.closed, given.connections)


def _workload(given: argparse.Namespace) -> Workload:
    return read(given.trace) if given.trace is not None else catalogue.find(given.workload, given.data)


def _simulated(given: argparse.Namespace, time_factor: float, shape: Shape = PLAIN) -> Simulated:
    spec = FleetSpec.of(shape, None if given.url else given.model, given.gpu, given.replicas)
    return Simulated(spec, given.time_factor or time_factor, shape.adapters)


def _chains(given: argparse.Namespace, wiring: str) -> Iterator[Chain]:
    envoy = WIRINGS[wiring]
    yield Chain(NONE, envoy)
    for transport in given.transport:
        yield Chain(transport, envoy, flags=[f"--transport={transport}", *given.serve_flags])
    if given.picker_address:
        address = parse_address(given.picker_address, remote=given.allow_remote, flag="--picker-address")
        yield Chain(given.picker_address, envoy, address=address, pid=given.picker_pid)
    for text in dict.fromkeys(given.rival if wiring == given.wiring[0] else ()):  # they know nothing of wirings
        rival = known.find(text, given.rival_venv)
        if given.rival_front != "envoy":
            yield Chain(rival.name, envoy, rival=rival, front=False)
        if given.rival_front != "none":
            yield Chain(f"Envoy + {rival.name}", envoy, rival=rival)


def _holds(given: argparse.Namespace) -> Sequence[Hold]:
    if given.upstream != "instant" or given.url or given.only:
        return ()
    told = given.streams or (QUICK_STREAMS if given.quick else STREAMS)
    held = [count for count in told if count]
    large = [] if given.quick else [count for count in held if count <= LARGE_STREAMS_MAX]
    return [*map(Hold, held), *(Hold(count, LARGE_PROMPT_BYTES) for count in large)]


def rounds(given: argparse.Namespace) -> int:
    """Slices of each case and target."""
    return int(given.rounds or (1 if given.closed else 3 if given.quick else 5))
