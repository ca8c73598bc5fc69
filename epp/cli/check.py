"""`onehop check FILE...`: says what is wrong with discovery and semantic files before they are served."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from epp.datastore import discovery
from epp.domain import ConfigError
from semantic.config import ConfigError as SemanticConfigError
from semantic.config import read_config

READABLE_BYTES_MAX = 16 << 20


def run(arguments: list[str]) -> int:
    """0 when every file is good, 1 when one is not; each mistake on a line of its own, with its path."""
    parser = argparse.ArgumentParser(prog="onehop check", description=__doc__)
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path)
    parser.add_argument("--lenient", action="store_true", help="what has no effect is a warning, not a mistake")
    given = parser.parse_args(arguments)
    return max([_check(path, given.lenient) for path in given.files])


def _check(path: Path, lenient: bool) -> int:
    try:
        with path.open("rb") as file:
            content = file.read(READABLE_BYTES_MAX)
    except OSError as unreadable:
        print(f"{path}: {unreadable.strerror}", file=sys.stderr)
        return 1
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
