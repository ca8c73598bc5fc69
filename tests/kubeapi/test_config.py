"""Where the API server is and who we are: kubeconfig files and service accounts, tried against a real socket."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from epp.domain import ConfigError
from epp.edge.kube import config
from epp.edge.kube.client import ApiError, Kube, connect
from epp.edge.tls import Pair, self_signed
from tests.kubeapi.server import ApiServer
from tests.kubeapi.view import PODS

TOKEN = {"token": "t1"}


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No trace of a cluster that the machine running the tests may know."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(config, "SERVICE_ACCOUNT", tmp_path / "serviceaccount")


@asynccontextmanager
async def connected(kubeconfig: Path | None) -> AsyncIterator[Kube]:
    kube = connect(kubeconfig)
    try:
        yield kube
    finally:
        await kube.close()


async def status(kube: Kube) -> int:
    """Of a list: 200, or what went wrong."""
    try:
        await kube.list(PODS, "llm")
    except ApiError as error:
        return error.status
    return 200


def tls(folder: Path, pair: Pair, trusted_clients: bytes = b"") -> ssl.SSLContext:
    """What the API server listens with; with `trusted_clients`, it lets in nobody else."""
    (folder / "server.crt").write_bytes(pair.chain)
    (folder / "server.key").write_bytes(pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    if trusted_clients:
        context.load_verify_locations(cadata=trusted_clients.decode())
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_pair() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "me")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def service_account(folder: Path, token: str, ca: bytes) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "token").write_text(token)
    (folder / "namespace").write_text("models")
    (folder / "ca.crt").write_bytes(ca)


def plugin(folder: Path, api_version: str, status: dict[str, Any]) -> dict[str, Any]:
    """A credential plugin that notes each run and what it was told."""
    script = folder / "plugin"
    answer = json.dumps({"apiVersion": api_version, "kind": "ExecCredential", "status": status})
    script.write_text(f"#!/bin/sh\necho \"$KUBERNETES_EXEC_INFO $1\" >> {folder}/runs\necho '{answer}'\n")
    script.chmod(0o700)
    return {"exec": {"apiVersion": api_version, "command": "./plugin", "args": ["get-token"], "env": None}}


async def test_a_named_file_says_where_and_who(tmp_path: Path) -> None:
    async with ApiServer(PODS) as api:
        api.tokens = {"t1"}
        (other := tmp_path / "other").mkdir()
        async with connected(api.kubeconfig(tmp_path, TOKEN)) as good, connected(api.kubeconfig(other, {})) as nobody:
            assert await status(good) == 200
            assert await status(nobody) == 401
            assert good.namespace == "llm"


async def test_without_a_name_it_is_what_kubectl_would_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ApiServer(PODS) as api:
        path = api.kubeconfig(tmp_path, TOKEN)
        monkeypatch.setenv("KUBECONFIG", str(path))
        async with connected(None) as by_environment:
            assert await status(by_environment) == 200
        monkeypatch.delenv("KUBECONFIG")
        (tmp_path / "home" / ".kube").mkdir(parents=True)
        path.rename(tmp_path / "home" / ".kube" / "config")
        async with connected(None) as by_home:
            assert await status(by_home) == 200


async def test_a_pod_is_its_service_account_over_tls_with_the_clusters_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = self_signed(())
    async with ApiServer(PODS, tls=tls(tmp_path, pair)) as api:
        api.tokens = {"t1"}
        service_account(config.SERVICE_ACCOUNT, "t1", pair.chain)
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(api.port))
        async with connected(None) as kube:
            first = await status(kube)
            # The kubelet renews the token long before the old one expires.
            api.tokens = {"t2"}
            service_account(config.SERVICE_ACCOUNT, "t2", pair.chain)
            renewed = await status(kube)
            api.tokens = {"t3"}
            refused = await status(kube)

            assert (first, renewed, refused) == (200, 200, 401)
            assert kube.namespace == "models"


async def test_a_server_of_another_authority_is_not_spoken_to(tmp_path: Path) -> None:
    async with ApiServer(PODS, tls=tls(tmp_path, self_signed(()))) as api:
        other = encoded(self_signed(()).chain)
        async with connected(api.kubeconfig(tmp_path, TOKEN, **{"certificate-authority-data": other})) as kube:
            with pytest.raises(ApiError, match=r"(?i)certificate") as caught:
                await kube.list(PODS, "llm")

    assert caught.value.is_away
    assert api.asked == []


async def test_verification_can_be_switched_off(tmp_path: Path) -> None:
    async with (
        ApiServer(PODS, tls=tls(tmp_path, self_signed(()))) as api,
        connected(api.kubeconfig(tmp_path, TOKEN, **{"insecure-skip-tls-verify": True})) as kube,
    ):
        assert await status(kube) == 200


@pytest.mark.parametrize("how", ["data", "files"])
async def test_a_client_certificate_is_shown(tmp_path: Path, how: str) -> None:
    server, (certificate, key) = self_signed(()), client_pair()
    (tmp_path / "me.crt").write_bytes(certificate)
    (tmp_path / "me.key").write_bytes(key)
    (tmp_path / "ca.crt").write_bytes(server.chain)
    users = {
        "data": {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key)},
        "files": {"client-certificate": "me.crt", "client-key": "me.key"},
    }
    async with ApiServer(PODS, tls=tls(tmp_path, server, certificate)) as api:
        path = api.kubeconfig(tmp_path, users[how], **{"certificate-authority": "ca.crt"})
        async with connected(path) as kube:
            assert await status(kube) == 200


async def test_a_token_file_beside_the_kubeconfig_is_read_again_when_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t1\n")
    async with ApiServer(PODS) as api:
        api.tokens = {"t1"}
        async with connected(api.kubeconfig(tmp_path, {"tokenFile": "token"})) as kube:
            first = await status(kube)
            api.tokens = {"t2"}
            (tmp_path / "token").write_text("t2\n")
            renewed = await status(kube)

    assert (first, renewed) == (200, 200)


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
async def test_a_credential_plugin_is_run_once_until_its_token_is_refused(tmp_path: Path, version: str) -> None:
    api_version = f"client.authentication.k8s.io/{version}"
    async with ApiServer(PODS) as api:
        api.tokens = {"t1"}
        async with connected(api.kubeconfig(tmp_path, plugin(tmp_path, api_version, {"token": "t1"}))) as kube:
            first = [await status(kube), await status(kube)]
            runs = (tmp_path / "runs").read_text().splitlines()
            api.tokens = {"t2"}
            plugin(tmp_path, api_version, {"token": "t2"})
            renewed = await status(kube)

    told, _, argument = runs[0].rpartition(" ")
    assert first == [200, 200]
    assert len(runs) == 1
    assert json.loads(told)["apiVersion"] == api_version
    assert argument == "get-token"
    assert renewed == 200


@pytest.mark.parametrize("trouble", ["gone", "fails", "nonsense", "certificate only"])
async def test_a_credential_plugin_in_trouble_is_no_answer_and_no_surprise(tmp_path: Path, trouble: str) -> None:
    async with ApiServer(PODS) as api:
        user = plugin(tmp_path, "client.authentication.k8s.io/v1", {"clientCertificateData": "x"})
        script = tmp_path / "plugin"
        match trouble:
            case "gone":
                script.unlink()
            case "fails":
                script.write_text("#!/bin/sh\necho not logged in >&2\nexit 1\n")
            case "nonsense":
                script.write_text("#!/bin/sh\necho hello\n")
        async with connected(api.kubeconfig(tmp_path, user)) as kube:
            with pytest.raises(ApiError) as caught:
                await kube.list(PODS, "llm")

    assert caught.value.is_away
    assert caught.value.reason == "NoCredentials"


GOOD: dict[str, Any] = {
    "current-context": "c",
    "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
    "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "u", "user": {"token": "t"}}],
}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "not a kubeconfig"),
        ("a: [", "not YAML"),
        ("[]", "not a kubeconfig"),
        ("clusters: 7", "not a kubeconfig"),
        (GOOD | {"current-context": None}, "No current context"),
        (GOOD | {"current-context": "x"}, "Context 'x' not found"),
        (GOOD | {"clusters": []}, "'k'"),
        (GOOD | {"users": []}, "'u'"),
        (GOOD | {"clusters": [{"name": "k", "cluster": {"server": 7}}]}, "Expected `str`"),
        (
            GOOD | {"clusters": [{"name": "k", "cluster": {"server": "https://h", "proxy-url": "http://p"}}]},
            "proxy-url: is not supported",
        ),
        (
            GOOD | {"clusters": [{"name": "k", "cluster": {"server": "https://h", "tls-server-name": "n"}}]},
            "tls-server-name: is not supported",
        ),
        (
            GOOD | {"clusters": [{"name": "k", "cluster": {"server": "https://h", "certificate-authority": "none"}}]},
            "No such file",
        ),
        (
            GOOD | {"clusters": [{"name": "k", "cluster": {"server": "https://h", "certificate-authority-data": "A"}}]},
            "kubeconfig",
        ),
        (GOOD | {"users": [{"name": "u", "user": {"auth-provider": {"name": "gcp"}}}]}, "auth-provider"),
        (GOOD | {"users": [{"name": "u", "user": {"exec": {"command": "x"}}}]}, "apiVersion"),
    ],
)
def test_a_mistake_in_the_file_stops_the_start_with_its_path(
    tmp_path: Path, content: str | dict[str, Any], words: str
) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(content if isinstance(content, str) else json.dumps(content))

    with pytest.raises(ConfigError) as caught:
        connect(path)

    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_nothing_to_go_by_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="--kubeconfig"):
        connect(None)


def test_several_files_are_not_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/a:{tmp_path}/b")

    with pytest.raises(ConfigError, match="several"):
        connect(None)


def test_half_a_service_account_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    service_account(config.SERVICE_ACCOUNT, "t", b"no certificate")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "::1")
    with pytest.raises(ConfigError, match="not a service account"):
        connect(None)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(ConfigError, match="service account"):
        connect(None)
