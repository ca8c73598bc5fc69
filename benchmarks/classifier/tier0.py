"""How long tier 0 takes for one text, here and in another checkout, in turns within one run.

    python -m benchmarks.classifier.tier0 --against FOLDER [--texts FILE.jsonl] [--rounds 20]

FOLDER is the root of another checkout of this project. Each round reads all texts once in either; the tenth percentile
and the median over all rounds are printed as JSON, with their ratio. Without `--texts` (rows with `text`) they are
user's turns of 1,024 bytes.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.classifier.texts import TURN, TURN_BYTES

TURNS = 60
MEASURE = """
import json, sys, time
from pathlib import Path
import semantic
from semantic.signals.engine import Engine
root = Path(sys.argv[1]).resolve()
assert Path(semantic.__file__).is_relative_to(root), f"{semantic.__file__} is not in {root}"
texts, engine = json.loads(sys.stdin.readline()), Engine(late=True)
for line in sys.stdin:
    took = []
    for text in texts:
        began = time.perf_counter()
        engine.glance(text)
        took.append(time.perf_counter() - began)
    print(json.dumps(took), flush=True)
"""


def main() -> None:
    """Reads the command line, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, required=True)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    texts = [TURN[n : n + TURN_BYTES] for n in range(TURNS)]
    if args.texts:
        texts = [json.loads(line)["text"] for line in args.texts.read_text(encoding="utf-8").splitlines()]
    roots = {"here": Path(__file__).parents[2], "there": args.against}
    readers = {name: _started(root, texts) for name, root in roots.items()}
    took: dict[str, list[float]] = {name: [] for name in readers}
    for number in range(args.rounds + 1):
        for name, reader in readers.items():
            found = _round(reader)
            took[name] += found if number else []  # the first round warms up
    for reader in readers.values():
        reader.communicate()
    sys.stdout.write(json.dumps({"texts": len(texts), **_told(took)}, indent=1) + "\n")


def _started(root: Path, texts: list[str]) -> "subprocess.Popen[str]":
    reader = subprocess.Popen(
        [sys.executable, "-c", MEASURE, str(root)],
        cwd=root,
        env={"PYTHONPATH": str(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reader.stdin is not None
    reader.stdin.write(json.dumps(texts) + "\n")
    return reader


def _round(reader: "subprocess.Popen[str]") -> list[float]:
    assert reader.stdin is not None
    assert reader.stdout is not None
    reader.stdin.write("\n")
    reader.stdin.flush()
    found: list[float] = json.loads(reader.stdout.readline())
    return found


def _told(took: dict[str, list[float]]) -> dict[str, object]:
    """Microseconds by percentile, and how many of there one of here is."""
    out: dict[str, object] = {}
    for name, share in (("p10", 0.1), ("p50", 0.5), ("p90", 0.9)):
        here, there = (sorted(took[side])[int(share * len(took[side]))] for side in ("here", "there"))
        out[name] = {"here_us": round(1e6 * here), "there_us": round(1e6 * there), "ratio": round(here / there, 3)}
    return out


if __name__ == "__main__":
    main()
