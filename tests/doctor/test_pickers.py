"""What is read out of a container's arguments."""

from __future__ import annotations

from typing import Any

import pytest

from epp.doctor.arguments import arguments, parse
from epp.doctor.cluster import Cluster, Workload
from epp.doctor.models import served
from epp.doctor.pickers import PICKERS, Listening, Picker, all_pickers, pickers
from epp.settings import Settings
from tests.doctor.site import site


def pod(*args: str, image: str = "example/picker:1", **more: Any) -> Workload:
    return Workload("Pod ns/p", "ns", {}, {"containers": [{"image": image, "args": list(args), **more}]})


def only(workload: Workload) -> Picker:
    (found,) = pickers(workload)
    return found


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--a=1", "-b=2"], {"a": ("1",), "b": ("2",)}),
        (["--a", "1", "--a", "2"], {"a": ("1", "2")}),
        (["--secure-serving", "--a"], {"secure-serving": ("true",), "a": ("true",)}),
        (["--secure-serving", "false"], {"secure-serving": ("false",)}),
        (["--events", "x"], {"events": ("true",)}),
        (["--a=b=c", "--", "x"], {"a": ("b=c",)}),
    ],
)
def test_flags_are_read_as_go_reads_them(words: list[str], found: dict[str, tuple[str, ...]]) -> None:
    assert parse(words) == found


@pytest.mark.parametrize(
    ("args", "ports"),
    [
        (["--pool-name=p"], {9002: Listening(tls=True)}),
        (["--pool-name=p", "--secure-serving=false", "--grpc-port=9100"], {9100: Listening(tls=False)}),
        (["--pool-name=p", "--secure-serving=perhaps"], {9002: Listening(tls=None)}),
        (["--pool=p", "--semantic-port=50051"], {9002: Listening(tls=True), 50051: Listening(tls=False)}),
        (["--pool=p=9101", "--pool=far/q=9102"], {
            9002: Listening(tls=True), 9101: Listening(True, "ns/p"), 9102: Listening(True, "far/q")}),
    ],
)  # fmt: skip
def test_a_picker_listens_where_its_flags_say(args: list[str], ports: dict[int, Listening]) -> None:
    assert only(pod(*args)).ports == ports


def test_flags_of_onehop_may_be_in_the_environment_and_arguments_win() -> None:
    env = [{"name": "ONEHOP_GRPC_PORT", "value": "9100"}, {"name": "ONEHOP_POOL_NAME", "value": "p"}]
    image = "registry.example:5000/team/onehop@sha256:0"

    assert only(pod(image=image, env=env)).ports.keys() == {9100}
    assert only(pod("serve", "--grpc-port=9200", image=image, env=env)).ports.keys() == {9200}


@pytest.mark.parametrize(
    "workload",
    [
        pod("--model", "m", image="vllm/vllm-openai"),
        pod("--replica", "name=a", image="onehop:1", command=["python", "-m", "benchmarks.simulator"]),
        pod("quickstart", image="onehop:1"),
    ],
)
def test_what_is_no_picker_is_not_taken_for_one(workload: Workload) -> None:
    assert list(pickers(workload)) == []


def test_variables_are_filled_in_where_they_are_known() -> None:
    env = [
        {"name": "A", "value": "1"},
        {"name": "NS", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]
    container = {"args": ["--a=$(A)", "--b=$(NS)", "--c=$(SECRET)", "--d=$(NOBODY)"], "env": env}

    assert arguments(container, "ns") == ["--a=1", "--b=ns", "--c=$(SECRET)", "--d=$(NOBODY)"]


@pytest.mark.parametrize(
    ("args", "names"),
    [
        (["--model", "meta/llama"], {"meta/llama"}),
        (["--model=meta/llama", "--served-model-name", "a", "b", "--port", "8000"], {"a", "b"}),
        (["serve", "meta/llama", "--lora-modules", "x=/x", "y=/y"], {"meta/llama", "x", "y"}),
        (["--model-path=meta/llama", "--served-model-name=a"], {"a"}),
        (["--replica", "name=n,models=a+b,port=1"], {"a", "b"}),
        (["--model=${MODEL}"], set()),
        (["--port=8000"], set()),
    ],
)
def test_models_are_read_out_of_a_servers_arguments(args: list[str], names: set[str]) -> None:
    assert served(pod(*args)) == names


def test_the_flags_we_know_ourselves_by_are_our_own() -> None:
    known = {name.replace("_", "-") for name in Settings.model_fields}

    assert known >= PICKERS


def test_every_picker_of_a_site_is_found() -> None:
    (found,) = all_pickers(Cluster(site()))

    assert found.workload.title == "Deployment llm/onehop"
    assert found.named_pools == {"llm/llama": None, "llm/phi": None}
    assert found.is_onehop
