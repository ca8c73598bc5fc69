"""An EndpointPickerConfig in sentences: who chooses, by what, and what the file means without saying so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from epp.options.flow import Band, FlowControlConfig
from epp.scheduling.assembly import Assembly
from epp.scheduling.framework import Memory, Profile
from epp.scheduling.handlers import Handled


def sentences(assembly: Assembly) -> Iterator[str]:
    """One line each."""
    scheduler = assembly.scheduler
    names = {id(plugin): name for name, plugin in assembly.plugins.items()}

    def called(plugin: Memory) -> str:
        return names.get(id(plugin), plugin.type)

    if scheduler.screeners:
        yield f"{_all(map(called, scheduler.screeners))} says who may take part"
    if scheduler.producers:
        yield f"facts that others look at come from {_all(map(called, scheduler.producers))}"
    if scheduler.admitters:
        yield f"{_all(map(called, scheduler.admitters))} may refuse the request"
    if isinstance(scheduler, Handled):
        yield f"{called(scheduler.handler)} runs the profiles {_all(scheduler.profiles)}"
    for profile in profiles_of(assembly):
        kept = f"keeps the endpoints of {_all(map(called, profile.filters))}, " if profile.filters else ""
        weighed = [f"{called(scorer)} x {weight:g}" for scorer, weight in profile.scorers]
        summed = f"adds up {_all(weighed)}, " if weighed else "scores nothing, "
        yield f"profile {profile.name!r} {kept}{summed}and takes one by {called(profile.picker)}"
    if assembly.parsers is not None:
        yield f"bodies are read by {_all(sorted(assembly.parsers))} alone"
    yield from _flow(assembly.flow)
    for implied in dict.fromkeys(assembly.implied):
        yield f"implied: {implied}"
    for note in assembly.notes:
        yield f"note: {note}"


def profiles_of(assembly: Assembly) -> Sequence[Profile]:
    """Its profiles, in their order."""
    scheduler = assembly.scheduler
    if isinstance(scheduler, Handled):
        return list(scheduler.profiles.values())
    assert isinstance(scheduler, Profile)
    return [scheduler]


def _flow(flow: FlowControlConfig) -> Iterator[str]:
    detector = flow.detector.type
    if not flow.enabled:
        yield f"requests do not wait; those that may be shed are refused while {detector} says that the pool is full"
        return
    ttl = "for ever" if flow.request_ttl_s is None else f"{flow.request_ttl_s:g} s at most"
    yield f"requests wait {ttl} while {detector} says that the pool is full, up to what {flow.usage_limit.type} says"
    for band in flow.bands:
        yield f"priority {band.priority}: {_band(band)}"
    yield f"every other priority: {_band(flow.default_band)}"


def _band(band: Band) -> str:
    return (
        f"{band.requests_max} requests and {band.bytes_max} bytes may wait; {band.fairness.type} among tenants,"
        f" {band.ordering.type} within one"
    )


def _all(words: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    listed = list(words)
    return " and ".join(filter(None, (", ".join(listed[:-1]), listed[-1] if listed else "nothing")))
