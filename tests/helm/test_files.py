"""The chart and the Dockerfile as they stand in the repository; needs no helm."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from epp.domain import ConfigError
from epp.settings import Settings, parse

from . import shape
from .chart import CHART, EXAMPLE, ROOT, minimal, schema, values

# Flags the templates set, or that have nothing to say yet; every other flag of `onehop serve` is in `flags`.
SET_BY_THE_CHART = {
    "discovery-file", "semantic-config-file", "pool-name", "grpc-port", "grpc-health-port", "metrics-port",
    "drain-timeout", "secure-serving", "cert-path", "enable-cert-reload", "tls-names", "admin-token",
}  # fmt: skip
FLAGS = {name.replace("_", "-") for name in Settings.model_fields}
TEMPLATES = sorted((CHART / "templates").iterdir())


def text_of(name: str) -> str:
    return (CHART / "templates" / name).read_text()


def keys(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{path}{key}"
            yield from keys(inner, f"{path}{key}.")


def closed_objects(part: shape.Schema, path: str = "") -> Iterator[tuple[str, shape.Schema]]:
    if "properties" in part:
        yield path or "(root)", part
    for name, child in shape.children(part):
        yield from closed_objects(child, f"{path}.{name}")


def test_chart_yaml_says_what_helm_and_people_need() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert chart["apiVersion"] == "v2"
    assert chart["name"] == CHART.name == "onehop"
    assert chart["type"] == "application"
    assert re.fullmatch(r"\d+\.\d+\.\d+", chart["version"])
    assert chart["appVersion"] == project["version"]
    assert chart["annotations"]["artifacthub.io/license"] == project["license"] == "Apache-2.0"


def test_schema_uses_only_words_that_are_checked_here() -> None:
    assert shape.unchecked(schema()) == set()


@pytest.mark.parametrize(("path", "part"), [*closed_objects(schema())])
def test_schema_refuses_unknown_keys_everywhere(path: str, part: dict[str, Any]) -> None:
    assert part.get("additionalProperties") is False, path


def test_every_value_has_a_schema() -> None:
    documented = set(keys(values()))
    described = set(_described(schema()))

    assert documented <= described
    assert described - documented == {"global"} | {name for name in described if name.startswith("flags.")}


def _described(part: dict[str, Any], path: str = "") -> Iterator[str]:
    whole = schema()["definitions"]
    for name, child in part.get("properties", {}).items():
        yield f"{path}{name}"
        target = whole[child["$ref"].rpartition("/")[2]] if "$ref" in child else child
        yield from _described(target, f"{path}{name}.")
    # Keys below these are the user's or Kubernetes' own; the defaults of resources are among them.
    if path == "resources.":
        yield from ("resources.requests.cpu", "resources.requests.memory", "resources.limits.memory")


@pytest.mark.parametrize("given", [values(), values("ci/one-pool-values.yaml"), minimal()])
def test_defaults_and_examples_fit_the_schema(given: dict[str, Any]) -> None:
    assert shape.mistakes(schema(), given) == []


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"replica": 1}, "replica"),
        ({"discovery": {"endpoint": []}}, "discovery.endpoint"),
        ({"flags": {"unkown-model": "forward"}}, "flags.unkown-model"),
        ({"flags": {"classify-deadline": "soon"}}, "flags.classify-deadline"),
        ({"inferencePool": {"failureMode": "FailClosed"}}, "inferencePool.failureMode"),
        ({"inferencePool": {"targetPorts": [{"number": 0}]}}, "inferencePool.targetPorts[0].number"),
        ({"drainTimeoutSeconds": "30s"}, "drainTimeoutSeconds"),
    ],
)
def test_a_mistake_is_named_by_its_key(given: dict[str, Any], key: str) -> None:
    (found,) = shape.mistakes(schema(), given)

    assert found.startswith(f"{key}: ")


def test_flags_are_those_of_serve() -> None:
    allowed = set(schema()["properties"]["flags"]["properties"])

    assert allowed <= FLAGS, "flags that `onehop serve` does not have"
    assert FLAGS - allowed == SET_BY_THE_CHART, "a new flag goes into values.schema.json or SET_BY_THE_CHART"


@pytest.mark.parametrize("flag", sorted(schema()["properties"]["flags"]["properties"]))
def test_flags_are_listed_in_values_yaml(flag: str) -> None:
    comment = (CHART / "values.yaml").read_text().partition("\nflags:")[0].rpartition("\n\n")[2]

    assert re.search(rf"[ #]{flag}[ ,.]", comment)


def test_variables_of_services_would_be_taken_for_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEHOP_GRPC_PORT", "tcp://192.0.2.1:9002")  # what a Service named onehop-grpc sets

    with pytest.raises(ConfigError, match="grpc-port"):
        parse([])


def test_templates_write_only_flags_that_exist() -> None:
    written = set(re.findall(r"^ +- --([a-z-]+)=", text_of("deployment.yaml"), re.MULTILINE))

    assert written == {
        "pool-name", "discovery-file", "semantic-config-file", "drain-timeout", "secure-serving", "cert-path",
        "enable-cert-reload", "tls-names",
    }  # fmt: skip
    assert written <= SET_BY_THE_CHART <= FLAGS


def test_templates_use_only_values_that_exist() -> None:
    used = {path for file in TEMPLATES for path in re.findall(r"\.Values\.([A-Za-z.]+)", file.read_text())}

    assert used <= set(keys(values()))


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: str(file.name))
def test_braces_of_a_template_match(file: Any) -> None:
    text = file.read_text()

    assert text.count("{{") == text.count("}}")
    assert len(re.findall(r"{{-? (?:if|with|range|define) ", text)) == len(re.findall(r"{{-? end -?}}", text))


def test_the_example_lists_both_models_and_routes_by_prompt() -> None:
    example = yaml.safe_load(EXAMPLE.read_text())
    models = {model["name"] for model in example["semantic"]["config"]["providers"]["models"]}

    assert {endpoint["labels"]["model"] for endpoint in example["discovery"]["endpoints"]} == models


def test_image_user_is_a_number_and_not_root() -> None:
    users = re.findall(r"^USER (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)

    assert users == ["65532:65532"]


def test_image_starts_onehop_and_copies_every_package() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {pattern.rstrip("*") for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]}

    assert dockerfile.rstrip().endswith('ENTRYPOINT ["onehop"]')
    assert "onehop" in project["project"]["scripts"]
    assert set(re.findall(r"^COPY (\w+) \1$", dockerfile, re.MULTILINE)) == packages
    assert dockerfile.count("\nFROM python:3.12-slim") == 2
