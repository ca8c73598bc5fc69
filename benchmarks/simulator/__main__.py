"""Runs simulated model servers by hand: `python -m benchmarks.simulator --replica name=a,models=llama3-8b+auto`."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable
from typing import Any, TextIO

from benchmarks.simulator.fleet import FleetError, ReplicaSpec, SimulatedFleet

EXAMPLE = "name=a,models=llama3-8b+auto,address=127.0.0.1,port=8001,gpu=h100"


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split("+"))


FIELDS: dict[str, Callable[[str], Any]] = {
    "name": str,
    "models": _names,
    "address": str,
    "port": int,
    "gpu": str,
    "profile": str,
    "adapters": _names,
    "adapters_max": int,
    "kv_tokens": int,
    "context_tokens_max": int,
    "sequences_max": int,
    "output_tokens_median": float,
    "seed": int,
}


def parse_replica(text: str) -> ReplicaSpec:
    """Read `key=value,...`; lists are joined by a plus sign."""
    values: dict[str, Any] = {}
    for item in text.split(","):
        key, equals, value = item.partition("=")
        if not equals or key not in FIELDS:
            raise argparse.ArgumentTypeError(f"{item!r} is not KEY=VALUE with a KEY of {', '.join(FIELDS)}")
        try:
            values[key] = FIELDS[key](value)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{key} must be a number, got {value!r}") from None
    for key in ("name", "models"):
        if key not in values:
            raise argparse.ArgumentTypeError(f"{text!r} has no {key}; an example: {EXAMPLE}")
    try:
        return ReplicaSpec(**values)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


async def serve(specs: list[ReplicaSpec], time_factor: float) -> None:
    """Run the replicas until SIGINT or SIGTERM."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with SimulatedFleet(specs, time_factor=time_factor) as fleet:
        for replica in fleet.replicas:
            _say(sys.stdout, f"{replica.name}: {replica.url} serves {', '.join(replica.spec.models)}")
        _say(sys.stdout, "simulated replicas are up; Ctrl-C ends them")
        await stopped.wait()


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and serve; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulator", description=__doc__)
    parser.add_argument(
        "--replica",
        action="append",
        required=True,
        type=parse_replica,
        metavar="KEY=VALUE,...",
        help=f"one replica; repeat it for more. Keys: {', '.join(FIELDS)}. Example: {EXAMPLE}",
    )
    parser.add_argument("--time-factor", type=float, default=1.0, help="0.1 is ten times faster than real (default 1)")
    options = parser.parse_args(arguments)
    try:
        asyncio.run(serve(options.replica, options.time_factor))
    except (FleetError, ValueError) as error:
        _say(sys.stderr, f"error: {error}")
        return 1
    return 0


def _say(stream: TextIO, line: str) -> None:
    stream.write(line + "\n")
    stream.flush()


if __name__ == "__main__":
    sys.exit(main())
