"""`onehop doctor`: looks for known traps in a cluster, or in manifests before they get there."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from epp.doctor import manifests
from epp.doctor.checks import CHECKS
from epp.doctor.cluster import Cluster
from epp.doctor.findings import Level, Result, examine
from epp.doctor.tree import Object
from epp.domain import ConfigError

COLUMNS = 100
INDENT = " " * 13
SUFFIXES = {".yaml", ".yml", ".json"}
FILE_BYTES_MAX = 64 << 20
ORDER = (Level.PROBLEM, Level.WARNING, Level.OK, Level.NOT_CHECKED)


def run(arguments: list[str]) -> int:
    """0 when no problem was found (there may be warnings), else 1."""
    given = _parser().parse_args(arguments)
    cluster = _of_files(given) if given.file else asyncio.run(_of_cluster(given))
    results = list(examine(cluster, CHECKS))
    print(_json(results) if given.json else "\n".join(_lines(results)))
    return 1 if any(result.level is Level.PROBLEM for result in results) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="onehop doctor", description=__doc__)
    parser.add_argument(
        "--file",
        type=Path,
        nargs="+",
        action="extend",
        metavar="MANIFEST",
        help="YAML or JSON files, folders of such, or - for standard input: these instead of a cluster",
    )
    parser.add_argument(
        "--kubeconfig", type=Path, metavar="FILE", help="how to reach the cluster; else as kubectl would"
    )
    parser.add_argument(
        "--namespace",
        metavar="NS",
        help="look at pools of this namespace only; with --file, where objects are that name none (default: default)",
    )
    parser.add_argument(
        "--gateway", metavar="NAME", help="look at routes of this Gateway only, as NAME or NAMESPACE/NAME"
    )
    parser.add_argument("--json", action="store_true", help="the results as JSON")
    return parser


def _of_files(given: argparse.Namespace) -> Cluster:
    if given.kubeconfig is not None:
        raise ConfigError("--kubeconfig", "has no effect with --file; leave one of them out")
    items = [item for path in given.file for item in _objects(path)]
    return Cluster(items, given.namespace or "default", gateway=given.gateway)


def _objects(path: Path, *, only_objects: bool = True) -> Iterator[Object]:
    """A folder may hold values files and the like as well, which are passed over."""
    if str(path) == "-":
        yield from manifests.read(sys.stdin.buffer.read(FILE_BYTES_MAX), "standard input")
    elif path.is_dir():
        for each in sorted(child for child in path.iterdir() if child.suffix in SUFFIXES):
            yield from _objects(each, only_objects=False)
    else:
        with path.open("rb") as file:
            yield from manifests.read(file.read(FILE_BYTES_MAX), str(path), only_objects=only_objects)


async def _of_cluster(given: argparse.Namespace) -> Cluster:
    from epp.cli.survey import survey  # noqa: PLC0415  # files are looked at without a client for Kubernetes
    from epp.edge.kube.client import connect  # noqa: PLC0415

    kube = connect(given.kubeconfig)
    try:
        return await survey(kube, given.namespace, given.gateway)
    finally:
        await kube.close()


def _lines(results: Iterable[Result]) -> Iterator[str]:
    counts: Counter[Level] = Counter()
    for result in results:
        counts[result.level] += 1
        about = result.check.title if result.level is Level.OK else result.reason
        yield from _wrapped(f"{result.level.value:<13}", f"{result.check.name}{f': {about}' if about else ''}")
        for finding in result.findings:
            yield from _wrapped(INDENT, f"{finding.subject}: {finding.what}")
            yield from _wrapped(INDENT, f"-> {finding.do}")
    yield ""
    told = ", ".join(f"{counts[level]} {_plural(level, counts[level])}" for level in ORDER if counts[level])
    yield f"{counts.total()} checks: {told}"


def _plural(level: Level, count: int) -> str:
    return f"{level.value}s" if count > 1 and level in (Level.PROBLEM, Level.WARNING) else level.value


def _wrapped(start: str, words: str) -> Iterator[str]:
    printable = "".join(c if c.isprintable() else "?" for c in words)
    yield from textwrap.wrap(
        printable, COLUMNS, initial_indent=start, subsequent_indent=INDENT + "   ", break_on_hyphens=False
    )


def _json(results: list[Result]) -> str:
    rows = [
        {
            "check": result.check.name,
            "title": result.check.title,
            "level": result.level.value,
            "reason": result.reason,
            "findings": [
                {"level": f.level.value, "subject": f.subject, "what": f.what, "do": f.do} for f in result.findings
            ],
        }
        for result in results
    ]
    counts = Counter(result.level.value for result in results)
    return json.dumps({"results": rows, "counts": {level.value: counts[level.value] for level in Level}}, indent=2)
