"""Configuration files written for the Go picker, from the folder that ONEHOP_COMPAT_DIR names: each loads as it is."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from epp.domain import Candidate, Endpoint, Load, Request
from epp.options.flow import SoftReflectiveCeilingPolicy, Utilization
from epp.scheduling.assembly import Assembly, examine, load
from epp.scheduling.framework import Query
from epp.scheduling.pick import Pick

FOLDER = os.environ.get("ONEHOP_COMPAT_DIR")
pytestmark = pytest.mark.skipif(FOLDER is None, reason="ONEHOP_COMPAT_DIR is unset: the Go picker's files are not read")
REFUSED = {
    "epp-precise-prefix-cache-config.yaml": ("plugins[0].parameters.vllm", "prompts are not sent to a tokenizer"),
    "soft-reflective-ceiling-epp-config.yaml": ("plugins[3].type", "--allow-experimental-plugins"),
}
ROLES = ("prefill", "decode", "decode")
PROMPT = Random(1).randbytes(8192)


def content(name: str) -> bytes:
    assert FOLDER is not None
    return (Path(FOLDER) / "endpointpickerconfig" / name).read_bytes()


def names() -> list[str]:
    if FOLDER is None:
        return ["none"]
    return sorted(path.name for path in (Path(FOLDER) / "endpointpickerconfig").glob("*.yaml"))


def pool() -> list[Endpoint]:
    load = Load(at=0.0, waiting=0, running=0, kv_usage=0.0)
    return [
        Endpoint(f"ns/p{n}-rank-0", f"10.0.0.{n}:8001", labels={"llm-d.ai/role": role}, load=load)
        for n, role in enumerate(ROLES)
    ]


def choose(assembly: Assembly, endpoints: list[Endpoint], prompt: bytes = PROMPT, seed: int = 2) -> tuple[Query, Pick]:
    request = Request("r", model="m", prompt=prompt, prompt_tokens=len(prompt) // 4)
    query = Query(request, Candidate("m"), 0.0, Random(seed))
    pick = assembly.scheduler.run(query, endpoints)
    assert pick is not None
    assembly.scheduler.picked(query, pick.endpoint)
    return query, pick


def test_there_are_files_and_every_refusal_is_of_one_of_them() -> None:
    assert len(names()) >= 9
    assert set(REFUSED) <= set(names())


@pytest.mark.parametrize("name", names())
def test_a_file_loads_as_it_is_or_is_refused_with_the_reason(name: str) -> None:
    assembly, mistakes = examine(content(name))

    if name in REFUSED:
        path, says = REFUSED[name]
        assert [(m.path, says in m.message) for m in mistakes] == [(path, True)]
    else:
        assert mistakes == []
        assert assembly is not None


@pytest.mark.parametrize("name", sorted(set(names()) - set(REFUSED)))
def test_a_file_that_loads_chooses(name: str) -> None:
    assembly = load(content(name))
    endpoints = pool()
    picked = {choose(assembly, endpoints, seed=seed)[1].endpoint.name for seed in range(20)}

    decoding = {endpoints[1].name, endpoints[2].name}
    if "probabilistic" in name:
        assert len(picked) == 3  # at random over all
    else:
        assert len(picked) == 1, "a prompt follows its prefix"
        assert picked <= decoding


def test_what_flow_control_asks_for_is_read() -> None:
    ceiling = load(content("soft-reflective-ceiling-epp-config.yaml"), experimental=True).flow
    admitter = load(content("probabilistic-admitter-epp-config.yaml")).flow

    assert ceiling.enabled
    assert isinstance(ceiling.usage_limit, SoftReflectiveCeilingPolicy)
    assert not admitter.enabled
    assert isinstance(admitter.detector, Utilization)
    assert (admitter.detector.queue_depth_threshold, admitter.detector.kv_cache_util_threshold) == (999_999_999, 1.0)


def test_prefill_goes_apart_until_the_prompt_is_cached_where_it_is_decoded() -> None:
    assembly, endpoints = load(content("pd-epp-config.yaml")), pool()
    first, _ = choose(assembly, endpoints)
    again, _ = choose(assembly, endpoints)
    short, _ = choose(assembly, endpoints, b"hi")

    headers = [query.extra.headers if query.extra else None for query in (first, again, short)]
    assert headers == [[("x-prefiller-host-port", "10.0.0.0:8001")], [], []]


def test_a_rank_is_reached_through_the_primary_port() -> None:
    query, pick = choose(load(content("dp-epp-config.yaml")), pool())

    assert query.extra is not None
    assert query.extra.headers == [("x-data-parallel-host-port", pick.endpoint.address)]
    assert query.extra.destination == pick.endpoint.address.replace(":8001", ":8000")


def test_files_that_ask_for_the_precise_index_are_told_what_runs() -> None:
    (note,) = load(content("sim-epp-no-hit-lru.yaml")).notes

    assert note.startswith("plugins[0]: ENGINES' KV CACHE EVENTS ARE NOT READ")
