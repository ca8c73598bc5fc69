"""`onehop explain`: why a request went where it went (--receipt ID), or where a prompt would go (nothing is sent)."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from epp.cli import admin_client, receipt_table
from epp.domain import ConfigError

COLUMNS = 100
BODY_BYTES_MAX = 64 << 20
CHAT = "/v1/chat/completions"
NOT_KNOWN = "\nA dry run knows no prefixes sent before, no predicted work and no file of scheduling profiles."
NO_ENDPOINTS = "\nWhich endpoint it would be: say --discovery-file FILE, or --admin URL of a running OneHop."


def run(arguments: list[str]) -> int:
    """0 when there is something to show; ConfigError with the reason when there is not."""
    given = _parser().parse_args(arguments)
    receipt = _receipt(given) if given.receipt is not None else asyncio.run(_dry_run(given))
    if given.json:
        print(json.dumps(receipt, indent=2))
        return 0
    width = shutil.get_terminal_size((COLUMNS, 0)).columns if sys.stdout.isatty() else COLUMNS
    print("\n".join(receipt_table.lines(receipt, width)))
    if given.receipt is None:
        print(NOT_KNOWN if receipt["endpoints"] else NO_ENDPOINTS if receipt["status"] is None else "")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="onehop explain", description=__doc__)
    parser.add_argument("prompt", nargs="?", metavar="PROMPT", help="what a user would say, as one chat message")
    parser.add_argument("--receipt", metavar="ID", help="the id in a response's x-onehop-receipt header")
    parser.add_argument(
        "--admin",
        "--address",
        type=_address,
        metavar="URL",
        help=f"admin address of a running OneHop (for --receipt default {admin_client.ADDRESS})",
    )
    parser.add_argument("--token", help="what the admin address asks for; better in ONEHOP_ADMIN_TOKEN")
    parser.add_argument("--json", action="store_true", help="the receipt as JSON")
    dry = parser.add_argument_group("without --receipt")
    dry.add_argument("--request", type=Path, metavar="FILE", help="a whole request body instead of PROMPT; - for stdin")
    dry.add_argument("--path", default=CHAT, help=f"the path it is sent to (default {CHAT})")
    dry.add_argument("--model", default="auto", help="the model of PROMPT (default auto)")
    dry.add_argument("--header", action="append", default=[], metavar="NAME:VALUE", help="repeatable")
    dry.add_argument("--semantic-config-file", type=Path, metavar="FILE", help="what `auto` means: vSR v0.3 YAML")
    dry.add_argument("--default-model", metavar="NAME", help="what `auto` means without such a file")
    dry.add_argument("--lenient", action="store_true", help="as of `onehop serve`")
    dry.add_argument("--discovery-file", type=Path, metavar="FILE", help="endpoints, asked what they serve")
    dry.add_argument("--model-label", default="", metavar="LABEL", help="as of `onehop serve`")
    dry.add_argument("--pool", metavar="NAME", help="of the OneHop at --admin, this pool's endpoints only")
    return parser


def _receipt(given: argparse.Namespace) -> dict[str, Any]:
    for name in ("prompt", "request", "semantic_config_file", "discovery_file"):
        if getattr(given, name) is not None:
            raise ConfigError("--receipt", f"does not go with {_flag(name)}: what happened is known")
    return admin_client.receipt(given.admin or admin_client.ADDRESS, given.receipt, given.token)


async def _dry_run(given: argparse.Namespace) -> dict[str, Any]:
    if (given.prompt is None) == (given.request is None):
        raise ConfigError("arguments", "takes one of PROMPT, --request FILE and --receipt ID")
    if given.semantic_config_file is not None and given.default_model is not None:
        raise ConfigError("--default-model", "has no effect with --semantic-config-file: that names its own")
    if given.discovery_file is not None and given.admin is not None:
        raise ConfigError("--discovery-file", "cannot go with --admin: endpoints come from one of them")
    from epp.cli import dry_run  # noqa: PLC0415  # a receipt is shown without the classifier's libraries

    pool = None
    if given.discovery_file is not None:
        from epp.datastore.membership import Naming  # noqa: PLC0415  # likewise

        pool = await dry_run.from_file(given.discovery_file, Naming(given.model_label))
    elif given.admin is not None:
        pools = admin_client.pools(given.admin, given.token)["pools"]
        pool = dry_run.from_admin(pools if given.pool is None else admin_client.only(pools, given.pool))
    question = dry_run.Question(
        body=_body(given),
        path=given.path,
        headers=dict(_header(text) for text in given.header),
        semantic_config=given.semantic_config_file,
        default_model=given.default_model,
        lenient=given.lenient,
        pool=pool,
    )
    return await dry_run.decide(question)


def _body(given: argparse.Namespace) -> bytes:
    if given.request is None:
        return json.dumps({"model": given.model, "messages": [{"role": "user", "content": given.prompt}]}).encode()
    if str(given.request) == "-":
        return sys.stdin.buffer.read(BODY_BYTES_MAX)
    try:
        with Path(given.request).open("rb") as file:
            return file.read(BODY_BYTES_MAX)
    except OSError as unreadable:
        raise ConfigError(str(given.request), unreadable.strerror or "cannot be read") from unreadable


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not (name.strip() and colon):
        raise ConfigError("--header", f"'{text}' is not NAME:VALUE")
    return name.strip().lower(), value.strip()


def _flag(name: str) -> str:
    return "PROMPT" if name == "prompt" else "--" + name.replace("_", "-")


def _address(text: str) -> str:
    try:
        return admin_client.address(text)
    except ValueError as wrong:
        raise argparse.ArgumentTypeError(str(wrong)) from wrong
