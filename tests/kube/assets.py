"""Gathers what `make test-kube` needs into one folder: an API server, its controllers and its etcd, helm, Prometheus
and its adapter, KEDA, and CRDs.

Everything is pinned: the servers by the module in `servers/`, the rest below, in versions that fit each other
(Kubernetes 1.35 is within what Istio 1.29 and Gateway API 1.4 support). What is given is taken: the servers of
KUBEBUILDER_ASSETS, and a helm, promtool or prometheus on PATH. The rest is built with Go, from the module proxy.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SERVERS = Path(__file__).with_name("servers")
SERVER_NAMES = ("kube-apiserver", "etcd")
CONTROLLERS = "kube-controller-manager"


@dataclass(frozen=True, slots=True)
class Module:
    """A version of a Go module; `sum` is what go.sum holds for it."""

    path: str
    version: str
    sum: str


@dataclass(frozen=True, slots=True)
class Tool:
    """A command that a module carries."""

    module: Module
    package: str
    tags: str = ""


@dataclass(frozen=True, slots=True)
class Manifests:
    """CustomResourceDefinitions that a module carries, by file pattern and plural names in a group."""

    module: Module
    files: str
    group: str
    plurals: tuple[str, ...]
    renamed_group: str = ""

    @property
    def names(self) -> list[str]:
        return [f"{plural}.{self.group}" for plural in self.plurals]


# Without service discovery: checking rules and reading one address need none, and half of what it would download stays
# away. Nor is the web interface in it.
PROMETHEUS = Module("github.com/prometheus/prometheus", "v0.311.3", "h1:3IrVxQv6v5i/ZCGi6OrYeBhtCwaPTn6Z3DYruXoYm3M=")
TOOLS = {
    "helm": Tool(Module("helm.sh/helm/v3", "v3.20.2", "h1:binM4rvPx5DcNsa1sIt7UZi55lRbu3pZUFmQkSoRh48="), "cmd/helm"),
    "promtool": Tool(PROMETHEUS, "cmd/promtool", tags="remove_all_sd"),
    "prometheus": Tool(PROMETHEUS, "cmd/prometheus", tags="remove_all_sd"),
    "prometheus-adapter": Tool(
        Module("sigs.k8s.io/prometheus-adapter", "v0.12.0", "h1:e29A6BIwA/NKxPZeuamBMHJsvz0sSUXTb92Obg7RMV4="),
        "cmd/adapter",
    ),
}
# The guide's versions (helm/guide/versions.env); of the inference extension also one that has rewrites.
GIE = Module("sigs.k8s.io/gateway-api-inference-extension", "v1.1.0", "h1:MqRYk+3LNUWB0MbTgTZVhmJGNDTvm8l3ze4MOlzR7MU=")
GIE_LATER = Module(GIE.path, "v1.5.0", "h1:w9Awt60cmI1vM7Y6N81h8wDCBP0WkmxpdI7GKY0v070=")
GATEWAY_API = Module("sigs.k8s.io/gateway-api", "v1.4.0", "h1:ZwlNM6zOHq0h3WUX2gfByPs2yAEsy/EenYJB78jpQfQ=")
ISTIO = Module("istio.io/api", "v1.29.0", "h1:E4rokccO3xqtxWd2zmLjlq+sKuWakrzmskhaFNFqCbs=")
PROMETHEUS_OPERATOR = Module(
    "github.com/prometheus-operator/prometheus-operator", "v0.85.0", "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s="
)
KEDA = Module("github.com/kedacore/keda/v2", "v2.18.3", "h1:PY3o80tzBAzCffS8J6eBZctT4B+g/r26zErNSMleC50=")
KEDA_COMMANDS = {"keda-operator": "./cmd/operator", "keda-adapter": "./cmd/adapter"}
KEDA_WITHOUT = ("newrelic", "solarwinds")  # scalers whose clients are modules that not every proxy has
BASES = "config/crd/bases/*.yaml"
ISTIO_FILE = "kubernetes/customresourcedefinitions.gen.yaml"
OLD_GROUP = "inference.networking.x-k8s.io"
POLICIES = ("inferenceobjectives", "inferencemodelrewrites")
MANIFESTS = (
    Manifests(GIE, BASES, "inference.networking.k8s.io", ("inferencepools",)),
    Manifests(GIE, BASES, OLD_GROUP, ("inferencepools",)),
    Manifests(GIE_LATER, BASES, OLD_GROUP, POLICIES),
    # llm-d's own module is not on every proxy. It took these two over as they were, into its group.
    Manifests(GIE_LATER, BASES, OLD_GROUP, POLICIES, renamed_group="llm-d.ai"),
    Manifests(
        GATEWAY_API,
        "config/crd/standard/*.yaml",
        "gateway.networking.k8s.io",
        ("gatewayclasses", "gateways", "httproutes", "referencegrants"),
    ),
    Manifests(ISTIO, ISTIO_FILE, "networking.istio.io", ("envoyfilters", "destinationrules", "virtualservices")),
    Manifests(ISTIO, ISTIO_FILE, "security.istio.io", ("requestauthentications", "authorizationpolicies")),
    Manifests(
        PROMETHEUS_OPERATOR,
        "example/prometheus-operator-crd/*.yaml",
        "monitoring.coreos.com",
        ("servicemonitors", "podmonitors", "prometheusrules"),
    ),
    Manifests(
        KEDA,
        BASES,
        "keda.sh",
        ("scaledobjects", "scaledjobs", "triggerauthentications", "clustertriggerauthentications"),
    ),
    Manifests(KEDA, BASES, "eventing.keda.sh", ("cloudeventsources", "clustercloudeventsources")),
)


class Missing(Exception):
    """What could not be gathered, and why."""


def main(folder: Path) -> None:
    binaries, definitions = folder.absolute() / "bin", folder / "crds"
    binaries.mkdir(parents=True, exist_ok=True)
    gather_servers(binaries)
    for name, tool in TOOLS.items():
        gather_tool(name, tool, binaries)
    gather_keda(binaries)
    shutil.rmtree(definitions, ignore_errors=True)
    definitions.mkdir()
    gather_definitions(definitions)


def gather_servers(binaries: Path) -> None:
    """kube-apiserver and etcd, given or built; and the controllers, which are seldom beside those that are given."""
    given = os.environ.get("KUBEBUILDER_ASSETS")
    if given:
        for name in SERVER_NAMES:
            link(Path(given) / name, binaries / name)
        if (Path(given) / CONTROLLERS).is_file():
            link(Path(given) / CONTROLLERS, binaries / CONTROLLERS)
            return
    names, packages = ((CONTROLLERS,), f"./{CONTROLLERS}") if given else ((*SERVER_NAMES, CONTROLLERS), "./...")
    build(binaries, *names, cwd=SERVERS, packages=(packages,), linking=stamp())


def stamp() -> str:
    """Linker flags that give the API server its version, which clients and charts read."""
    found = re.search(r"k8s\.io/kubernetes (v(\d+)\.(\d+)\.\d+)", (SERVERS / "go.mod").read_text())
    assert found is not None
    version, major, minor = found.groups()
    package = "k8s.io/component-base/version"
    return f"-X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"


def gather_tool(name: str, tool: Tool, binaries: Path) -> None:
    """A command, from PATH or built."""
    path = os.pathsep.join(part for part in os.get_exec_path() if Path(part).absolute() != binaries)
    given = shutil.which(name, path=path)
    if given is not None:
        link(Path(given), binaries / name)
        return
    download(tool.module)
    with tempfile.TemporaryDirectory() as folder:
        # A module of its own and not `go install`, which minds the `replace` of others. Nor `go get`, which minds no
        # build tags and downloads everything.
        go("mod", "init", "tool", cwd=Path(folder))
        go("mod", "edit", f"-require={tool.module.path}@{tool.module.version}", cwd=Path(folder))
        package = f"{tool.module.path}/{tool.package}"
        build(binaries, name, cwd=Path(folder), packages=("-mod=mod", f"-tags={tool.tags}", package))


def gather_keda(binaries: Path) -> None:
    """KEDA's operator and metrics server, without two scalers, and with nothing that listens beyond loopback."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "keda"
        shutil.copytree(download(KEDA), source)
        for each in (source, *source.rglob("*")):  # modules are kept read-only
            each.chmod(0o755)
        builder = source / "pkg/scaling/scalers_builder.go"
        text = builder.read_text()
        for name in KEDA_WITHOUT:
            (source / f"pkg/scalers/{name}_scaler.go").unlink()
            text = replaced(rf'\tcase "[a-z-]+":\n\t\treturn scalers\.New{name}Scaler\(.*\n', "", text)
        builder.write_text(text)
        server = source / "cmd/adapter/main.go"
        server.write_text(
            replaced(
                r'Sprintf\(":%v", metricsAPIServerPort\)',
                'Sprintf("127.0.0.1:%v", metricsAPIServerPort)',
                server.read_text(),
            )
        )
        for name, package in KEDA_COMMANDS.items():
            build(binaries, name, cwd=source, packages=(package,))


def replaced(pattern: str, by: str, text: str) -> str:
    """The text with the one place changed that the pattern finds, whatever the case of its letters."""
    changed, count = re.subn(pattern, by, text, flags=re.IGNORECASE)
    if count != 1:
        raise Missing(f"{pattern} is there {count} times")
    return changed


def build(binaries: Path, *names: str, cwd: Path, packages: tuple[str, ...], linking: str = "") -> None:
    """Commands called `names` out of the module in `cwd`."""
    for name in names:  # what was linked before is not ours to write to
        (binaries / name).unlink(missing_ok=True)
    flags = ("-trimpath", "-buildvcs=false", f"-ldflags=-s -w {linking}")
    into = f"{binaries}{os.sep}" if len(names) > 1 else str(binaries / names[0])  # else called as its package is
    go("build", *flags, "-o", into, *packages, cwd=cwd)


def link(given: Path, target: Path) -> None:
    """`target` stands for `given`."""
    if not given.is_file():
        raise Missing(f"{given} is not there")
    target.unlink(missing_ok=True)
    target.symlink_to(given.resolve())


def gather_definitions(folder: Path) -> None:
    """One file per CustomResourceDefinition."""
    for manifests in MANIFESTS:
        found = definitions(download(manifests.module).glob(manifests.files), manifests.names)
        for name in manifests.names:
            definition = found[name]
            if manifests.renamed_group:
                definition = renamed(definition, manifests.renamed_group)
            # As JSON, which is read in a tenth of the time.
            (folder / f"{definition['metadata']['name']}.json").write_text(json.dumps(definition))


def download(module: Module) -> Path:
    """The module's folder, after its content proved to be what is pinned here."""
    pinned = f"{module.path}@{module.version}"
    with tempfile.TemporaryDirectory() as folder:  # not inside of a module, whose versions would count
        said = json.loads(go("mod", "download", "-json", pinned, cwd=Path(folder)))
    if said["Sum"] != module.sum:
        raise Missing(f"{pinned} is {said['Sum']}, but {module.sum} is pinned")
    return Path(said["Dir"])


def definitions(files: Iterable[Path], names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The CustomResourceDefinitions of these names, by name."""
    found = {}
    for text in (file.read_text() for file in files):
        if any(name in text for name in names):  # some others are not YAML to PyYAML
            documents = yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            found.update((each["metadata"]["name"], each) for each in documents if each)
    return found


def renamed(definition: dict[str, Any], group: str) -> dict[str, Any]:
    """The same definition in another group."""
    spec = definition["spec"] | {"group": group}
    name = f"{spec['names']['plural']}.{group}"
    return definition | {"metadata": {"name": name}, "spec": spec}


def go(*words: str, cwd: Path) -> str:
    """Standard output of a Go command; what it says of its progress is passed on."""
    binary = shutil.which("go")
    if binary is None:
        raise Missing("Go is not on PATH; install it, or name the servers' folder with KUBEBUILDER_ASSETS")
    # Without C, so that no compiler for it is needed and the binaries run anywhere.
    surroundings = os.environ | {"CGO_ENABLED": "0"}
    ran = subprocess.run([binary, *words], cwd=cwd, env=surroundings, stdout=subprocess.PIPE, text=True, check=False)
    if ran.returncode != 0:
        raise Missing(f"go {' '.join(words)} failed {ran.stdout}")
    return ran.stdout


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except Missing as missing:
        sys.exit(f"kube-assets: {missing}")
