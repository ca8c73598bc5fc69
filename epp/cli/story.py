"""The quickstart's requests, what came of them, and how it reads: which model, which replica, and why."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from epp.cli.receipt_table import in_seconds
from epp.protocol.headers import RECEIPT, VSR_DECISION, VSR_MODEL

BURST = (
    "What is the derivative of x^3?",
    "Who wrote the Magna Carta?",
    "Solve 3x + 7 = 22 for x.",
    "How do vaccines train the immune system?",
    "What is the sum of the first 100 integers?",
    "Explain supply and demand to a child.",
)
BURST_REQUESTS = 26


@dataclass(slots=True)
class Ask:
    """One request of the story, and what must come of it for the story to be right (`expect` None: any model)."""

    name: str
    model: str
    prompt: str
    stream: bool = False
    max_tokens: int = 64
    expect: str | None = None


@dataclass(slots=True)
class Told:
    """What came of a request. `seconds` is the client's time to the last byte."""

    ask: Ask
    status: int
    seconds: float
    selected_model: str | None
    decision: str | None
    answer: str
    events: int = 0
    receipt: dict[str, Any] = field(default_factory=dict)

    @property
    def right(self) -> bool:
        """Answered, and by the model the story promises."""
        return self.status == 200 and self.ask.expect in (None, self.selected_model)

    def row(self) -> dict[str, Any]:
        """One entry of `quickstart --json`."""
        return {
            "name": self.ask.name,
            "status": self.status,
            "asked_model": self.ask.model,
            "selected_model": self.selected_model,
            "decision": self.decision,
            "endpoint": self.receipt.get("picked"),
            "seconds": round(self.seconds, 4),
        }


SHORT = {
    "queue-scorer": "queue",
    "kv-cache-utilization-scorer": "KV cache",
    "prefix-cache-scorer": "prefix",
    "active-request-scorer": "in flight",
    "token-load-scorer": "tokens",
}
EQUAL = "  equal: drawn by lot"

SCENES = (
    Ask("explicit", "llama3-8b", "Summarise what a Kubernetes Gateway is.", expect="llama3-8b"),
    Ask("auto-math", "auto", "What is 2+2 * (5-1)?", expect="phi4-mini"),
    Ask("auto-stream", "auto", "Who painted the ceiling of the Sistine Chapel, and why?", stream=True),
)


UNDER_LOAD = Ask("under-load", "llama3-8b", "And now, with the others busy: which of you is free?", expect="llama3-8b")
HEAD_START_S = 0.1


def burst() -> list[Ask]:
    """A short burst of `auto` requests on several subjects."""
    return [Ask(f"burst-{n:02d}", "auto", BURST[n % len(BURST)], max_tokens=32) for n in range(BURST_REQUESTS)]


async def tell(http: aiohttp.ClientSession, url: str, admin_url: str, ask: Ask) -> Told:
    """Send one request and fetch its receipt. Raises aiohttp.ClientError when nobody answers."""
    body = {
        "model": ask.model,
        "messages": [{"role": "user", "content": ask.prompt}],
        "max_tokens": ask.max_tokens,
        "stream": ask.stream,
    }
    begun = time.monotonic()
    async with http.post(f"{url}/v1/chat/completions", json=body) as answer:
        text = (await answer.read()).decode("utf-8", "replace")
        told = Told(
            ask=ask,
            status=answer.status,
            seconds=time.monotonic() - begun,
            selected_model=answer.headers.get(VSR_MODEL),
            decision=answer.headers.get(VSR_DECISION),
            answer=_streamed(text) if ask.stream else _plain(text),
            events=text.count("data: ") if ask.stream else 0,
        )
        receipt_id = answer.headers.get(RECEIPT)
    if receipt_id:
        async with http.get(f"{admin_url}/debug/decisions/{receipt_id}") as found:
            if found.status == 200:
                told.receipt = await found.json()
    return told


async def tell_burst(http: aiohttp.ClientSession, url: str, admin_url: str, asks: Sequence[Ask]) -> list[Told]:
    """All at once, and one more while they are answered."""
    crowd = [asyncio.ensure_future(tell(http, url, admin_url, ask)) for ask in asks]
    try:
        await asyncio.sleep(HEAD_START_S)
        last = await tell(http, url, admin_url, UNDER_LOAD)
        return [*await asyncio.gather(*crowd), last]
    finally:
        for task in crowd:
            task.cancel()


def scene(told: Told) -> str:
    """One request as a paragraph."""
    receipt = told.receipt
    lines = [f'{told.ask.name}: model "{told.ask.model}", "{told.ask.prompt}"']
    if told.status != 200:
        return "\n".join([*lines, f"  refused with {told.status}: {told.answer}"])
    domain = receipt.get("signals", {}).get("domain", {})
    if domain.get("label"):
        lines.append(
            f"  category  {domain['label']}, confidence {domain['confidence']:.2f} -> decision {told.decision}"
        )
    else:
        lines.append("  category  not asked: the model was named, so nothing is classified")
    names = [c["model"] for c in receipt.get("candidates", [])]
    lines.append(f"  model     {told.selected_model} (candidates in order: {', '.join(map(str, names))})")
    lines += _replicas(receipt)
    how = f"{told.events} events streamed" if told.ask.stream else "one JSON answer"
    lines.append(f"  answer    {told.status} in {told.seconds:.2f} s, {how}: {told.answer[:60]}")
    return "\n".join(lines)


def burst_scene(told: Sequence[Told]) -> str:
    """A burst as a table: model, replica, requests; then the request that came into the middle of it."""
    *told, last = told
    statuses = Counter(t.status for t in told)
    lines = [
        f"burst: {len(told)} auto requests at once, statuses "
        + ", ".join(f"{status} x {count}" for status, count in sorted(statuses.items()))
    ]
    spread = Counter((t.selected_model or "-", t.receipt.get("picked") or "-") for t in told)
    for (model, endpoint), count in sorted(spread.items()):
        lines.append(f"  {model:<10} {endpoint:<20} {'#' * count} {count}")
    return "\n".join([*lines, "", scene(last)])


def _replicas(receipt: dict[str, Any]) -> list[str]:
    """The pick, the winner first, with what each scorer said of each replica."""
    rows = [r for r in receipt.get("endpoints", []) if not r["excluded"]]
    rows.sort(key=lambda r: (r["address"] != receipt.get("picked"), -r["total"]))
    lines = []
    for position, row in enumerate(rows):
        scores = in_seconds(row) or ", ".join(
            f"{SHORT.get(name, name)} {value:.2f}" for name, value in row["scores"].items()
        )
        equal = position > 0 and row["total"] == rows[0]["total"]
        name = "replica" if position == 0 else "  or"
        lines.append(f"  {name:<9} {row['address']:<19} {row['total']:>6.2f} points ({scores}){EQUAL if equal else ''}")
    gone = [r for r in receipt.get("endpoints", []) if r["excluded"]]
    lines += [f"  not       {row['address']:<19} excluded by {row['reason']}" for row in gone]
    unused = receipt.get("unused_scorers", {})
    return lines + [f"  unasked   {SHORT.get(name, name)}: {why}" for name, why in unused.items()]


def _plain(text: str) -> str:
    try:
        data = json.loads(text)
    except ValueError:
        return text[:200]
    if "choices" in data:
        return str(data["choices"][0]["message"]["content"])
    return str(data.get("error", {}).get("message", text[:200]))


def _streamed(text: str) -> str:
    words = []
    for line in text.splitlines():
        if line.startswith("data: {"):
            for choice in json.loads(line[6:]).get("choices", []):
                words.append(choice.get("delta", {}).get("content") or "")
    return "".join(words)
