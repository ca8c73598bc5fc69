"""`onehop bench`: what the picker is worth, in virtual time, and what it costs, in real time."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = {
    "sim": "benchmarks.sim.command",
    "live": "benchmarks.live.command",
    "shedding": "benchmarks.shedding.command",
    "compare": "benchmarks.sim.compare",
    "plot": "benchmarks.plots.command",
}
USAGE = """usage: onehop bench COMMAND [options]

  sim        policies under a workload, against simulated model servers in virtual time
  live       what a hop adds: real requests through a real Envoy, with and without a picker
  shedding   who is served in time, and who is refused, when there is too much to do
  compare    what moved from one result of these to another beyond noise
  plot       pictures of results and of requests

onehop bench COMMAND --help says more.
"""


def run(arguments: list[str]) -> int:
    """The exit code of the benchmark that the first word names."""
    if not arguments:
        print(USAGE, end="", file=sys.stderr)
        return 2
    name, rest = arguments[0], arguments[1:]
    if name in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if name not in COMMANDS:
        print(f"onehop bench: there is no benchmark '{name}'\n\n{USAGE}", end="", file=sys.stderr)
        return 2
    return int(import_module(COMMANDS[name]).run(rest))
