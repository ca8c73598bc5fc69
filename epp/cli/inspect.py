"""`onehop inspect`: pools and endpoints of a running OneHop, as it sees them at this moment."""

from __future__ import annotations

import argparse
import http.client
import json
import math
import os
import shutil
import sys
import time
from typing import Any

from epp.cli import pools_table
from epp.domain import ConfigError
from epp.flag_values import host_and_port

ADDRESS = "127.0.0.1:9091"
COLUMNS = 100
ANSWER_S = 10.0
ANSWER_BYTES_MAX = 64 << 20
CLEAR = "\x1b[H\x1b[2J"
NO_ONEHOP = "answers, but not as the admin address of a OneHop does (--admin-address of `onehop serve`)"


def run(arguments: list[str]) -> int:
    """0 when the process answered; ConfigError with the reason when it did not."""
    given = _parser().parse_args(arguments)
    while True:
        try:
            shown = _show(given)
        except ConfigError as trouble:
            if given.watch is None:
                raise
            shown = f"{trouble}\n"  # it may come back
        print(f"{CLEAR if given.watch and sys.stdout.isatty() and not given.json else ''}{shown}", end="", flush=True)
        if given.watch is None:
            return 0
        time.sleep(given.watch)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="onehop inspect", description=__doc__)
    parser.add_argument(
        "--address", type=_address, default=ADDRESS, metavar="HOST:PORT", help=f"its admin address (default {ADDRESS})"
    )
    parser.add_argument("--token", help="what the admin address asks for; better in ONEHOP_ADMIN_TOKEN")
    parser.add_argument("--pool", metavar="NAME", help="this pool only, as NAME or NAMESPACE/NAME")
    parser.add_argument("--json", action="store_true", help="what was told, as JSON; with --watch an object a line")
    parser.add_argument("--watch", type=_seconds, metavar="N", help="again every N seconds, until interrupted")
    return parser


def _show(given: argparse.Namespace) -> str:
    told = ask(given.address, given.token or os.environ.get("ONEHOP_ADMIN_TOKEN"))
    if given.pool is not None:
        told["pools"] = _only(told["pools"], given.pool)
    if given.json:
        return json.dumps(told, indent=None if given.watch else 2) + "\n"
    width = shutil.get_terminal_size((COLUMNS, 0)).columns if sys.stdout.isatty() else COLUMNS
    return "".join(f"{line}\n" for line in pools_table.lines(told, width))


def ask(address: str, token: str | None) -> dict[str, Any]:
    """What `/debug/pools` says there. Raises ConfigError with the address and what to do."""
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=ANSWER_S)  # past any proxy
    try:
        headers = {"Authorization": f"Bearer {token}".encode()} if token else {}
        connection.request("GET", "/debug/pools", headers=headers)
        answer = connection.getresponse()
        status, body = answer.status, answer.read(ANSWER_BYTES_MAX)
    except ConnectionRefusedError as error:
        hint = "in a cluster: kubectl port-forward deploy/onehop 9091, then inspect that"
        raise ConfigError(address, f"nobody listens there; is OneHop running? ({hint})") from error
    except TimeoutError as error:
        raise ConfigError(address, f"no answer in {ANSWER_S:.0f} s") from error
    except OSError as error:
        raise ConfigError(address, f"cannot be reached: {error.strerror or error}") from error
    except (http.client.HTTPException, ValueError) as error:
        raise ConfigError(address, NO_ONEHOP) from error
    finally:
        connection.close()
    if status == 401:
        how = "it does not accept this token" if token else "it asks for a token: --token or ONEHOP_ADMIN_TOKEN"
        raise ConfigError(address, how)
    return _told(address, status, body)


def _told(address: str, status: int, body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body) if status == 200 else None
    except (ValueError, RecursionError):
        told = None
    pools = told.get("pools") if isinstance(told, dict) else None
    if not isinstance(told, dict) or not isinstance(pools, list) or not all(isinstance(p, dict) for p in pools):
        raise ConfigError(address, NO_ONEHOP)
    return told


def _only(pools: list[Any], wanted: str) -> list[Any]:
    found = [pool for pool in pools if wanted in (pool.get("key"), pool.get("name"))]
    if not found:
        known = ", ".join(str(pool.get("key") or pool.get("name")) for pool in pools) or "none"
        raise ConfigError("--pool", f"there is no pool '{wanted}' (there: {known})")
    return found


def _address(text: str) -> str:
    try:
        return host_and_port(text)
    except ValueError as wrong:
        raise argparse.ArgumentTypeError(str(wrong)) from wrong


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds above 0")
    return seconds
