"""One target under libFuzzer (atheris, which is no dependency: `pip install atheris`); `__main__.py` runs it."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris  # type: ignore[import-not-found]  # see above

from tests.fuzz.corpus import FOLDER
from tests.fuzz.mutate import BYTES_MAX

TIMEOUT_S = 10  # of one input

with atheris.instrument_imports(include=["epp", "semantic"]):
    from tests.fuzz.targets import TARGETS

name, folder, seconds, seed = sys.argv[1:]
words, found = Path(folder) / "words", Path(folder) / "found"
found.mkdir()
escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in TARGETS[name].words)
words.write_text("".join(f'"{word}"\n' for word in escaped))
limits = [f"-max_total_time={seconds}", f"-max_len={BYTES_MAX}", f"-seed={int(seed) + 1}", f"-timeout={TIMEOUT_S}"]
kept = FOLDER / name
atheris.Setup(
    [sys.argv[0], *limits, f"-dict={words}", f"-artifact_prefix={kept}/broke-", str(found), str(kept)],
    TARGETS[name].check,
)
atheris.Fuzz()
