"""A real API server with its etcd, on loopback, for tests. Nothing else of a cluster runs (but see `scaling.py`).

No controller and no scheduler: a pod stays Pending without an address until a test writes its status; a Deployment
makes no pods; a deleted namespace stays Terminating; owners' objects are not collected; no ServiceAccount appears by
itself. What does work is what the API server does alone: storage, watches, validation, admission, RBAC, tokens.
"""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from epp.cli.stack import free_ports
from tests.kube.child import Child, Died
from tests.kube.pki import Authority, signing_key

ISSUER = "https://kubernetes.default.svc"
STARTS_MAX = 3  # a free port may be taken before the server has it


class Cluster:
    """etcd and kube-apiserver in a folder; `kill` ends both."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        self._etcd: Child | None = None
        self._api: Child | None = None
        self._etcd_port = self.port = 0
        authority = Authority(folder)
        self.authority = authority.file
        self._server = authority.server()
        self.admin = authority.user("admin", "system:masters")  # whom RBAC never asks
        self._front = authority.user("aggregator", "tests")  # as whom it asks API servers that stand behind it
        self._data = folder / "etcd"
        self._signing = signing_key(folder / "service-accounts.key")

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def tls(self) -> ssl.SSLContext:
        """The admin's client side."""
        made = ssl.create_default_context(cafile=str(self.authority))
        made.load_cert_chain(*map(str, self.admin))
        return made

    async def start(self) -> None:
        """Both, ready to serve."""
        for attempt in range(STARTS_MAX):
            try:
                await self._start_etcd()
                self.port = free_ports(1)[0]
                await self.start_api()
            except Died:
                self.kill()
                if attempt == STARTS_MAX - 1:
                    raise
            else:
                return

    async def _start_etcd(self) -> None:
        self._etcd_port, peers = free_ports(2)
        clients = f"http://127.0.0.1:{self._etcd_port}"
        self._etcd = Child(
            [
                str(self._binaries / "etcd"),
                f"--data-dir={self._data}",
                f"--listen-client-urls={clients}",
                f"--advertise-client-urls={clients}",
                f"--listen-peer-urls=http://127.0.0.1:{peers}",
                f"--initial-advertise-peer-urls=http://127.0.0.1:{peers}",
                f"--initial-cluster=default=http://127.0.0.1:{peers}",
                "--unsafe-no-fsync",
                "--log-level=warn",
            ],
            self._folder / "etcd.log",
        )
        async with aiohttp.ClientSession() as http:
            await self._etcd.ready(lambda: answers(http, clients + "/health"))

    async def start_api(self) -> None:
        """The API server, on the same port every time, over the same etcd."""
        certificate, key = self._server
        front, front_key = self._front
        self._api = Child(
            [
                str(self._binaries / "kube-apiserver"),
                f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                "--endpoint-reconciler-type=none",
                f"--secure-port={self.port}",
                f"--cert-dir={self._folder}",
                f"--tls-cert-file={certificate}",
                f"--tls-private-key-file={key}",
                f"--client-ca-file={self.authority}",
                "--authorization-mode=RBAC",
                f"--requestheader-client-ca-file={self.authority}",
                "--requestheader-allowed-names=aggregator",
                "--requestheader-username-headers=X-Remote-User",
                "--requestheader-group-headers=X-Remote-Group",
                "--requestheader-extra-headers-prefix=X-Remote-Extra-",
                f"--proxy-client-cert-file={front}",
                f"--proxy-client-key-file={front_key}",
                f"--service-account-issuer={ISSUER}",
                f"--service-account-key-file={self._signing}",
                f"--service-account-signing-key-file={self._signing}",
                "--service-cluster-ip-range=10.96.0.0/16",
                "--shutdown-watch-termination-grace-period=5s",  # else one that ends waits a minute for open watches
                "--allow-privileged=true",  # as every installer sets it
                # It waits for the namespace's ServiceAccount, which a controller would make.
                "--disable-admission-plugins=ServiceAccount",
            ],
            self._folder / "kube-apiserver.log",
        )
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self.tls())) as http:
            await self._api.ready(lambda: answers(http, self.url + "/readyz"))

    @property
    def is_serving(self) -> bool:
        """Whether the API server has been started and not ended since."""
        return self._api is not None and self._api.is_alive

    def kill_api(self) -> None:
        """The API server alone, at once; its etcd keeps everything."""
        assert self._api is not None
        self._api.kill()

    async def finish_api(self) -> None:
        """The API server alone, as in an upgrade: what it serves comes to its end first."""
        assert self._api is not None
        await self._api.finish()

    def kill(self) -> None:
        """Both, at once."""
        for child in (self._api, self._etcd):
            if child is not None:
                child.kill()

    async def forget_history(self) -> int:
        """Compacts etcd up to now and returns that revision: older ones can be had from nobody but a cache."""
        async with aiohttp.ClientSession(f"http://127.0.0.1:{self._etcd_port}") as http:
            async with http.post("/v3/kv/range", json={"key": "AA=="}) as reply:
                revision = int((await reply.json())["header"]["revision"])
            async with http.post("/v3/kv/compaction", json={"revision": revision, "physical": True}) as reply:
                reply.raise_for_status()
        return revision

    async def back_up(self, where: Path) -> None:
        """A copy of all there is, for `restore`; the API server is not there meanwhile."""
        self.kill()
        shutil.copytree(self._data, where)
        await self._start_again()

    async def restore(self, where: Path) -> None:
        """All there is becomes what it was. Versions go back as well: what comes next has numbers that were used."""
        self.kill()
        shutil.rmtree(self._data)
        shutil.copytree(where, self._data)
        await self._start_again()

    async def _start_again(self) -> None:
        await self._start_etcd()
        await self.start_api()

    def kubeconfig(
        self, file: Path, *, namespace: str = "default", token: str | None = None, port: int | None = None
    ) -> Path:
        """A kubeconfig of the admin or, with a token, of whom the token names; through the relay at `port`."""
        certificate, key = self.admin
        user: dict[str, Any] = {"client-certificate": str(certificate), "client-key": str(key)}
        server = f"https://127.0.0.1:{port or self.port}"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": str(self.authority)}}],
            "users": [{"name": "user", "user": user if token is None else {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user", "namespace": namespace}}],
            "current-context": "test",
        }
        file.touch(mode=0o600)
        file.write_text(yaml.safe_dump(content))
        return file


async def answers(http: aiohttp.ClientSession, url: str) -> bool:
    """Whether a GET there says 200."""
    try:
        async with http.get(url, timeout=aiohttp.ClientTimeout(total=5)) as reply:
            await reply.read()
            return reply.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
