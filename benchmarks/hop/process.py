"""What a process has used, from /proc (Linux)."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def cpu_s(pid: int) -> float:
    """CPU seconds of all its threads that live, to the nanosecond."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # it has just ended
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def rss_bytes(pid: int) -> int:
    """Memory that is resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
