"""The chart and the Dockerfile as they stand in the repository; needs no helm."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import yaml

from epp.domain import ConfigError
from epp.settings import Settings, parse

from . import shape
from .chart import CHART, MODES, ROOT, example, listed, minimal, schema, values

# Flags the templates set, or that have nothing to say in a pod; every other flag of `onehop serve` is in `flags`.
SET_BY_THE_CHART = {
    "discovery-file", "pool-name", "pool", "pool-selector", "picker-service", "pool-namespace", "pool-group",
    "endpoint-selector", "endpoint-target-ports", "model-label", "serves", "kubeconfig", "events",
    "ha-enable-leader-election", "semantic-config-file", "semantic-port", "decision-key-file",
    "grpc-port", "grpc-health-port", "metrics-port", "drain-timeout", "drain-notice", "workers",
    "message-timeout", "max-message-timeout", "config-file",
    "secure-serving", "cert-path", "enable-cert-reload", "tls-names", "admin-token",
}  # fmt: skip
FLAGS = {name.replace("_", "-") for name in Settings.model_fields}
TEMPLATES = sorted((CHART / "templates").iterdir())
OPEN = {"affinity", "resources", "standalone.envoy.resources"}  # keys below are Kubernetes' own


def _image_size() -> Any:
    spec = spec_from_file_location("image_size", ROOT / "helm" / "image_size.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


image_size = _image_size()


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
    documented = {path for path in keys(values()) if not _is_inside_open(path)}
    described = {path for path in _described(schema()) if not _is_inside_open(path)}

    assert documented - described == {"monitoring.dashboard.labels.grafana_dashboard"}
    assert described - documented == {"global"} | {name for name in described if name.startswith("flags.")}


def _is_inside_open(path: str) -> bool:
    return any(path.startswith(f"{name}.") for name in OPEN)


def _described(part: dict[str, Any], path: str = "") -> Iterator[str]:
    whole = schema()["definitions"]
    for name, child in part.get("properties", {}).items():
        yield f"{path}{name}"
        target = whole[child["$ref"].rpartition("/")[2]] if "$ref" in child else child
        yield from _described(target, f"{path}{name}.")


@pytest.mark.parametrize("given", [values(), *map(example, MODES), minimal(), listed()])
def test_defaults_and_examples_fit_the_schema(given: dict[str, Any]) -> None:
    assert shape.mistakes(schema(), given) == []


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"replica": 1}, "replica"),
        ({"mode": "onehop"}, "mode"),
        ({"pools": [{"name": "a", "selectors": {}}]}, "pools[0].selectors"),
        ({"pools": [{"name": "a", "selector": {"matchLabel": {}}}]}, "pools[0].selector.matchLabel"),
        ({"pools": [{"name": "a", "targetPorts": [{"number": 0}]}]}, "pools[0].targetPorts[0].number"),
        ({"pools": [{"name": "a", "targetPorts": [{"number": 1, "name": "x"}]}]}, "pools[0].targetPorts[0].name"),
        ({"pools": [{"name": "a", "failureMode": "FailClosed"}]}, "pools[0].failureMode"),
        ({"discovery": {"endpoint": []}}, "discovery.endpoint"),
        (
            {"discovery": {"serves": [{"model": "a", "labels": {}, "matchLabels": {"a": "b"}}]}},
            "discovery.serves[0].labels",
        ),
        ({"gateway": {"provider": "Istio"}}, "gateway.provider"),
        ({"gateway": {"parentRefs": [{"name": "a", "section": "b"}]}}, "gateway.parentRefs[0].section"),
        ({"httpRoute": {"timeout": "1s"}}, "httpRoute.timeout"),
        ({"istio": {"envoyFilter": {"messageTimeout": "2"}}}, "istio.envoyFilter.messageTimeout"),
        ({"istio": {"destinationRule": {"mode": "SIMPLE"}}}, "istio.destinationRule.mode"),
        ({"guideDropIn": {"namespace": "default"}}, "guideDropIn.namespace"),
        ({"standalone": {"envoy": {"resources": {"limit": {}}}}}, "standalone.envoy.resources.limit"),
        ({"standalone": {"listenerPort": 80}}, "standalone.listenerPort"),
        ({"drain": {"timeoutSeconds": "30s"}}, "drain.timeoutSeconds"),
        ({"flags": {"unkown-model": "forward"}}, "flags.unkown-model"),
        ({"flags": {"classify-deadline": "soon"}}, "flags.classify-deadline"),
        ({"networkPolicy": {"egress": {"apiserver": []}}}, "networkPolicy.egress.apiserver"),
        ({"networkPolicy": {"admin": [{"ipBlock": {"cidr": "10.0.0.1"}}]}}, "networkPolicy.admin[0].ipBlock.cidr"),
        ({"monitoring": {"dashboard": {"label": {}}}}, "monitoring.dashboard.label"),
        (
            {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "b"}]},
            "topologySpreadConstraints[0].whenUnsatisfiable",
        ),
        ({"tolerations": [{"keys": "a"}]}, "tolerations[0].keys"),
        ({"affinity": {"podAffinities": {}}}, "affinity.podAffinities"),
        ({"image": {"digest": "sha256:0"}}, "image.digest"),
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
    written = set(re.findall(r"--([a-z-]+)=", text_of("_args.tpl")))

    nothing_to_say = {"kubeconfig", "grpc-port", "grpc-health-port", "metrics-port", "admin-token", "config-file"}
    assert written == SET_BY_THE_CHART - nothing_to_say
    assert written <= SET_BY_THE_CHART <= FLAGS


def test_templates_use_only_values_that_exist() -> None:
    used = {path for file in TEMPLATES for path in re.findall(r"\.Values\.([A-Za-z.]+)", file.read_text())}

    assert used <= set(keys(values()))


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: str(file.name))
def test_blocks_of_a_template_end(file: Any) -> None:
    text = file.read_text()

    assert len(re.findall(r"{{-? ?(?:if|with|range|define) ", text)) == len(re.findall(r"{{-? ?end ?-?}}", text))


def test_there_is_one_example_for_each_mode() -> None:
    files = {file.name for file in (CHART / "ci").iterdir()}

    assert files == {f"{name}-values.yaml" for name in MODES.values()}
    assert {example(mode)["mode"] for mode in MODES} == set(MODES) == set(schema()["properties"]["mode"]["enum"])


def test_each_verb_has_its_reason_beside_it() -> None:
    verbs = re.findall(r"^ +- (get|list|watch|create|update|patch|delete)\b(.*)$", text_of("rbac.yaml"), re.MULTILINE)

    assert len(verbs) > 8
    assert all(re.match(r" # \w", reason) for _, reason in verbs)
    assert "verbs: [" not in text_of("rbac.yaml")


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


def test_image_is_built_apart_on_a_base_that_can_be_pinned() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    before, build, final = dockerfile.split("\nFROM ${BASE}${DIGEST}")

    assert re.findall(r"^ARG (.*)$", before, re.MULTILINE) == ["BASE=python:3.12-slim", "DIGEST="]
    assert "FROM" not in build + final
    assert "pip uninstall" in final
    assert not re.search(r"pip (--python \S+ )?install", final)
    assert "PIP_CONSTRAINT=/src/constraints.txt" in build


def test_docker_is_sent_what_is_copied_and_nothing_else() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {line.removeprefix("!") for line in ignored if line.startswith("!")}

    assert "*" in ignored
    assert sent == set(image_size.copied((ROOT / "Dockerfile").read_text()))
    assert all((ROOT / name).exists() for name in sent)


def test_sizes_are_by_package_with_the_models_apart(tmp_path: Path) -> None:
    info = tmp_path / "onehop-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: onehop\nVersion: 1.0\n")
    (tmp_path / "semantic" / "models").mkdir(parents=True)
    (tmp_path / "semantic" / "models" / "m.onnx").write_bytes(b"0" * 5000)
    (tmp_path / "epp.py").write_bytes(b"0" * 700)
    (info / "RECORD").write_text("semantic/models/m.onnx,,\nepp.py,,\n")
    rows = image_size.sizes(tmp_path)

    assert rows == {"onehop 1.0": 700, image_size.MODELS: 5000}
    assert image_size.table(rows, whole=2_000_000, pulled=1_000_000).splitlines()[-2].split() == [
        "/opt/onehop", "2.00", "MB",
    ]  # fmt: skip
