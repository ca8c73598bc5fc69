"""The report in Markdown: one table and one picture on top, then everything by load, then what the words mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.sim.cells import cell, milliseconds
from benchmarks.sim.report import CLASS_NAMES
from benchmarks.sim.table import aligned

Result = Mapping[str, Any]
KEPT = CLASS_NAMES[:2]
_percent, _number, _seconds, _index = cell(".1f", 100, " %"), cell(".0f", 100), cell(".1f", unit=" s"), cell(".2f")
OURS, NOTHING, LEGACY = "OneHop", "no shedding", "llm-d legacy"


def page(content: Mapping[str, Any], command: str) -> str:
    """The whole report; `command` is what makes it."""
    steady, steps = _steady(content), _steps(content)
    loads = list(dict.fromkeys(result["load"] for result in steady))
    parts = [
        "# Load shedding",
        headline(content),
        summary(content),
        "![A step of load: offered and served in time by class, time to first token, queues](shedding-step.png)",
        _setting(content),
        f"    {command}",
        "![Goodput by class against load](shedding-goodput.png)",
    ]
    for load in loads:
        chosen = [result for result in steady if result["load"] == load]
        parts += [f"## At {load:g} times the knee", _classes(chosen), _fleet(chosen)]
    parts += [f"## Through a step to {_high(steps[0])} times the knee", _step(steps), _classes(steps), _fleet(steps)]
    return "\n\n".join([*parts, WORDS]) + "\n"


def headline(content: Mapping[str, Any]) -> str:
    """What the numbers say of critical requests, in one sentence."""
    steady = _steady(content)
    load = max(result["load"] for result in steady)
    at = {result["contender"]: result["classes"] for result in steady if result["load"] == load}
    names = [name for name in (OURS, LEGACY, NOTHING) if name in at]
    critical, standard = (
        ", ".join(f"{_percent(at[name][klass]['goodput'])} with {name}" for name in names) for klass in KEPT
    )
    return (
        f"At {load:g} times the knee these meet their objectives: of critical requests {critical}; of standard ones "
        f"{standard}."
    )


def summary(content: Mapping[str, Any]) -> str:
    """The table that says it at a glance."""
    steady, steps = _steady(content), {result["contender"]: result for result in _steps(content)}
    loads = list(dict.fromkeys(result["load"] for result in steady))
    head = ["% in time: critical / standard / sheddable", *(f"{load:g}x" for load in loads)]
    last = f"at {loads[-1]:g}x"
    rows = [[*head, f"critical TTFT p99 {last}", f"tenants' fairness {last}", "recovery after the step"]]
    for name in dict.fromkeys(result["contender"] for result in steady):
        mine = [result for result in steady if result["contender"] == name]
        worst = mine[-1]
        rows.append(
            [
                name,
                *(" / ".join(_number(r["classes"][c]["goodput"]) for c in CLASS_NAMES) for r in mine),
                _seconds(worst["classes"]["critical"]["ttft_p99"]),
                _index(worst["summary"]["fairness_tokens"]),
                recovered(steps[name]),
            ]
        )
    return aligned(rows)


def recovered(step: Result) -> str:
    """The median over the seeds; a seed that did not recover took longer than was looked."""
    took = sorted(float("inf") if s is None else s for s in step["step"]["recovery_s"])
    middle = took[len(took) // 2]
    never = sum(s == float("inf") for s in took)
    if middle == float("inf"):
        last, window = step["step"]["phases"][-1]["seconds"], step["step"]["window_s"]
        return f"not in {last - window:.0f} s"
    return f"{middle:.0f} s" + (f" ({never} of {len(took)} not at all)" if never else "")


def _classes(results: Sequence[Result]) -> str:
    rows = [
        ["", "class", "offered", "in time", "TTFT p50 ms", "p99 ms", "refused", "why", "Retry-After p50 / p90 / max"]
    ]
    for result in results:
        for name in CLASS_NAMES:
            part, bounds = result["classes"][name], result["bootstrap"][name].get("goodput")
            spread = "" if bounds is None else f" ({bounds[0] * 100:.1f} to {bounds[1] * 100:.1f})"
            rows.append(
                [
                    result["contender"] if name == CLASS_NAMES[0] else "",
                    name,
                    str(part["offered"]),
                    _percent(part["goodput"]) + spread,
                    milliseconds(part["ttft_p50"]),
                    milliseconds(part["ttft_p99"]),
                    str(part["shed"]),
                    ", ".join(f"{reason} {count}" for reason, count in part["shed_reasons"].items()) or "-",
                    _told(part),
                ]
            )
    return aligned(rows)


def _told(part: Mapping[str, Any]) -> str:
    if not part["shed"]:
        return "-"
    if not part["retry_after_told"]:
        return "none given"
    return " / ".join(f"{part[f'retry_after_p{q}']:.0f}" for q in (50, 90, 100)) + " s"


def _fleet(results: Sequence[Result]) -> str:
    rows = [
        [
            "",
            "preemptions per 1,000 requests",
            "waiting in engines, mean / max",
            "at one engine, max",
            "waiting at the gate, mean / max",
            "tenants' fairness",
            "hits",
        ]
    ]
    for result in results:
        part = result["summary"]
        rows.append(
            [
                result["contender"],
                f"{1000 * part['preemptions'] / max(1, part['offered']):.1f}",
                f"{part['waiting_engines_mean']:.0f} / {part['waiting_engines_max']:.0f}",
                f"{part['waiting_engine_max']:.0f}",
                f"{part['waiting_gate_mean']:.0f} / {part['waiting_gate_max']:.0f}",
                _index(part["fairness_tokens"]),
                _percent(part["hit_rate"]),
            ]
        )
    return aligned(rows)


def _step(steps: Sequence[Result]) -> str:
    rows = [["", "in time before: critical and standard", "recovery", "each seed"]]
    for result in steps:
        seeds = ", ".join("never" if s is None else f"{s:.0f}" for s in result["step"]["recovery_s"])
        rows.append([result["contender"], _percent(result["summary"]["before"]), recovered(result), seeds])
    phases = ", then ".join(f"{p['seconds']:.0f} s at {p['load']:g}" for p in steps[0]["step"]["phases"])
    window, within = steps[0]["step"]["window_s"], steps[0]["step"]["within"]
    return (
        f"{phases} times the knee. Recovery: from the end of the step to the first second from which on, in every "
        f"window of {window:.0f} s that begins then or later, critical and standard requests that arrive in it are in "
        f"time as often as before the step, less {within * 100:.0f} points.\n\n" + aligned(rows)
    )


def _setting(content: Mapping[str, Any]) -> str:
    fleet, slo, mix = content["fleet"], content["slo"], content["mix"]
    gpus = " and ".join(f"{count} x {gpu}" for gpu, count in fleet["gpus"].items())
    steady = _steady(content)[0]
    return (
        f"Real picker code, simulated replicas, virtual time: `{content['workload']}` on {gpus} with {fleet['model']}; "
        f"{mix[0]:.0%} critical, {mix[1]:.0%} standard, {mix[2]:.0%} sheddable requests of twenty tenants, one of "
        f"which sends half; seeds 0 to {content['seeds'] - 1} with {_each(steady)} counted requests each, the same for "
        f"all. In time: the first token within {slo['ttft_s']:g} s and {slo['ttft_prefill_factor']:g} times the own "
        f"prefill, and {slo['tpot_s'] * 1e3:g} ms a token. The knee, 1x, is {content['knee_rps']:.4g} req/s, where "
        "least-request has 80 % goodput without admission. No number depends on the machine.\n\n"
        + "\n".join(f"- **{name}**: {title}" for name, title in _titles(content))
    )


def _each(result: Result) -> int:
    return int(result["summary"]["offered"]) // int(result["seeds"])


def _titles(content: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    return {result["contender"]: result["title"] for result in content["results"]}.items()


def _steady(content: Mapping[str, Any]) -> list[Result]:
    return [result for result in content["results"] if result["load"] is not None]


def _steps(content: Mapping[str, Any]) -> list[Result]:
    return [result for result in content["results"] if result["load"] is None]


def _high(step: Result) -> str:
    return f"{max(phase['load'] for phase in step['step']['phases']):g}"


WORDS = """## What the words mean

- **in time**: goodput, the fraction of requests *offered* that met both objectives; what was refused did not. In
  brackets the 95 % bootstrap interval (BCa) of the mean over the seeds; of few seeds it is narrower than it should be.
- **TTFT**: seconds to the first token, of the requests that got one: refusals make it shorter, so read it beside
  goodput.
- **Retry-After**: seconds that refused clients were told to stay away. Simulated clients do not come again.
- **waiting**: requests handed to an engine that it does not compute yet, and requests held at our gate; sampled every
  50 ms, means while requests arrive, maxima until all are done. **preemptions** are the engines' own.
- **tenants' fairness**: Jain's index, `(sum x)^2 / (n sum x^2)`, of what each tenant got of its max-min fair share:
  tokens of its requests that were in time, by the share that it would have of all those tokens if everybody got the
  same and nobody more than asked for (Jain, Durresi, Babic: Throughput Fairness Index: An Explanation, ATM Forum
  99-0045; the shares as in Bertsekas and Gallager, Data Networks, 6.5.2). 1: all had their part; 1/20: one had
  everything. Critical requests go first whoever sends them, so a tenant with many of them gets more than its share.
- Times to the first token, classes and counts are means and sums over the seeds; the first tenth of the arrivals (of a
  step: half of what is before it) is warm-up and is not counted."""
