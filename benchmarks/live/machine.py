"""What a result was measured on: without it no number of a run can be read."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from epp.cli.envoy import envoy_version, find_envoy
from epp.domain import ConfigError

ROOT = Path(__file__).parent.parent.parent


def machine() -> dict[str, Any]:
    """The machine, its versions, and how busy it is."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": _cpu(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "envoy": _envoy(),
        "commit": commit(),
        "load_average": round(os.getloadavg()[0], 2),
    }


def sentence(told: dict[str, Any]) -> str:
    """The same as a line."""
    return (
        f"{told['cores']} cores ({told['cpu']}), {told['system']}, Python {told['python']}, Envoy {told['envoy']}, "
        f"commit {told['commit']}, load average {told['load_average']}"
    )


def commit() -> str:
    """Of the checkout that this code is in; "unknown" where it is installed without one."""
    if not (ROOT / "pyproject.toml").exists():
        return "unknown"
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--match", ""]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return told.stdout.strip()


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or sys.platform


def _envoy() -> str:
    try:
        return ".".join(map(str, envoy_version(find_envoy())))
    except (ConfigError, OSError):
        return "none"
