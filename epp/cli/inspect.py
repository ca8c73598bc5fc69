"""`onehop inspect`: pools and endpoints of a running OneHop, as it sees them at this moment."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import time

from epp.cli import admin_client, pools_table
from epp.cli.admin_client import ADDRESS
from epp.domain import ConfigError

COLUMNS = 100
CLEAR = "\x1b[H\x1b[2J"


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
    told = admin_client.pools(given.address, given.token)
    if given.pool is not None:
        told["pools"] = admin_client.only(told["pools"], given.pool)
    if given.json:
        return json.dumps(told, indent=None if given.watch else 2) + "\n"
    width = shutil.get_terminal_size((COLUMNS, 0)).columns if sys.stdout.isatty() else COLUMNS
    return "".join(f"{line}\n" for line in pools_table.lines(told, width))


def _address(text: str) -> str:
    try:
        return admin_client.address(text)
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
