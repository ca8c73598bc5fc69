"""The classification API's answers, in vSR's shapes: what the stage sees in a text, and what it would decide.

Nothing is remembered and nothing is routed. Words of a text are only in the answer to whoever sent it.
Sources: vSR's management API (`/api/v1/classify/*`, `/api/v1/eval`).
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from semantic.asked import Asked
from semantic.choice import Weighed
from semantic.config_names import KINDS
from semantic.judges.heads import ATTACKS, Guard
from semantic.router import SemanticRouter
from semantic.rules import Decision, Facts, Truth, leaves
from semantic.signals.api import BENIGN, DOMAIN, NOTHING, PII, SAFETY, Coverage, Seen, Span
from semantic.signals.api import Answer as SeenAnswer
from semantic.watch import settle

TEXTS_MAX = 100
DEADLINE_S = 5.0
"""For one call, or one text of a batch: nobody waits for these answers but the one who asks. What could not be read by
then is left out, and `coverage` says how much was."""
LOW_CONFIDENCE = 0.7
STAND_INS: Mapping[str, str] = {DOMAIN: "domain", SAFETY: "prompt_guard", PII: "pii"}
"""The modules of the configuration whose folder takes a shipped head's place."""
_TOKEN_BYTES = 4
Answer = dict[str, Any]


class BadInput(Exception):
    """What was asked makes no sense; the message is for the client and holds none of its text."""


class NotAvailable(Exception):
    """Nothing here can tell, or could not in time."""


class ClassificationService:
    """Answers by the router in use at the moment."""

    def __init__(self, router: Callable[[], SemanticRouter], deadline_s: float = DEADLINE_S) -> None:
        self._router = router
        self._deadline_s = deadline_s

    @property
    def calls(self) -> Mapping[str, Callable[[Mapping[str, Any]], Awaitable[Answer]]]:
        """The paths below `/api/v1/`, and who answers."""
        return {
            "classify/intent": self.intent,
            "classify/pii": self.pii,
            "classify/security": self.security,
            "classify/combined": self.combined,
            "classify/batch": self.batch,
            "eval": self.evaluate,
        }

    async def intent(self, given: Mapping[str, Any]) -> Answer:
        """The category, and where it would lead."""
        return await self._intent(given, self._deadline())

    async def _intent(self, given: Mapping[str, Any], deadline: float) -> Answer:
        text, began = _text(given), time.perf_counter()
        router = self._router()
        answer, coverage = await self._answer(text, DOMAIN, deadline)
        weighed = await router.weigh(Asked(turns=[("user", text)]), max(0.0, deadline - _now()))
        category = settle(answer, router.config.threshold, router.config.fallback_category)
        said: Answer = {
            "classification": {
                "category": category.name,
                "confidence": round(answer.confidence, 4),
                "processing_time_ms": _ms(began),
            },
            "recommended_model": next(iter(weighed.choice.models), ""),
            "routing_decision": weighed.choice.decision or "",
            "matched_signals": _grouped(weighed.facts, Truth.YES),
            "coverage": coverage,
        }
        if _options(given).get("return_probabilities"):
            said["probabilities"] = {label: round(value, 4) for label, value in answer.probabilities.items()}
        return said

    async def pii(self, given: Mapping[str, Any]) -> Answer:
        """What is personal in the text, and the text without it."""
        return await self._pii(given, self._deadline())

    async def _pii(self, given: Mapping[str, Any], deadline: float) -> Answer:
        text, began = _text(given), time.perf_counter()
        options = _options(given)
        _, seen = await self._see(text, PII, deadline)
        spans = seen.spans
        if spans is None:
            raise NotAvailable("the text could not be looked through in time")
        # Tens of thousands of them take a while; a thread lets requests have their turns meanwhile.
        found = await asyncio.to_thread(_personal, text, spans, options)
        return {**found, "coverage": _coverage(seen.coverage), "processing_time_ms": _ms(began)}

    async def security(self, given: Mapping[str, Any]) -> Answer:
        """Whether the text attacks the model."""
        return await self._security(given, self._deadline())

    async def _security(self, given: Mapping[str, Any], deadline: float) -> Answer:
        text, began = _text(given), time.perf_counter()
        answer, coverage = await self._answer(text, SAFETY, deadline)
        guards = [judge for judge in self._router().config.plan.judges if isinstance(judge, Guard) and judge.model]
        attacks = guards[0].labels if guards else ATTACKS
        harmful = attacks if guards else tuple(label for label in answer.probabilities if label != BENIGN)
        risk = sum(answer.probabilities.get(label, 0.0) for label in harmful)
        attack = answer.label in attacks and not answer.abstained
        types = [answer.label] if answer.label in harmful and not answer.abstained else []
        return {
            "is_jailbreak": attack,
            "risk_score": round(risk, 4),
            "detection_types": types,
            "confidence": round(answer.confidence, 4),
            "recommendation": "block" if attack else "allow",
            "reasoning": f"the safety head says {answer.label}" + (", and is not sure" if answer.abstained else ""),
            "patterns_detected": types,
            "coverage": coverage,
            "processing_time_ms": _ms(began),
        }

    async def combined(self, given: Mapping[str, Any]) -> Answer:
        """All three in the time of one; null for what nothing here can tell."""
        began, deadline = time.perf_counter(), self._deadline()
        # One pass of the encoder answers all heads, and the three find its answers kept.
        parts = {
            "intent": await _or_none(self._intent(given, deadline)),
            "pii": await _or_none(self._pii(given, deadline)),
            "security": await _or_none(self._security(given, deadline)),
        }
        return {**parts, "processing_time_ms": _ms(began)}

    async def batch(self, given: Mapping[str, Any]) -> Answer:
        """One task over several texts, one after another, so that requests on the data path find room between them."""
        began = time.perf_counter()
        texts = given.get("texts")
        if not isinstance(texts, list) or not texts:
            raise BadInput("texts must be a list of texts")
        if len(texts) > TEXTS_MAX:
            raise BadInput(f"texts must be at most {TEXTS_MAX}")
        task = given.get("task_type", "intent")
        call = self.combined if task in ("all", "combined") else self._tasks.get(str(task))
        if call is None:
            raise BadInput(f"task_type must be one of {', '.join(self._tasks)}, all")
        options = _options(given)
        results = []
        for text in texts:
            results.append(await call({"text": text, "options": options}))
            await asyncio.sleep(0)
        return {
            "results": results,
            "total_count": len(results),
            "processing_time_ms": _ms(began),
            "statistics": _statistics([r["classification"] for r in results if "classification" in r]),
        }

    async def evaluate(self, given: Mapping[str, Any]) -> Answer:
        """A dry run of a whole decision: signals, rules, candidates. With `trace` also every decision's verdict."""
        began = time.perf_counter()
        asked = _asked(given)
        router = self._router()
        weighed = await router.weigh(asked, self._deadline_s)
        choice = weighed.choice
        plan = router.config.plans.get(asked.model or "", router.config.plan)
        said: Answer = {
            "decision_result": {
                "decision_name": choice.decision or "",
                "confidence": 0.0 if weighed.match is None else round(weighed.match.confidence, 4),
                "used_signals": _used(weighed),
                "matched_signals": _grouped(weighed.facts, Truth.YES),
                "unmatched_signals": _grouped(weighed.facts, Truth.NO),
                "unknown_signals": _grouped(weighed.facts, Truth.UNKNOWN),
            },
            "recommended_models": list(choice.models),
            "routing_decision": choice.decision or "",
            "fast_response": choice.answer is not None,
            "refusal": choice.refusal,
            "classification": choice.classification,
            "category": choice.category,
            "probabilities": {label: round(value, 4) for label, value in choice.probabilities},
            "signal_confidences": dict(choice.matched),
            "reason": choice.reason,
            "coverage": _coverage(choice.coverage),
            "processing_time_ms": _ms(began),
        }
        if given.get("trace"):
            said["trace"] = [_traced(decision, weighed.facts) for decision in plan.decisions]
        return said

    @property
    def _tasks(self) -> Mapping[str, Callable[[Mapping[str, Any]], Awaitable[Answer]]]:
        return {"intent": self.intent, "pii": self.pii, "security": self.security}

    def _deadline(self) -> float:
        return _now() + self._deadline_s

    async def _answer(self, text: str, head: str, deadline: float) -> tuple[SeenAnswer, Answer]:
        name, seen = await self._see(text, head, deadline)
        answer = seen.answers.get(name)
        if answer is None:
            raise NotAvailable("the text could not be judged in time")
        return answer, _coverage(seen.coverage)

    async def _see(self, text: str, head: str, deadline: float) -> tuple[str, Seen]:
        """By the user's model that stands in for the head, or the shipped one; and the name it answers under."""
        router = self._router()
        own = STAND_INS[head]
        if own in router.config.own:
            return own, (await router.own.see([own], text, deadline)).get(own, NOTHING)
        if head not in router.signals.provides:
            raise NotAvailable(f"nothing here computes {head}")
        return head, await router.signals.see(text, frozenset({head}), deadline)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _coverage(coverage: Coverage) -> Answer:
    """How much was read, in bytes of UTF-8; nothing of nothing where a model of the user's own answered."""
    return {"scanned_bytes": coverage.scanned_bytes, "total_bytes": coverage.total_bytes}


def _text(given: Mapping[str, Any]) -> str:
    text = given.get("text")
    if not isinstance(text, str) or not text.strip():
        raise BadInput("text must be a text, and not be empty")
    return text


def _options(given: Mapping[str, Any]) -> Mapping[str, Any]:
    options = given.get("options")
    return options if isinstance(options, dict) else {}


def _asked(given: Mapping[str, Any]) -> Asked:
    """A bare text, or a whole request body under `request` or at the top."""
    body = given.get("request") if isinstance(given.get("request"), dict) else given
    assert isinstance(body, Mapping)
    model = body.get("model") if isinstance(body.get("model"), str) else None
    listed = body.get("messages")
    if isinstance(listed, list):
        turns = [(str(m.get("role", "user")), _words(m.get("content"))) for m in listed if isinstance(m, dict)]
    else:
        turns = [("user", _text(given))]
    tokens = sum(len(text.encode(errors="replace")) for _, text in turns) // _TOKEN_BYTES
    return Asked(turns=turns, model=model, body=body, prompt_tokens=tokens)


def _words(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(p["text"] for p in parts if isinstance(p, dict) and isinstance(p.get("text"), str))


async def _or_none(answer: Awaitable[Answer]) -> Answer | None:
    try:
        return await answer
    except NotAvailable:
        return None


def _personal(text: str, spans: Sequence[Span], options: Mapping[str, Any]) -> Answer:
    """What the options ask for of the spans, and the text without it."""
    wanted = options.get("entity_types")
    least = options.get("confidence_threshold", 0.0)
    kept = [
        span
        for span in spans
        if (not isinstance(wanted, list) or not wanted or span.type in wanted)
        and span.score >= (least if isinstance(least, int | float) else 0.0)
    ]
    return {
        "has_pii": bool(kept),
        "entities": [_entity(text, span) for span in kept],
        "masked_text": _masked(text, kept),
        "security_recommendation": "block" if kept else "allow",
    }


def _entity(text: str, span: Span) -> Answer:
    return {
        "type": span.type,
        "value": text[span.start : span.end],
        "confidence": round(span.score, 4),
        "start_position": span.start,
        "end_position": span.end,
    }


def _masked(text: str, spans: list[Span]) -> str:
    parts: list[str] = []
    at = 0
    for span in sorted(spans, key=lambda s: s.start):
        parts += [text[at : span.start], f"[{span.type}]"]
        at = span.end
    return "".join([*parts, text[at:]])


def _grouped(facts: Facts, truth: Truth) -> dict[str, list[str]]:
    """Names of signals by vSR's key for their kind."""
    out: dict[str, list[str]] = {}
    for (kind, name), verdict in facts.items():
        if verdict.truth is truth:
            out.setdefault(KINDS.get(kind, kind), []).append(name)
    return out


def _used(weighed: Weighed) -> dict[str, list[str]]:
    """The signals that the winning decision's rule asks for."""
    out: dict[str, list[str]] = {}
    for kind, name in dict.fromkeys(leaves(weighed.match.decision.rule) if weighed.match else ()):
        out.setdefault(KINDS.get(kind, kind), []).append(name)
    return out


def _traced(decision: Decision, facts: Facts) -> Answer:
    verdict = decision.rule.judge(facts)
    return {
        "decision": decision.name,
        "priority": decision.priority,
        "tier": decision.tier,
        "verdict": verdict.truth.value,
        "confidence": round(verdict.confidence, 4),
        "models": list(decision.models),
        "conditions": [
            {
                "type": kind,
                "name": name,
                "verdict": facts[kind, name].truth.value if (kind, name) in facts else "unknown",
            }
            for kind, name in dict.fromkeys(leaves(decision.rule))
        ],
    }


def _statistics(found: list[Mapping[str, Any]]) -> Answer:
    confidences = [float(one["confidence"]) for one in found]
    return {
        "category_distribution": dict(Counter(str(one["category"]) for one in found)),
        "avg_confidence": round(sum(confidences) / len(confidences), 4) if confidences else 0.0,
        "low_confidence_count": sum(confidence < LOW_CONFIDENCE for confidence in confidences),
    }


def _ms(began: float) -> int:
    return round((time.perf_counter() - began) * 1000)
