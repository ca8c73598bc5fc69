"""Where the API server is and how to identify ourselves to it: a kubeconfig file or a pod's service account.

Reading these files, TLS contexts and credentials are lightkube's; what it would silently leave out is refused here.
Must stay true: whatever the files hold, the result is a connection that can be tried or a `ConfigError`.
"""

from __future__ import annotations

import base64
import os
import socket
import ssl
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import yaml
from lightkube.config import client_adapter
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.config.models import NameValue, User, UserExec
from lightkube.core.exceptions import ConfigError as LightkubeError

from epp.domain import ConfigError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

_EXEC_V1, _EXEC_V1BETA1 = "client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"
_KEEPALIVE_S = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
_MISTAKES = (LightkubeError, OSError, ValueError, KeyError, TypeError, AttributeError, msgspec.MsgspecError)


def load(kubeconfig: Path | None) -> SingleConfig:
    """The file if one is named, else the pod's service account, else what kubectl would read."""
    if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ and (SERVICE_ACCOUNT / "token").exists():
        return _service_account()
    return _file(kubeconfig or Path(os.environ.get("KUBECONFIG") or "~/.kube/config").expanduser())


def client(config: SingleConfig) -> httpx2.AsyncClient:
    """An HTTP client that knows the server, trusts its certificate and shows our credentials."""
    user = config.user or User()
    try:
        transport = httpx2.AsyncHTTPTransport(
            verify=client_adapter.verify_cluster(config.cluster, user, config.abs_file),
            limits=httpx2.Limits(max_connections=None),  # each watch holds one, and none may wait for another
            socket_options=_keepalive(),
        )
        auth = client_adapter.user_auth(user)
        return httpx2.AsyncClient(base_url=config.cluster.server, transport=transport, auth=auth)
    except (*_MISTAKES, ssl.SSLError, httpx2.InvalidURL) as error:
        raise ConfigError(str(config.fname or "service account"), _words(error)) from error


def _service_account() -> SingleConfig:
    try:
        config = KubeConfig.from_service_account(str(SERVICE_ACCOUNT)).get()
    except _MISTAKES as error:
        raise ConfigError(str(SERVICE_ACCOUNT), f"not a service account of a pod: {_words(error)}") from error
    assert config is not None
    return config


def _file(path: Path) -> SingleConfig:
    if os.pathsep in str(path):
        raise ConfigError("KUBECONFIG", "names several files; merge them by `kubectl config view --flatten`")
    try:
        content = yaml.safe_load(path.read_text())
        config = KubeConfig.from_dict(content, fname=path.absolute()).get()
        assert config is not None
        _refuse_unknown(content, config)
        user = config.user or User()
        for data in (config.cluster.certificate_auth_data, user.client_cert_data, user.client_key_data):
            base64.b64decode(data or "")  # or lightkube leaves a file open when it finds out
        _complete(user, config)
    except FileNotFoundError as error:
        raise ConfigError(
            str(path), "not found; outside of a pod, name a kubeconfig file by --kubeconfig or KUBECONFIG"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(str(path), f"not YAML: {error}") from error
    except _MISTAKES as error:
        raise ConfigError(str(path), f"not a kubeconfig file: {_words(error)}") from error
    return config


def _refuse_unknown(content: dict[str, Any], config: SingleConfig) -> None:
    """A connection that ignores these would go to, or trust, something else than meant."""
    cluster = next(c["cluster"] for c in content["clusters"] if c["name"] == config.context.cluster)
    for key in ("proxy-url", "tls-server-name"):
        if cluster.get(key):
            raise ConfigError(f"{config.fname}: clusters[{config.context.cluster}].{key}", "is not supported")


def _complete(user: User, config: SingleConfig) -> None:
    if user.token_file:
        user.token_file = str(config.abs_file(user.token_file))
    if user.exec:
        _complete_plugin(user.exec, config)


def _complete_plugin(plugin: UserExec, config: SingleConfig) -> None:
    """What kubectl tells a credential plugin and lightkube does not; v1 differs from v1beta1 in its name only."""
    spec = {"apiVersion": plugin.apiVersion, "kind": "ExecCredential", "spec": {"interactive": False}}
    plugin.env = [*(plugin.env or ()), NameValue("KUBERNETES_EXEC_INFO", msgspec.json.encode(spec).decode())]
    if plugin.apiVersion == _EXEC_V1:
        plugin.apiVersion = _EXEC_V1BETA1
    if os.sep in plugin.command:
        plugin.command = str(config.abs_file(plugin.command))


def _keepalive() -> list[tuple[int, int, int]]:
    """A peer that vanished without a word is noticed within half a minute, even where nothing is being said."""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in _KEEPALIVE_S.items():
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return options


def _words(error: BaseException) -> str:
    told = isinstance(error, (LightkubeError, OSError, ValueError)) and str(error)
    return told or f"{type(error).__name__}: {error}"
