"""The rivals by name, and the environment in which they are."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.rivals import litellm_proxy, sglang_router, vllm_router
from benchmarks.rivals.rival import Entry, Rival

RIVALS: Mapping[str, Rival] = {one.RIVAL.name: one.RIVAL for one in (sglang_router, vllm_router, litellm_proxy)}
VENV_DEFAULT = Path(sys.prefix) / "rivals"
"""Where `make rivals` puts them."""


def find(text: str, venv: Path) -> Entry:
    """`NAME` or `NAME:POLICY`. Raises ValueError for what is not known, or not installed."""
    name, _, policy = text.partition(":")
    rival = RIVALS.get(name)
    if rival is None:
        raise ValueError(f"--rival: {name!r} is none of {', '.join(RIVALS)}")
    policy = policy or rival.policies[0]
    if policy not in rival.policies:
        raise ValueError(f"--rival: {name} has no policy {policy!r} here, but {', '.join(rival.policies)}")
    if not (venv / "bin" / rival.program).exists():
        raise ValueError(f"--rival: there is no {rival.program} in {venv / 'bin'}; `make rivals` puts it there")
    return Entry(rival, policy, venv)


def version(entry: Entry) -> str:
    """Of the package installed; "unknown" where it does not say."""
    stem = entry.rival.package.replace("-", "_")
    found = sorted(entry.venv.glob(f"lib/python*/site-packages/{stem}-*.dist-info"))
    return found[-1].name.removesuffix(".dist-info").rpartition("-")[2] if found else "unknown"
