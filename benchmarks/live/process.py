"""A child process, and what a process has used, from /proc (Linux)."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


def started(command: Sequence[str], output: Path) -> subprocess.Popen[bytes]:
    """A child whose words go to a file. A Ctrl-C at the terminal does not reach it: we end what we started."""
    with output.open("wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)


def last_words(output: Path) -> str:
    """The last lines of a child's output."""
    lines = output.read_text(errors="replace").splitlines() if output.exists() else []
    return " | ".join(line.strip() for line in lines[-3:] if line.strip()) or "it said nothing"


def cpu_s(pid: int) -> float:
    """CPU seconds of all its threads that live, to the nanosecond."""
    total = 0
    with suppress(FileNotFoundError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # it has just ended
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def rss_bytes(pid: int) -> int:
    """Memory that is resident."""
    with suppress(FileNotFoundError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0
