"""What a running OneHop says on its admin address, and in words why it does not."""

from __future__ import annotations

import http.client
import json
import os
from typing import Any
from urllib.parse import quote

from epp.domain import ConfigError
from epp.flag_values import host_and_port

ADDRESS = "127.0.0.1:9091"
ANSWER_S = 10.0
ANSWER_BYTES_MAX = 64 << 20
NO_ONEHOP = "answers, but not as the admin address of a OneHop does (--admin-address of `onehop serve`)"


def address(text: str) -> str:
    """`HOST:PORT` of an address or of an http URL. Raises ValueError."""
    plain = text.removeprefix("http://").removesuffix("/")
    if "://" in plain:
        raise ValueError(f"'{text}' is not http://HOST:PORT; the admin address speaks plain HTTP")
    return host_and_port(plain)


def path_of(receipt: str) -> str:
    """Where the receipt of that id is."""
    return f"/debug/decisions/{quote(receipt, safe='')}"


def ask(at: str, path: str, token: str | None) -> tuple[int, dict[str, Any]]:
    """Status and JSON object at a path there. Raises ConfigError with the address and what to do.

    Without a token the environment's ONEHOP_ADMIN_TOKEN is used, if there is one.
    """
    token = token or os.environ.get("ONEHOP_ADMIN_TOKEN")
    host, _, port = at.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=ANSWER_S)  # past any proxy
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}".encode()} if token else {})
        answer = connection.getresponse()
        status, body = answer.status, answer.read(ANSWER_BYTES_MAX)
    except ConnectionRefusedError as error:
        hint = "in a cluster: kubectl port-forward deploy/onehop 9091, then inspect that"
        raise ConfigError(at, f"nobody listens there; is OneHop running? ({hint})") from error
    except TimeoutError as error:
        raise ConfigError(at, f"no answer in {ANSWER_S:.0f} s") from error
    except OSError as error:
        raise ConfigError(at, f"cannot be reached: {error.strerror or error}") from error
    except (http.client.HTTPException, ValueError) as error:
        raise ConfigError(at, NO_ONEHOP) from error
    finally:
        connection.close()
    if status == 401:
        how = "it does not accept this token" if token else "it asks for a token: --token or ONEHOP_ADMIN_TOKEN"
        raise ConfigError(at, how)
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise ConfigError(at, NO_ONEHOP)
    return status, told


def pools(at: str, token: str | None) -> dict[str, Any]:
    """What `/debug/pools` says there. Raises ConfigError."""
    status, told = ask(at, "/debug/pools", token)
    listed = told.get("pools") if status == 200 else None
    if not isinstance(listed, list) or not all(isinstance(pool, dict) for pool in listed):
        raise ConfigError(at, NO_ONEHOP)
    return told


def only(listed: list[Any], wanted: str) -> list[Any]:
    """The pools of that key or name. Raises ConfigError with those there are."""
    found = [pool for pool in listed if wanted in (pool.get("key"), pool.get("name"))]
    if not found:
        known = ", ".join(str(pool.get("key") or pool.get("name")) for pool in listed) or "none"
        raise ConfigError("--pool", f"there is no pool '{wanted}' (there: {known})")
    return found


def receipt(at: str, wanted: str, token: str | None) -> dict[str, Any]:
    """The receipt of that id. Raises ConfigError: none is kept, or nobody to ask."""
    status, told = ask(at, path_of(wanted), token)
    if status == 404 and isinstance(told.get("error"), str):
        raise ConfigError(f"--receipt {wanted}", f"{told['error']} at {at}")
    if status != 200 or "candidates" not in told:
        raise ConfigError(at, NO_ONEHOP)
    return told
