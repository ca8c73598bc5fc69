"""`onehop migrate FILE`: an older vSR configuration as v0.3, and what does not carry over."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

from epp.cli.check import READABLE_BYTES_MAX
from semantic.config import ConfigError, read_config
from semantic.migrate import Migration, migrate


def run(arguments: list[str]) -> int:
    """The new file on standard output, the report on standard error.

    1 where there is nothing to convert, or where the result is not yet a file to serve with (the report says why).
    """
    parser = argparse.ArgumentParser(prog="onehop migrate", description=__doc__)
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.add_argument("--output", metavar="FILE", type=Path, help="write the new file there (default: print it)")
    given = parser.parse_args(arguments)
    try:
        with given.file.open("rb") as file:
            done = migrate(file.read(READABLE_BYTES_MAX).decode())
    except UnicodeDecodeError:
        print(f"{given.file}: is not UTF-8 text", file=sys.stderr)
        return 1
    except ConfigError as mistake:
        print(f"{given.file}: {mistake}", file=sys.stderr)
        return 1
    text = yaml.safe_dump(done.document, sort_keys=False, allow_unicode=True, width=120)
    if given.output is None:
        print(text, end="")
    else:
        given.output.write_text(text, encoding="utf-8")
    _report(done)
    return _examine(text)


def _report(done: Migration) -> None:
    print("carried over:", file=sys.stderr)
    for line in done.carried:
        print(f"  {line}", file=sys.stderr)
    print("not carried over, and what that changes:", file=sys.stderr)
    for line in done.lost or ["nothing"]:
        print(f"  {line}", file=sys.stderr)


def _examine(text: str) -> int:
    """What `onehop check` would say of the result."""
    try:
        config = read_config(text)
    except ConfigError as mistake:
        print("to be settled before it can be served:", file=sys.stderr)
        for one in (mistake, *mistake.others):
            print(f"  {one}", file=sys.stderr)
        return 1
    for warning in config.warnings:
        print(f"note: {warning}", file=sys.stderr)
    return 0
