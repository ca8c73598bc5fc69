"""`onehop classify FILE.jsonl`: what the semantic stage sees in each row, for offline evaluation."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from semantic.cli import TIERS, run_classify
from semantic.signals.settings import SHIPPED


def run(arguments: list[str]) -> int:
    """0 when every row was classified, 1 at the first row or file that cannot be read."""
    parser = argparse.ArgumentParser(prog="onehop classify", description=__doc__)
    parser.add_argument("file", metavar="FILE", help='JSONL rows with a "text", or - for standard input')
    parser.add_argument("--tier", choices=TIERS, default="auto", help="which classifier (default auto)")
    parser.add_argument("--model", type=Path, default=SHIPPED, help="a folder as `semantic.training.rebuild` makes it")
    given = parser.parse_args(arguments)
    return run_classify(given.file, given.tier, sys.stdout, given.model)
