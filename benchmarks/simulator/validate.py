"""The replica model against what others have published, point by point: `python -m benchmarks.simulator.validate`.

Two tables of `published/`. **Steps**: how long a GPU takes for one, added up from kernels timed under vLLM; the host's
share of our constants is left out there. **Closed loops**, measured with real vLLM servers: our replica under the same
clients, which drift apart (each answer a little longer or shorter) or stay in step. How theirs did is not published,
and it decides who waits for whose prefill: the time to the first token is judged only where requests queue for the KV
cache, and shown beside both elsewhere. Times a token and to the last one hardly depend on it. **Open loop**: Poisson
arrivals at the throughput that the closed loop was measured to have, by Little's law.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from statistics import median

from benchmarks.simulator import loops
from benchmarks.simulator.architectures import LLAMA3_8B, LLAMA3_70B, PHI4_MINI, QWEN3_32B
from benchmarks.simulator.config import ReplicaConfig
from benchmarks.simulator.profiles import StepCost, derived

SHAPES = {"llama3-8b": LLAMA3_8B, "llama3-70b": LLAMA3_70B, "qwen3-32b": QWEN3_32B, "phi4-mini": PHI4_MINI}
ROUNDS = 5
"""Requests of each client."""
APART = 0.1
"""Answers of clients that drift apart are so much longer or shorter."""
FASTER = {"l40s": ("l4", 362 / 121, 864 / 300), "h200": ("h100", 1.0, 4.8 / 3.35)}
"""GPUs that we have no constants of: another's, multiplied and read so many times faster by NVIDIA's data sheets."""
Row = Mapping[str, str]


@dataclass(slots=True, frozen=True)
class Point:
    """One published number and ours, both in milliseconds."""

    of: str
    at: str
    published: float
    ours: float

    @property
    def error(self) -> float:
        """As a part of what was published."""
        return self.ours / self.published - 1


@dataclass(slots=True, frozen=True)
class Curve:
    """A closed loop as it was measured, in milliseconds, and as ours runs it."""

    of: str
    at: str
    ttft: float
    tpot: float
    e2e: float
    predicted_tpot: float
    """By those who measured the kernels."""
    queues: bool
    """Whether the prompts of all clients together are more than the KV cache holds."""
    apart: loops.Means
    in_step: loops.Means
    opened: loops.Means


def main(arguments: list[str]) -> int:
    """0 when all is printed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulator.validate", description=__doc__)
    parser.add_argument("--points", action="store_true", help="every point, and not only medians and the worst")
    given = parser.parse_args(arguments)
    found = steps()
    _tell("a step, without the host", [p for p in found if "by " not in p.of], given.points)
    _tell("a step of GPUs that we have no constants of", [p for p in found if "by " in p.of], given.points)
    loop = curves()
    _tell("closed loop: a token", [Point(c.of, c.at, c.tpot, 1e3 * c.apart.tpot_s) for c in loop], given.points)
    _tell("closed loop: the last token", [Point(c.of, c.at, c.e2e, 1e3 * c.apart.e2e_s) for c in loop], given.points)
    waits = [Point(c.of, c.at, c.ttft, 1e3 * c.apart.ttft_s) for c in loop if c.queues]
    _tell("closed loop: the first token, where requests queue for the KV cache", waits, given.points)
    _tell(
        "open loop: a token",
        [Point(c.of, c.at, c.tpot, 1e3 * c.opened.tpot_s) for c in loop if not c.queues],
        given.points,
    )
    theirs = [Point(c.of, c.at, c.tpot, c.predicted_tpot) for c in loop]
    _tell("beside it, aiconfigurator's own prediction: closed loop, a token", theirs, given.points)
    _tell_brackets([c for c in loop if not c.queues], given.points)
    return 0


def steps() -> list[Point]:
    """Every row of `steps.csv`, with what our constants say of the GPU's part."""
    points = []
    for row in _rows("steps.csv"):
        name, cost = _cost(row)
        sequences, tokens = int(row["sequences"]), int(row["tokens"])
        if row["kind"] == "prefill":
            pairs, context, at = tokens**2 / 2, 0, f"a prompt of {tokens:,}"
        else:
            pairs, context, at = 0.0, sequences * tokens, f"{sequences} x {tokens:,} of context"
            tokens = sequences
        ours = 1e3 * cost.seconds(tokens=tokens, sequences=0, decode_context=context, prefill_pairs=pairs)
        published = sum(float(row[part]) for part in ("products_ms", "attention_ms", "other_ms"))
        points.append(Point(f"{row['kind']}, {row['model']} on {name}", at, published, ours - cost.overhead_ms))
    return points


def _cost(row: Row) -> tuple[str, StepCost]:
    gpu, gpus = row["gpu"], int(row["gpus"])
    if gpu not in FASTER:
        return f"{gpu}x{gpus}" if gpus > 1 else gpu, derived(SHAPES[row["model"]], gpu, gpus).cost
    known, flop, reads = FASTER[gpu]
    cost = derived(SHAPES[row["model"]], known, gpus).cost
    faster = replace(
        cost,
        weights_ms=cost.weights_ms / reads,
        weights_token_ms=cost.weights_token_ms / reads,
        matmul_ms=cost.matmul_ms / flop,
        matmul_token_ms=cost.matmul_token_ms / flop,
        context_token_ms=cost.context_token_ms / reads,
        attention_flop_per_s=cost.attention_flop_per_s * flop,
    )
    return f"{gpu} by the {known}'s", faster


def curves(gpus: Sequence[int] = (2, 4, 8)) -> list[Curve]:
    """Every row of `curves.csv` on so many GPUs, and our replica under the same clients."""
    found = []
    for row in _rows("curves.csv"):
        if int(row["gpus"]) not in gpus:
            continue
        config = ReplicaConfig.of(derived(SHAPES[row["model"]], row["gpu"], int(row["gpus"])))
        prompt, output, clients = (int(row[key]) for key in ("prompt_tokens", "output_tokens", "concurrency"))
        ttft, tpot = float(row["ttft_ms"]), float(row["tpot_ms"])
        e2e = ttft + tpot * (output - 1)
        number = ROUNDS * clients
        found.append(
            Curve(
                f"{row['model']} on {row['gpu']}x{row['gpus']}",
                f"{clients} clients, {prompt:,} in, {output:,} out",
                ttft,
                tpot,
                e2e,
                float(row["predicted_tpot_ms"]),
                clients * prompt > config.kv_blocks * config.block_tokens,
                loops.closed(config, prompt, output, clients=clients, requests=number, spread=APART),
                loops.closed(config, prompt, output, clients=clients, requests=number, spread=0.0),
                loops.opened(config, prompt, output, rate=1e3 * clients / e2e, requests=max(200, number)),
            )
        )
    return found


def summary(points: Sequence[Point]) -> str:
    """Median and worst."""
    errors = [point.error for point in points]
    middle = median(abs(error) for error in errors)
    return f"median {middle:.1%} off ({median(errors):+.1%}), worst {max(errors, key=abs):+.0%}"


def _tell(title: str, points: Sequence[Point], every: bool) -> None:
    print(f"\n{title}\n")
    groups: dict[str, list[Point]] = {}
    for point in points:
        groups.setdefault(point.of, []).append(point)
        if every:
            print(f"  {point.of:36} {point.at:32} {point.published:10.2f} {point.ours:10.2f} ms {point.error:+6.0%}")
    for name, members in {**groups, "all": points}.items():
        print(f"  {name:36} {len(members):3} points: {summary(members)}")


def _tell_brackets(loop: Sequence[Curve], every: bool) -> None:
    print("\nclosed loop: milliseconds to the first token, of clients that are apart and in step\n")
    inside: dict[str, list[bool]] = {}
    for curve in loop:
        low, high = sorted((1e3 * curve.apart.ttft_s, 1e3 * curve.in_step.ttft_s))
        inside.setdefault(curve.of, []).append(low <= curve.ttft <= high)
        if every:
            print(f"  {curve.of:36} {curve.at:32} measured {curve.ttft:8.0f}, ours {low:8.0f} to {high:8.0f}")
    for name, members in inside.items():
        print(f"  {name:36} {len(members):3} points: {sum(members)} between ours")


def _rows(name: str) -> list[Row]:
    with (files("benchmarks.simulator.published") / name).open() as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
