"""A child process, and what a process has used (Linux)."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

CPUCLOCK_SCHED = 2
"""With the process id, the number of another process's CPU clock: what clock_getcpuclockid(3) returns."""


def started(command: Sequence[str], output: Path) -> subprocess.Popen[bytes]:
    """A child whose words go to a file. A Ctrl-C at the terminal does not reach it: we end what we started."""
    with output.open("wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)


def last_words(output: Path) -> str:
    """The last lines of a child's output."""
    lines = output.read_text(errors="replace").splitlines() if output.exists() else []
    return " | ".join(line.strip() for line in lines[-3:] if line.strip()) or "it said nothing"


def cpu_s(pid: int) -> float:
    """CPU seconds of all its threads, those that have ended included; 0 of a process that is gone."""
    with suppress(OSError):
        return time.clock_gettime(~pid << 3 | CPUCLOCK_SCHED)
    return 0.0


def rss_bytes(pid: int) -> int:
    """Memory that is resident."""
    return _status_bytes(pid, "VmRSS:")


def peak_bytes(pid: int) -> int:
    """The most that was resident since `forget_peak`, or since it began where that is not ours to say."""
    return _status_bytes(pid, "VmHWM:")


def forget_peak(pid: int) -> None:
    """`peak_bytes` begins anew (proc(5), clear_refs)."""
    with suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status_bytes(pid: int, name: str) -> int:
    with suppress(FileNotFoundError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0
