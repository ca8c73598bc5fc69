"""Where the shipped files come from: commit and commands of the scripts, and digests of what went in and came out."""

import hashlib
import subprocess
from pathlib import Path
from typing import Any

from semantic.training.rebuild import BUILD, DATA, FULL, ROUTING, SMALL


def made(args: Any) -> dict[str, Any]:
    """What meta.json says of it; `args` are those of `export_heads`. Digests are SHA-256 in hexadecimal."""
    shown = {name: f"<{name}>" for name in ("data", "routing", "base", "tokenizer", "work", "out")}
    steps = (SMALL if args.small else FULL).steps(BUILD)
    return {
        "commit": args.commit or _present_commit(),
        "commands": [f"python -m semantic.training.{' '.join(s)}".format(**shown, device=args.device) for s in steps],
        "base": {args.base.name: sha256(args.base)},
        "data": {n: sha256(f / n) for f, names in ((args.data, DATA), (args.routing, ROUTING)) for n in names},
        "files": {p.name: sha256(p) for p in sorted(args.out.iterdir()) if p.name != "meta.json"},
    }


def sha256(path: Path) -> str:
    """The digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _present_commit() -> str:
    """The commit of these scripts; `unknown` where they are no checkout, as when they were installed."""
    here = Path(__file__).parent
    try:
        ran = [
            subprocess.run(["git", *command], check=True, capture_output=True, text=True, cwd=here).stdout.strip()
            for command in (("rev-parse", "HEAD"), ("status", "--porcelain", "."))
        ]
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{ran[0]} with changes" if ran[1] else ran[0]
