"""`onehop doctor` over files, and over an API server on a real socket."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from epp.__main__ import main
from tests.cli.listening import listening
from tests.doctor.apiserver import ApiServer, kubeconfig
from tests.doctor.site import Tree, running, site, without_filter

Asked = Callable[..., Any]


def plaintext(objects: dict[str, Tree]) -> None:
    """A problem: the picker speaks plaintext, the DestinationRule says TLS."""
    objects["onehop"]["spec"]["template"]["spec"]["containers"][0]["args"].append("--secure-serving=false")


def labelled(objects: dict[str, Tree]) -> None:
    objects["istiod"]["metadata"]["labels"] = {"app": "istiod"}


def by_name(objects: dict[str, Tree]) -> None:
    """The gateway's class tells its kind by its name."""
    objects["gateway"]["spec"]["gatewayClassName"] = "istio"


@pytest.fixture
def manifest(tmp_path: Path) -> Callable[..., Path]:
    def write(*edits: Any, name: str = "site.yaml") -> Path:
        path = tmp_path / name
        path.write_text(yaml.safe_dump_all(site(*edits)))
        return path

    return write


def test_sound_manifests_end_with_0(manifest: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--file", str(manifest())])
    out = capsys.readouterr().out

    assert code == 0
    assert "ok           picker-tls: both ends agree on TLS\n" in out
    assert out.endswith("21 checks: 18 ok, 3 not checked\n")
    assert max(map(len, out.splitlines())) <= 100


def test_a_problem_ends_with_1_and_says_what_to_do(
    manifest: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["doctor", "--file", str(manifest(plaintext))])
    out = capsys.readouterr().out

    assert code == 1
    assert "problem      picker-tls\n" in out
    assert "InferencePool llm/llama: DestinationRule llm/onehop says SIMPLE" in out
    assert "-> Set tls {mode: DISABLE} there, or run the picker with --secure-serving=true." in out
    assert "21 checks: 1 problem, " in out


def test_a_warning_ends_with_0(manifest: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--file", str(manifest(lambda objects: objects["role"]["rules"].pop()))])

    assert code == 0
    assert "1 warning" in capsys.readouterr().out


def test_json_has_every_check(manifest: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json", "--file", str(manifest(plaintext, without_filter))])
    told = json.loads(capsys.readouterr().out)
    rows = {row["check"]: row for row in told["results"]}

    assert code == 1
    assert told["counts"] == {"ok": 19, "not checked": 1, "warning": 0, "problem": 1}
    assert rows["picker-tls"]["level"] == "problem"
    assert {f["subject"] for f in rows["picker-tls"]["findings"]} == {
        "InferencePool llm/llama",
        "InferencePool llm/phi",
    }
    assert rows["filter-place"]["reason"] == "no EnvoyFilter adds an ext_proc filter"


def test_files_folders_and_standard_input_are_read_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "all"
    folder.mkdir()
    first, second, *rest = site()
    (folder / "list.yaml").write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": rest}))
    (folder / "values.yaml").write_text("replicas: 2\n")  # not an object, and nobody named it
    (folder / "notes.txt").write_text("{{ not YAML")
    (tmp_path / "one.json").write_text(json.dumps(first))
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(yaml.safe_dump(second).encode())))
    code = main(["doctor", "--file", str(folder), str(tmp_path / "one.json"), "--file", "-"])

    assert code == 0
    assert "21 checks: 18 ok, 3 not checked" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"replicas: 2\n", "not a Kubernetes object: it has no kind or no apiVersion"),
        (b"- 1\n", "not a Kubernetes object"),
        (b"a: {{ .Values.x }}\n", "render a Helm template first"),
        (b"a: [\n", "not YAML or JSON: line 2"),
        (b"\xff\xfe\x00\xd8", "not YAML or JSON"),
        (b"[" * 200 + b"]" * 200, "is nested deeper than 100 levels"),
        (b"apiVersion: v1\nkind: Pod\nmetadata: {name: 2024-99-99}\n", "not YAML or JSON"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, said: str
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    code = main(["doctor", "--file", str(path)])
    err = capsys.readouterr().err

    assert code == 1
    assert err.startswith(f"onehop doctor: {path}: ")
    assert said in err
    assert err.count("\n") == 1


def test_flags_that_do_not_go_together_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = main(["doctor", "--file", str(tmp_path / "nowhere.yaml")])
    both = main(["doctor", "--file", str(tmp_path), "--kubeconfig", "x"])
    err = capsys.readouterr().err

    assert (missing, both) == (1, 1)
    assert "nowhere.yaml" in err
    assert "--kubeconfig: has no effect with --file" in err


@pytest.fixture
def asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Asked:
    async def ask(server: ApiServer, *words: str) -> tuple[int, dict[str, Any]]:
        async with listening(server.app) as address:
            path = kubeconfig(tmp_path, f"http://{address}")
            code = await asyncio.to_thread(main, ["doctor", "--json", f"--kubeconfig={path}", *words])
        told = json.loads(capsys.readouterr().out)
        return code, {row["check"]: row for row in told["results"]}

    return ask


async def test_a_sound_cluster_passes(asked: Asked) -> None:
    server = ApiServer(site(running, labelled))
    code, results = await asked(server)

    assert code == 0
    assert {name: row["level"] for name, row in results.items() if row["level"] not in ("ok", "not checked")} == {}
    assert sum(row["level"] == "ok" for row in results.values()) == 18
    assert not any("secrets" in path for path in server.asked)


def gone(objects: dict[str, Tree]) -> None:
    """The picker's Service names pods that are not there."""
    running(objects)
    objects["service"]["spec"]["selector"] = {"app": "gone"}


def unready(objects: dict[str, Tree]) -> None:
    running(objects)
    for name in ("onehop-0", "llama-0"):
        objects[name]["status"]["conditions"][0]["status"] = "False"


def ending(objects: dict[str, Tree]) -> None:
    running(objects)
    objects["llama-0"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"


def unnamed(objects: dict[str, Tree]) -> None:
    running(objects)
    objects["llama-pool"]["spec"]["endpointPickerRef"]["name"] = "typo"


@pytest.mark.parametrize(
    ("edit", "check", "said"),
    [
        (gone, "picker-service", "its selector fits no pod, so nobody picks."),
        (unready, "picker-service", "none of its 1 pods is ready, so nobody picks."),
        (unready, "pool-pods", "none of its 1 pods is ready, so requests are answered 503."),
        (ending, "pool-pods", "its selector fits no pod in llm, so requests are answered 503."),
        (unnamed, "picker-service", "it calls the Service llm/typo, which does not exist."),
    ],
)
async def test_what_is_not_there_in_a_cluster_is_a_problem(
    asked: Asked, edit: Callable[[dict[str, Tree]], None], check: str, said: str
) -> None:
    code, results = await asked(ApiServer(site(edit, labelled)))

    assert code == 1
    assert results[check]["level"] == "problem"
    assert said in [finding["what"] for finding in results[check]["findings"]]


async def test_what_may_not_be_read_is_not_checked_and_ends_nothing(asked: Asked) -> None:
    forbidden = ["destinationrules", "roles", "gateways", "clusterrolebindings"]
    code, results = await asked(ApiServer(site(running, labelled), forbidden))
    by_level = {name: row["level"] for name, row in results.items()}

    assert code == 0
    assert by_level["picker-tls"] == by_level["stream-limit"] == by_level["rights"] == "not checked"
    assert results["rights"]["reason"] == "Role: may not be read: roles is forbidden in llm"
    assert by_level["picker-service"] == by_level["pool-models"] == "ok"
    assert set(by_level.values()) == {"ok", "not checked"}


async def test_rights_that_a_hidden_binding_may_give_are_not_called_missing(asked: Asked) -> None:
    def without_rights(objects: dict[str, Tree]) -> None:
        objects["role"]["rules"] = []

    _, open_results = await asked(ApiServer(site(running, without_rights)))
    code, results = await asked(ApiServer(site(running, without_rights), ["clusterrolebindings"]))

    assert open_results["rights"]["level"] == "problem"
    assert (code, results["rights"]["level"]) == (0, "not checked")


async def test_rights_in_one_namespace_are_enough_for_what_is_there(asked: Asked) -> None:
    kinds = ["inferencepools", "httproutes", "gateways", "envoyfilters", "destinationrules", "deployments"]
    cluster_wide = [f"*/{kind}" for kind in kinds] + ["clusterroles", "clusterrolebindings", "gatewayclasses"]
    server = ApiServer(site(running, labelled, by_name), cluster_wide)
    _, results = await asked(server, "--namespace=llm")
    levels = {name: row["level"] for name, row in results.items()}

    assert levels["picker-service"] == levels["pool-models"] == levels["inference-flag"] == "ok"
    assert set(levels.values()) == {"ok", "not checked"}
    assert any("namespaces/llm/inferencepools" in path for path in server.asked)


async def test_what_a_filter_calls_in_a_hidden_namespace_is_not_called_missing(asked: Asked) -> None:
    def far(objects: dict[str, Tree]) -> None:
        value = objects["filter"]["spec"]["configPatches"][0]["patch"]["value"]["typed_config"]
        value["grpc_service"]["envoy_grpc"]["cluster_name"] = "outbound|9002||router.far.svc.cluster.local"

    code, results = await asked(ApiServer(site(running, labelled, far), ["far/services", "far/pods"]))
    (finding,) = results["picker-service"]["findings"]

    assert (code, results["picker-service"]["level"]) == (0, "not checked")
    assert finding["what"] == "it needs a Service in far, which may not be read."


async def test_a_cluster_without_any_of_it_is_told_so(asked: Asked) -> None:
    code, results = await asked(ApiServer([]))

    assert code == 1
    assert [finding["subject"] for finding in results["resource-definitions"]["findings"]] == [
        "InferencePool",
        "Gateway API",
    ]


async def test_a_group_that_may_not_be_asked_for_hides_its_kinds_only(asked: Asked) -> None:
    code, results = await asked(ApiServer(site(running, labelled), ["networking.istio.io"]))

    assert code == 0
    assert results["picker-tls"]["reason"] == "DestinationRule: may not be read: networking.istio.io is forbidden"
    assert results["pool-pods"]["level"] == "ok"


def test_a_cluster_that_does_not_answer_is_one_clear_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["doctor", f"--kubeconfig={kubeconfig(tmp_path, 'http://127.0.0.1:1')}"])
    err = capsys.readouterr().err

    assert code == 1
    assert err.startswith("onehop doctor: the cluster: NoConnection")
    assert err.count("\n") == 1
