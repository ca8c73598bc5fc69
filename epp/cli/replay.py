"""`onehop replay`: recorded requests decided again under another configuration, to see what would change.

A receipt holds no text: signals, loads and scores are decided by again. What it does not tell is said, and not guessed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from epp.cli import admin_client
from epp.cli.terminal import printable
from epp.config import FILE_BYTES_MAX
from epp.domain import ConfigError
from epp.flow.settings import FlowSettings
from epp.replay import recorded, report
from epp.replay.again import again
from epp.replay.own import ASSUMED
from epp.replay.rules import Rules
from epp.scheduling.assembly import load
from epp.scheduling.default import default_profile
from epp.scheduling.framework import Scheduler
from epp.scheduling.spill import SpillRules
from epp.settings import Settings

if TYPE_CHECKING:
    from semantic.router import SemanticRouter

RECEIPTS_BYTES_MAX = 1 << 30
RECEIPTS_MAX = 20_000
PAGE = 200
LISTED = 20
BUILT_IN = "built-in"
OF_THE_GATE = ("--slo-ttft", "--queue-timeout", "--queue-requests-max")
FLAGS = (*OF_THE_GATE, "--spill-wait", "--spill-share-max", "--spill-margin-max")
BY_NAME = "a signal that goes by words (keyword, embedding, complexity, pii) counts as it was judged, by its name"


def run(arguments: list[str]) -> int:
    """0 when it could be told what would change; ConfigError for a wrong file or address."""
    given = _parser().parse_args(arguments)
    if not (given.config_file or given.semantic_config_file or any(getattr(given, _dest(name)) for name in FLAGS)):
        files = "--config-file, --semantic-config-file or both"
        raise ConfigError("arguments", f"takes {files}, or one of {', '.join(FLAGS)}: what is to change")
    rules, notes = _rules(given)
    router = _router(given, notes)
    told = _receipts(given)
    if not told:
        raise ConfigError(given.receipts, "there are no receipts")
    outcomes = again(recorded.read(told), rules, router)
    found = report.summary(outcomes, notes)
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(map(printable, report.lines(found, given.list))))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="onehop replay", description=__doc__)
    parser.add_argument(
        "receipts",
        metavar="RECEIPTS",
        help="a file of what /debug/decisions tells (- for standard input), or the admin address of a running OneHop",
    )
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        help=f"the EndpointPickerConfig to decide by; {BUILT_IN} for the policy that needs none",
    )
    parser.add_argument("--semantic-config-file", type=Path, metavar="FILE", help="what `auto` is to mean")
    for flag in FLAGS:
        parser.add_argument(flag, metavar="VALUE", help="as of `onehop serve`: sheds and spills by this bound")
    parser.add_argument("--allow-experimental-plugins", action="store_true", help="as of `onehop serve`")
    parser.add_argument("--lenient", action="store_true", help="as of `onehop serve`")
    parser.add_argument("--pool", metavar="NAME", help="receipts of this pool's port only")
    parser.add_argument("--list", type=int, default=LISTED, metavar="N", help=f"requests to list (default {LISTED})")
    parser.add_argument("--json", action="store_true", help="all of it as JSON")
    parser.add_argument("--token", help="what the admin address asks for; better in ONEHOP_ADMIN_TOKEN")
    return parser


def _rules(given: argparse.Namespace) -> tuple[Rules | None, list[str]]:
    flags = [name for name in FLAGS if getattr(given, _dest(name)) is not None]
    if given.config_file is None and not flags:
        return None, []
    own, spill = _flags(given)
    if given.config_file in (None, BUILT_IN):
        rules = Rules(default_profile, None, own, spill)
        return rules, [*rules.blind, *ASSUMED]
    path = Path(given.config_file)
    content = _bytes(path, FILE_BYTES_MAX)

    def scheduler() -> Scheduler:
        return load(content, experimental=given.allow_experimental_plugins).scheduler

    try:
        assembly = load(content, experimental=given.allow_experimental_plugins)
    except ConfigError as mistake:
        raise ConfigError(f"{path}: {mistake.path}", mistake.message) from mistake
    rules = Rules(scheduler, assembly.flow, None, spill)
    for name in set(flags) & set(OF_THE_GATE):
        raise ConfigError(name, "is of our own gate; with a file its section flowControl decides")
    return rules, [*rules.blind, *assembly.notes]


def _flags(given: argparse.Namespace) -> tuple[FlowSettings, SpillRules]:
    """Those of `serve` that decide sheds and spills, where given; else their defaults there."""
    named = {_dest(name): value for name in FLAGS if (value := getattr(given, _dest(name))) is not None}
    defaults = {
        name: field.get_default() for name, field in Settings.model_fields.items() if name in set(map(_dest, FLAGS))
    }
    try:
        said = {name: _read(name, value) for name, value in named.items()}
        values = {**defaults, **said}
        own = replace(
            FlowSettings(),
            requests_max=values["queue_requests_max"],
            wait_s_max=values["queue_timeout"],
            slo_ttft_s=values["slo_ttft"],
        )
        return own, SpillRules(values["spill_wait"], values["spill_share_max"], values["spill_margin_max"])
    except ValueError as wrong:
        raise ConfigError("onehop replay", str(wrong)) from wrong


def _read(name: str, text: str) -> Any:
    """As `serve` reads the flag. Raises ValueError."""
    annotated: Any = Annotated[Settings.model_fields[name].annotation, *Settings.model_fields[name].metadata]
    try:
        return TypeAdapter(annotated).validate_python(text)
    except ValidationError as wrong:
        raise ValueError(f"--{name.replace('_', '-')}: {wrong.errors()[0]['msg']}") from wrong


def _dest(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def _router(given: argparse.Namespace, notes: list[str]) -> SemanticRouter | None:
    path = given.semantic_config_file
    if path is None:
        return None
    from semantic.again import Silent  # noqa: PLC0415  # only who replays a semantic file loads the stage
    from semantic.config import ConfigError as SemanticConfigError  # noqa: PLC0415
    from semantic.config import load_config  # noqa: PLC0415
    from semantic.router import SemanticRouter  # noqa: PLC0415

    try:
        config = load_config(path, lenient=given.lenient)
    except SemanticConfigError as mistake:
        raise ConfigError(f"{path}: {mistake.path}", mistake.message) from mistake
    except OSError as unreadable:
        raise ConfigError(str(path), unreadable.strerror or "cannot be read") from unreadable
    notes += config.warnings
    notes.append(BY_NAME)
    plans = (config.plan, *config.plans.values())
    if any(decision.algorithm.type != "static" for plan in plans for decision in plan.decisions):
        notes.append("multi_factor orders models without their load of the moment")
    return SemanticRouter(config, Silent())


def _receipts(given: argparse.Namespace) -> list[Any]:
    """Those of a file, or of a running OneHop."""
    source = given.receipts
    if source != "-" and not Path(source).exists():
        try:
            address = admin_client.address(source)
        except ValueError as neither:
            raise ConfigError(source, f"is no file, and no address either: {neither}") from neither
        found = _ask(address, given.token, given.pool)
    else:
        standard = source == "-"
        found = _parse(source, sys.stdin.buffer.read() if standard else _bytes(Path(source), RECEIPTS_BYTES_MAX))
    return [each for each in found if given.pool is None or _pool_of(each) == given.pool]


def _pool_of(told: Any) -> Any:
    return told.get("pool") if isinstance(told, dict) else None


def _ask(address: str, token: str | None, pool: str | None) -> list[Any]:
    """All that it keeps, a page at a time."""
    found: list[Any] = []
    more = "" if pool is None else f"&pool={quote(pool, safe='')}"
    before = ""
    while len(found) < RECEIPTS_MAX:
        status, told = admin_client.ask(address, f"/debug/decisions?count={PAGE}{more}{before}", token)
        page = told.get("decisions") if status == 200 else None
        if not isinstance(page, list):
            raise ConfigError(address, admin_client.NO_ONEHOP)
        found += page
        if len(page) < PAGE:
            break
        before = f"&before={quote(str(page[-1].get('id')), safe='')}"
    return found


def _parse(source: str, content: bytes) -> list[Any]:
    """An answer of `/debug/decisions`, a list of receipts, one receipt, or one a line."""
    readers: tuple[Callable[[bytes], Any], ...] = (json.loads, lambda text: list(map(json.loads, text.splitlines())))
    for read in readers:
        try:
            told = read(content)
        except (ValueError, RecursionError):
            continue
        if isinstance(told, dict):
            told = told.get("decisions", [told])
        if isinstance(told, list):
            return [each for one in told for each in (one.get("decisions", [one]) if isinstance(one, dict) else [one])]
    raise ConfigError(source, "is no JSON of receipts")


def _bytes(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most + 1)
    except OSError as unreadable:
        raise ConfigError(str(path), unreadable.strerror or "cannot be read") from unreadable
