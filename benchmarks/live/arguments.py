"""The arguments of `onehop bench live`, checked before anything starts."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from benchmarks.live import cases
from benchmarks.live.fleet import REPLICAS_MAX
from benchmarks.rivals import known
from benchmarks.simulator.profiles import PROFILES
from benchmarks.workloads import catalogue
from epp.cli.envoy import Wiring

WIRINGS: dict[str, Wiring] = {"w1": "buffered", "duplex": "duplex"}
TRANSPORTS = ("native", "grpc")
UPSTREAMS = ("simulated", "instant")
FRONTS = ("none", "envoy", "both")
SECONDS_MAX, REQUESTS_MAX, RATE_MAX, ROUNDS_MAX = 3600.0, 1_000_000, 100_000.0, 1000
REMOTE_SECONDS_MAX, REMOTE_REQUESTS_MAX, REMOTE_ROUNDS_MAX = 600.0, 10_000, 10
PROMPT_BYTES_MAX, ANSWER_TOKENS_MAX = 8 << 20, 100_000
_SIZE = re.compile(r"(\d+)\s*(b|kb|kib|mb|mib)?", re.IGNORECASE)
_UNITS = {"b": 1, "kb": 1 << 10, "kib": 1 << 10, "mb": 1 << 20, "mib": 1 << 20}

T = TypeVar("T")


def parse(arguments: list[str]) -> argparse.Namespace:
    """Ends the process with a sentence for what can be seen to be wrong."""
    parser = _parser()
    given = parser.parse_args(arguments)
    wrong = _mistake(given)
    if wrong:
        parser.error(wrong)
    return given


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="onehop bench live",
        description="Real requests through a real Envoy with and without a picker, to simulated model servers; or to"
        " any URL. Says what the hop adds, and whether the client was fast enough to tell.",
    )
    _what(parser.add_argument_group("what is asked (default: prompts and answers of several sizes)"))
    _pace(parser.add_argument_group("how fast"))
    _where(parser.add_argument_group("who answers"))
    _rivals(parser.add_argument_group("other routers, before the same servers"))
    _url(parser.add_argument_group("somebody else's server"))
    _told(parser.add_argument_group("what is told"))
    return parser


def _what(group: argparse._ArgumentGroup) -> None:
    data = os.environ.get("ONEHOP_TRACES")
    group.add_argument("--workload", choices=sorted(catalogue.NAMES), metavar="NAME", help=", ".join(catalogue.NAMES))
    group.add_argument("--trace", type=Path, metavar="FILE", help="a trace, Mooncake, agent, Azure or ServeGen")
    group.add_argument("--data", type=Path, default=Path(data) if data else None, metavar="FOLDER", help="of traces")
    group.add_argument("--prompts", type=_several(_size), metavar="SIZE,..", help="1KB,32KB,220KB,400KB; none: 0")
    group.add_argument("--answers", type=_several(_count), metavar="TOKENS,..", help="10,100,1000,10000; none: 0")
    group.add_argument("--quick", action="store_true", help="a few cases, about a minute")
    group.add_argument("--only", default="", metavar="TEXT", help="cases whose name holds this")


def _pace(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--arrivals", choices=sorted(cases.ARRIVALS), default="poisson", help="default poisson")
    group.add_argument("--rate", type=_above(float, RATE_MAX), metavar="R", help="requests a second")
    group.add_argument(
        "--seconds", type=_above(float, SECONDS_MAX), metavar="S", help="of arrivals in a slice (3; --closed 5)"
    )
    group.add_argument("--requests", type=_above(int, REQUESTS_MAX), metavar="N", help="at most so many a slice")
    group.add_argument(
        "--rounds", type=_above(int, ROUNDS_MAX), metavar="N", help="slices of each case and target (5; --closed 1)"
    )
    group.add_argument("--closed", action="store_true", help="each connection asks again as soon as it was answered")
    group.add_argument("--connections", type=_above(int, 4096), metavar="N", help="of --closed")
    group.add_argument("--clients", type=_above(int, 64), default=1, metavar="N", help="generator processes (1)")
    group.add_argument("--timeout", type=_above(float, SECONDS_MAX), default=60.0, metavar="S", help="an answer (60)")


def _where(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--wiring", type=_several(_one_of(tuple(WIRINGS))), default=["w1"], help="w1, duplex or both")
    group.add_argument(
        "--transport", type=_several(_one_of(TRANSPORTS)), default=["native"], help="native, grpc or both"
    )
    group.add_argument(
        "--serve-flags", type=shlex.split, default=[], metavar="FLAGS", help='more for OneHop, "--config-file=x.yaml"'
    )
    group.add_argument("--picker-address", metavar="HOST:PORT", help="another ext_proc picker, plaintext, beside ours")
    group.add_argument("--picker-pid", type=_above(int, 1 << 22), metavar="PID", help="its process: CPU and memory")
    group.add_argument("--upstream", choices=UPSTREAMS, default="simulated", help="GPUs, or servers without any delay")
    group.add_argument("--replicas", type=_above(int, REPLICAS_MAX), default=8, help="at 127.0.0.11 and up (8)")
    group.add_argument("--replica-port", type=_port, default=0, metavar="PORT", help="of all of them (0: a free one)")
    group.add_argument("--gpu", default=None, help="h100 (default), a100, l4, or kinds: h100:4,a100:4")
    group.add_argument("--model", default=None, metavar="NAME", help=f"{' or '.join(PROFILES)}; for --url any")
    group.add_argument(
        "--time-factor", type=_above(float, 100.0), metavar="F", help="seconds a GPU second takes (1 for workloads)"
    )
    group.add_argument(
        "--streams", type=_several(_count), metavar="N,..", help="requests held open for memory, --upstream instant"
    )


def _rivals(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--rival",
        action="append",
        default=[],
        metavar="NAME[:POLICY]",
        help=f"{', '.join(known.RIVALS)}; the policy is its own default, or one of its others; several are compared",
    )
    group.add_argument(
        "--rival-venv", type=Path, default=known.VENV_DEFAULT, metavar="FOLDER", help="where `make rivals` put them"
    )
    group.add_argument(
        "--rival-front", choices=FRONTS, default="both", help="alone (none), behind an Envoy (envoy), or both targets"
    )


def _url(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--url", action="append", metavar="URL", help="instead of our own; several are compared")
    group.add_argument("--header", action="append", type=_header, default=[], metavar="NAME:VALUE")
    group.add_argument("--ignore-eos", action="store_true", help="ask for full-length answers (vLLM, SGLang)")
    group.add_argument("--allow-remote", action="store_true", help="send load to another machine: mind whose it is")


def _told(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--json", type=Path, metavar="FILE", help="the summary")
    group.add_argument("--raw", action="store_true", help="with every request, in --json")


def _mistake(given: argparse.Namespace) -> str | None:
    """The first pair of arguments that do not go together."""
    workload = given.workload or given.trace
    rules = (
        (given.workload and given.trace, "--workload and --trace: one of them"),
        (workload and (given.prompts or given.answers), "--prompts and --answers are not of a workload"),
        (workload and given.closed, "--closed has no arrivals, so it plays no workload"),
        (workload and given.upstream == "instant", "--upstream instant answers no workload: nothing would take time"),
        (given.connections and not given.closed, "--connections is of --closed"),
        (given.closed and given.rate, "--closed is as fast as it is answered: no --rate"),
        (given.url and not given.model, "--url needs --model, the name that its server knows"),
        (not given.url and given.model not in (None, *PROFILES), f"--model: {given.model!r} is not among the profiles"),
        (given.url and given.picker_address, "--url has its own picker: --picker-address is for our own Envoy"),
        (given.url and given.rival, "--url has its own router: --rival is for our own servers"),
        (given.picker_pid and not given.picker_address, "--picker-pid is that of --picker-address"),
        (given.streams and (given.upstream != "instant" or given.url), "--streams needs --upstream instant"),
        (given.raw and not given.json, "--raw goes into --json FILE"),
        (given.allow_remote and not (given.url or given.picker_address), "--allow-remote is of --url"),
        (given.allow_remote and (given.seconds or 0) > REMOTE_SECONDS_MAX, "at most 600 s to another machine"),
        (given.allow_remote and (given.rounds or 0) > REMOTE_ROUNDS_MAX, "at most 10 rounds to another machine"),
        (given.allow_remote and given.closed, "--closed is as fast as it goes: not to another machine"),
        (given.allow_remote and (given.requests or 0) > REMOTE_REQUESTS_MAX, "at most 10,000 requests a slice there"),
        (
            given.json and not given.json.parent.is_dir(),
            f"--json: there is no folder {given.json and given.json.parent}",
        ),
    )
    return next((text for applies, text in rules if applies), None)


def _several(one: Callable[[str], T]) -> Callable[[str], list[T]]:
    def several(text: str) -> list[T]:
        return list(dict.fromkeys(one(part.strip()) for part in text.split(",")))

    return several


def _one_of(names: tuple[str, ...]) -> Callable[[str], str]:
    def one(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(names)}")
        return text

    return one


def _above(kind: Callable[[str], float], most: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        if not 0 < value <= most:
            raise argparse.ArgumentTypeError(f"must be above 0 and at most {most:g}, got {text}")
        return value

    return number


def _size(text: str) -> int:
    found = _SIZE.fullmatch(text)
    size = int(found[1]) * _UNITS[(found[2] or "b").lower()] if found else -1
    if not (size == 0 or 16 <= size <= PROMPT_BYTES_MAX):
        raise argparse.ArgumentTypeError(f"{text!r} is no size like 32KB, from 16 bytes to 8MB")
    return size


def _count(text: str) -> int:
    if not text.isdigit() or int(text) > ANSWER_TOKENS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number up to {ANSWER_TOKENS_MAX:,}")
    return int(text)


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not re.fullmatch(r"[A-Za-z0-9-]+", name) or not value.isprintable() or not value.isascii():
        raise argparse.ArgumentTypeError("a header is NAME:VALUE")
    return name.lower(), value.strip()
