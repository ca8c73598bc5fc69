"""Where a prompt would go: the decision of `onehop serve`, made here, with nothing sent and nothing counted.

The same code decides: reading, semantic stage, candidates, picking. What a dry run cannot know is what only the
serving process knows: prefixes sent before, work that is predicted, the spill of the moment, and a profile of its own.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from random import Random
from typing import Any

from epp import candidates, outcome
from epp.chooser import DefaultModelChooser, SemanticChooser
from epp.datastore.membership import Naming
from epp.datastore.pool import Listed, Pool
from epp.datastore.receipts import Receipts
from epp.domain import Choice, Chooser, ConfigError, Load, Receipt, Refused, Request
from epp.edge.discovery_file import DiscoveryFile
from epp.edge.scrape import Scraper
from epp.picking import Picking
from epp.protocol import openai
from epp.scheduling.default import default_profile
from semantic.config import ConfigError as SemanticConfigError
from semantic.router import SemanticRouter
from semantic.signals.engine import Engine
from semantic.text import to_classify

PATIENCE_S = 10.0  # with the semantic stage: nobody else waits for it here
LOOK_S = 3.0  # at the endpoints of a file
OFF = "semantic routing is off without --semantic-config-file, so `auto` is the default model or the only one there is"
LOAD_NUMBERS = frozenset(f.name for f in fields(Load)) - {"at", "lora"}


@dataclass(frozen=True, slots=True)
class Question:
    """A request as it would come in, and what it would meet. `pool` None: the endpoints are not known."""

    body: bytes
    path: str
    headers: dict[str, str]
    semantic_config: Path | None = None
    default_model: str | None = None
    lenient: bool = False
    pool: Pool | None = None


async def decide(question: Question) -> dict[str, Any]:
    """The rendered receipt of the decision. Raises ConfigError for a bad file."""
    path = question.semantic_config
    router = None if path is None else await asyncio.to_thread(_router, path, question.lenient)
    now = time.monotonic()
    receipt = Receipt("dry-run", "dry-run", now, question.path, None, pool=question.pool.name if question.pool else "")
    try:
        await _decide(question, router, receipt, now)
    except Refused as refused:
        outcome.refuse(refused, receipt)
    finally:
        if router is not None:
            router.close()
            router.signals.close()
    return Receipts(time.time() - now).render(receipt)


async def _decide(question: Question, router: SemanticRouter | None, receipt: Receipt, now: float) -> None:
    request = openai.read("dry-run", {":method": "POST", ":path": question.path, **question.headers}, question.body)
    receipt.asked_model, receipt.prompt_tokens, receipt.outcome = request.model, request.prompt_tokens, "dry run"
    chooser: Chooser = DefaultModelChooser(question.pool or Pool(), question.default_model)
    if router is not None:
        chooser = SemanticChooser(lambda: router, PATIENCE_S)
    named = request.model not in chooser.aliases
    if router is None and not named:
        receipt.choice = await asyncio.to_thread(_looks_like, request)
        if question.pool is None and question.default_model is None:
            return  # what `auto` means depends on which models there are
        receipt.choice = replace(receipt.choice, candidates=(await chooser.choose(request)).candidates)
    else:
        look = chooser.check(request, request.model) if named else chooser.choose(request)
        receipt.choice = await look
    if receipt.choice.refusal is not None:
        raise receipt.choice.refusal
    if receipt.choice.answer is not None:
        outcome.answered(receipt.choice.answer, request, receipt, int(time.time()))
        return
    choice = candidates.fitting(receipt.choice, request, receipt)
    receipt.model = choice.candidates[0].model
    if question.pool is None:
        return
    picking = Picking(question.pool, default_profile(), Random())
    chosen = picking.choose(request, choice, receipt, now, prefer=None, tried=set(), aliases=chooser.aliases)
    receipt.pick, receipt.model, receipt.picked = chosen.pick, chosen.candidate.model, chosen.pick.endpoint.address


async def from_file(path: Path, naming: Naming) -> Pool:
    """The endpoints of a discovery file, each asked once what it serves and how busy it is. Raises ConfigError."""
    made = Pool(path.name)
    DiscoveryFile(path, made, naming=naming).load()
    scraper = Scraper(made, now=time.monotonic)
    look = asyncio.ensure_future(scraper.run())
    ends = time.monotonic() + LOOK_S
    while not scraper.settled and time.monotonic() < ends:
        await asyncio.sleep(0.05)
    look.cancel()
    with suppress(asyncio.CancelledError):
        await look
    return made


def from_admin(pools: list[dict[str, Any]]) -> Pool:
    """The endpoints of a running OneHop as `/debug/pools` shows them, with what it has in flight and their loads."""
    made = Pool(", ".join(str(pool.get("key") or pool.get("name")) for pool in pools))
    told = {(str(e["name"]), str(e["address"])): e for pool in pools for e in pool.get("endpoints") or []}
    made.relist(Listed(name, address) for name, address in told)
    now = time.monotonic()
    for endpoint in made.endpoints:
        shown = told[endpoint.name, endpoint.address]
        adapters = shown.get("adapters") or {}
        models = shown.get("models")
        endpoint.models = None if models is None else {name: adapters.get(name, name) for name in models}
        endpoint.reachable = bool(shown.get("reachable", True))
        endpoint.inflight_requests = int(shown.get("inflight_requests") or 0)
        endpoint.inflight_tokens = int(shown.get("inflight_tokens") or 0)
        if isinstance(shown.get("load"), dict):
            numbers = {name: value for name, value in shown["load"].items() if name in LOAD_NUMBERS}
            endpoint.load = Load(at=now - float(shown.get("age_s") or 0.0), **numbers)
    return made


def _looks_like(request: Request) -> Choice:
    """What the shipped classifier sees in a prompt, where nothing is decided by it."""
    text = to_classify(openai.conversation(request))
    if text is None:
        return Choice((), reason=f"the request has no text of a user; {OFF}")
    found = Engine().read([text])[0].heads["domain"]
    return Choice((), category=found.label, confidence=found.confidence, reason=OFF)


def _router(path: Path, lenient: bool) -> SemanticRouter:
    try:
        router = SemanticRouter.load(path, lenient=lenient)
        router.prepare()
        return router
    except SemanticConfigError as mistake:
        raise ConfigError(f"{path}: {mistake.path}", mistake.message) from mistake
    except OSError as unreadable:
        raise ConfigError(str(path), unreadable.strerror or "cannot be read") from unreadable
