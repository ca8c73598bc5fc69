"""Fuzz for longer than a test may: `python -m tests.fuzz TARGET... --seconds 60`; README.md says more."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from tests.fuzz import corpus
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import TARGETS, Target

ROOT = Path(__file__).parents[2]
OURS = (str(ROOT / "epp"), str(ROOT / "semantic"))
NOT_LOOKED_AT = str(ROOT / "epp" / "telemetry")  # decodes nothing, and goes new ways once for each name it meets
SLOW_S = 1.0  # of one input of at most BYTES_MAX bytes

Lines = set[tuple[str, int, int]]


def main() -> int:
    """The command; the exit status says whether something broke."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("targets", nargs="*", help="all of them if none is named")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="keep what reaches new lines")
    parser.add_argument("--minimise", action="store_true")
    parser.add_argument("--guide", choices=("atheris", "lines"), default="lines")
    args = parser.parse_args()
    broken = 0
    for name in args.targets or TARGETS:
        check = TARGETS[name].check
        if args.minimise:
            _minimise(name, check)
        elif args.guide == "atheris":
            broken += _guided(name, check, args.seconds, args.seed, args.keep)
        else:
            broken += _search(TARGETS[name], args.seconds, args.seed, args.keep)
    return 1 if broken else 0


def _search(target: Target, seconds: float, seed: int, keep: bool) -> bool:
    """Whether an input broke the target."""
    name, check, words = target.name, target.check, target.words
    rng = Random(seed)
    kept = list(corpus.inputs(name).values())
    reached: Lines = set()
    for data in kept:
        reached |= _lines(check, data)
    ends, runs, found = time.monotonic() + seconds, 0, 0
    while time.monotonic() < ends:
        data = mutated(rng.choice(kept), rng, words, kept)
        began = time.monotonic()
        try:
            new = _lines(check, data) - reached
        except Exception as error:
            _say(f"{name}: {type(error).__name__}: {error}\n  {corpus.keep(name, data, 'broke-')}")
            return True
        if time.monotonic() - began > SLOW_S:
            _say(f"{name}: slow\n  {corpus.keep(name, data, 'broke-slow-')}")
            return True
        runs += 1
        if new:
            reached |= new
            kept.append(data)
            found += 1
            if keep:
                corpus.keep(name, data)
    _say(f"{name}: {runs} inputs in {seconds:.0f} s, {found} of them reached new lines, nothing broke")
    return False


def _lines(check: Callable[[bytes], None], data: bytes) -> Lines:
    """The jumps from line to line in our files while the target runs."""
    seen: Lines = set()
    before = {0: 0}

    def on_line(frame: object, event: str, _: object) -> object:
        if event == "line":
            line: int = frame.f_lineno  # type: ignore[attr-defined]  # a frame
            file: str = frame.f_code.co_filename  # type: ignore[attr-defined]
            seen.add((file, before.get(id(frame), 0), line))
            before[id(frame)] = line
        return on_line

    def on_call(frame: object, event: str, _: object) -> object:
        file: str = frame.f_code.co_filename  # type: ignore[attr-defined]
        return on_line if file.startswith(OURS) and not file.startswith(NOT_LOOKED_AT) else None

    sys.settrace(on_call)  # type: ignore[arg-type]
    try:
        check(data)
    finally:
        sys.settrace(None)
    return seen


def _minimise(name: str, check: Callable[[bytes], None]) -> None:
    """Keep the shortest inputs that reach the lines that all of them reach beyond those that are always kept."""

    def reaches(data: bytes) -> set[tuple[str, int]]:
        return {(file, line) for file, _, line in _lines(check, data)}

    reached: set[tuple[str, int]] = set()
    found = {}
    for file, data in corpus.inputs(name).items():
        if file.startswith(("seed-", "broke-")):
            reached |= reaches(data)
        else:
            found[file] = data
    for file, data in sorted(found.items(), key=lambda item: (len(item[1]), item[1])):
        new = reaches(data) - reached
        reached |= new
        if not new:
            (corpus.FOLDER / name / file).unlink()


def _guided(name: str, check: Callable[[bytes], None], seconds: float, seed: int, keep: bool) -> bool:
    """Whether an input broke the target, by libFuzzer, which ends the process it runs in."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.fuzz.guided", name, folder, f"{seconds:.0f}", str(seed)]
        status = subprocess.call(command)
        if keep:
            for path in (Path(folder) / "found").iterdir():
                corpus.keep(name, path.read_bytes())
    if keep and status == 0:
        _minimise(name, check)
    return status != 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
