"""`onehop COMMAND`: without a command (or with flags alone, as the Go picker is started) it serves."""

from __future__ import annotations

import sys
from importlib import import_module

from epp.domain import ConfigError

# Imported when asked for: `onehop classify` need not load a gRPC server.
COMMANDS = {
    "serve": "epp.cli.serve",
    "quickstart": "epp.cli.quickstart",
    "classify": "epp.cli.classify",
    "check": "epp.cli.check",
    "inspect": "epp.cli.inspect",
    "explain": "epp.cli.explain",
    "replay": "epp.cli.replay",
    "doctor": "epp.cli.doctor",
    "migrate": "epp.cli.migrate",
    "bench": "epp.cli.bench",
}
USAGE = """usage: onehop COMMAND [options]

  serve         the endpoint picker (also without a command)
  quickstart    two models, three simulated replicas each, a real Envoy and OneHop on this machine
  classify      categories for the rows of a JSONL file
  check         validate discovery and semantic configuration files
  inspect       pools and endpoints of a running OneHop
  explain       why a request went where it went, or where a prompt would go
  replay        recorded requests decided again under another configuration
  doctor        look for known traps in a cluster, or in manifests
  migrate       an older vLLM Semantic Router file as v0.3, and what does not carry over
  bench         policies and admission against simulated model servers

onehop COMMAND --help says more.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; its exit code. Mistakes end in one clear sentence on standard error."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] in (["-h"], ["--help"], ["help"]):
        print(USAGE, end="")
        return 0
    name, rest = (words[0], words[1:]) if words and not words[0].startswith("-") else ("serve", words)
    if name not in COMMANDS:
        print(f"onehop: there is no command '{name}'\n\n{USAGE}", end="", file=sys.stderr)
        return 2
    try:
        return int(import_module(COMMANDS[name]).run(rest))
    except ConfigError as mistake:
        print(f"onehop {name}: {mistake}", file=sys.stderr)
        return 1
    except OSError as mistake:
        named = mistake.filename is not None and mistake.strerror
        print(f"onehop {name}: {f'{mistake.filename}: {mistake.strerror}' if named else mistake}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
