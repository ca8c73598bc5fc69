"""`onehop check FILE...`: says what is wrong with configuration files before they are served, and what they mean."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from epp.cli.profiles import profiles_of, sentences
from epp.config import is_picker_config
from epp.datastore import discovery
from epp.domain import ConfigError
from epp.numbers import source_of
from epp.scheduling.assembly import examine
from semantic.config import ConfigError as SemanticConfigError
from semantic.config import read_config

READABLE_BYTES_MAX = 16 << 20
_OF_PICKERS = re.compile(
    rb"""^["']?apiVersion["']?[ \t]*:[ \t]*["']?(?:llm-d\.ai|inference\.networking\.x-k8s\.io)/""", re.MULTILINE
)  # whatever kind it says


def run(arguments: list[str]) -> int:
    """0 when every file is good, 1 when one is not; each mistake on a line of its own, with its path."""
    parser = argparse.ArgumentParser(prog="onehop check", description=__doc__)
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path)
    parser.add_argument("--lenient", action="store_true", help="what has no effect is a warning, not a mistake")
    parser.add_argument(
        "--allow-experimental-plugins", action="store_true", help="as the flag of serve, for an EndpointPickerConfig"
    )
    given = parser.parse_args(arguments)
    return max([_check(path, given.lenient, given.allow_experimental_plugins) for path in given.files])


def _check(path: Path, lenient: bool, experimental: bool) -> int:
    try:
        with path.open("rb") as file:
            content = file.read(READABLE_BYTES_MAX)
    except OSError as unreadable:
        print(f"{path}: {unreadable.strerror}", file=sys.stderr)
        return 1
    if is_picker_config(content) or _OF_PICKERS.search(content):
        return _picker(path, content, experimental)
    if _is_discovery(content):
        return _discovery(path, content)
    return _semantic(path, content, lenient)


def _is_discovery(content: bytes) -> bool:
    """By content: a discovery file has `endpoints` at its top level, as YAML or as JSON."""
    lines = content.lstrip().splitlines()
    return content.lstrip().startswith(b"{") or any(line.startswith((b"endpoints:", b'"endpoints"')) for line in lines)


def _discovery(path: Path, content: bytes) -> int:
    listed, mistakes = discovery.examine(content)
    for mistake in mistakes:
        print(f"{path}: {mistake}", file=sys.stderr)
    if not mistakes:
        print(f"{path}: a discovery file of {len(listed)} endpoints, good")
    return 1 if mistakes else 0


def _picker(path: Path, content: bytes, experimental: bool) -> int:
    assembly, mistakes = examine(content, experimental=experimental)
    for mistake in mistakes:
        print(f"{path}: {mistake}", file=sys.stderr)
    if assembly is None:
        return 1
    try:
        source_of(assembly.data)
    except ConfigError as mistake:
        print(f"{path}: {mistake}", file=sys.stderr)
        return 1
    count = len(profiles_of(assembly))
    print(f"{path}: an EndpointPickerConfig of {count} profile{'s' if count > 1 else ''}, good")
    for sentence in sentences(assembly):
        print(f"  {sentence}")
    return 0


def _semantic(path: Path, content: bytes, lenient: bool) -> int:
    try:
        config = read_config(_text(content), lenient=lenient, folder=path.parent)
    except (SemanticConfigError, ConfigError) as mistake:
        for one in (mistake, *getattr(mistake, "others", ())):
            print(f"{path}: {one}", file=sys.stderr)
        return 1
    for warning in config.warnings:
        print(f"{path}: note: {warning}")
    names = ", ".join(sorted({model for d in config.decisions for model in d.models} | {config.default_model}))
    print(f"{path}: a semantic configuration of {len(config.decisions)} decisions over the models {names}, good")
    return 0


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as broken:
        raise ConfigError("the file", "is not UTF-8 text") from broken
