"""Counts requests by their receipts: what they were when they were decided, and when they were over.

Must stay true: a receipt that is written down does not change any more in what is read of it here; and of one request,
the decision is counted before the end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter as Tally
from collections.abc import Iterator, Sequence

from epp.datastore.fleet import Fleet
from epp.domain import Reason, Receipt, Usage
from epp.scheduling.pick import Pick
from epp.scheduling.plugins.approx_prefix_cache import ApproxPrefixCacheProducer
from epp.scheduling.prefix import BYTES_PER_TOKEN
from epp.telemetry.demand import Demand
from epp.telemetry.families import AnswerFamilies, PickFamilies, ProcessFamilies, RequestFamilies
from epp.telemetry.flow import FlowFamilies
from epp.telemetry.inflight import InflightFamilies
from epp.telemetry.labels import Labelling, Labels
from epp.telemetry.late import Late
from epp.telemetry.vsr import SemanticFamilies

ERROR_CODES = {  # HTTP status of a refusal -> the Go picker's code for it
    400: "BadRequest",
    404: "NotFound",
    408: "BadRequest",
    412: "PreconditionFailed",
    413: "BadRequest",
    415: "BadRequest",
    429: "ResourceExhausted",
    500: "Internal",
    503: "ServiceUnavailable",
}
MODEL_SERVER_ERROR = "ModelServerError"
UNPLACED = frozenset(
    {Reason.NO_ENDPOINTS.code, Reason.SATURATED.code}
)  # there was a choice to make, and nobody to take
PREFIX = (ApproxPrefixCacheProducer.type, ApproxPrefixCacheProducer.type)  # name and type


class _Counted(ABC):
    """Counts receipts together, with their labels."""

    def __init__(self, labelling: Labelling) -> None:
        self._labelling = labelling
        self._late = Late(self._count)
        self.settle = self._late.settle

    def add(self, receipt: Receipt) -> None:
        """One more. Its labels are made out at once: who comes first has a name of its own."""
        self._late.add((self._labelling.of(receipt), receipt))

    @abstractmethod
    def _count(self, met: list[tuple[Labels, Receipt]]) -> None:
        """These, in the order in which they came."""


class Decisions(_Counted):
    """Counts requests that got their model and endpoint, or their refusal."""

    def __init__(
        self,
        fleet: Fleet,
        labelling: Labelling,
        *,
        request: RequestFamilies,
        pick: PickFamilies,
        process: ProcessFamilies,
        semantic: SemanticFamilies,
        demand: Demand,
        inflight: InflightFamilies,
    ) -> None:
        super().__init__(labelling)
        self._fleet = fleet
        self._request, self._pick, self._process = request, pick, process
        self._semantic, self._demand, self._inflight = semantic, demand, inflight

    def _count(self, met: list[tuple[Labels, Receipt]]) -> None:
        receipts = [receipt for _, receipt in met]
        self._times(receipts)
        for labels, alike in _by_labels(met):
            placed = [r for r in alike if r.picked is not None]
            if placed:
                self._placed(labels, placed)
            unplaced = sum(r.picked is None and r.outcome in UNPLACED for r in alike)
            if unplaced:
                self._pick.attempts.child("failure", labels[1], "", "", "").inc(unplaced)
        for receipt in receipts:
            if receipt.choice is not None and (receipt.choice.reason or receipt.choice.signals):
                self._chosen(receipt)

    def _times(self, receipts: Sequence[Receipt]) -> None:
        phases = self._process.phases
        self._request.processing.child().observe_all([r.decided_s for r in receipts if r.decided_s is not None])
        chosen = [(r.chosen_s, r.waited_s or 0.0, r.decided_s) for r in receipts if r.chosen_s is not None]
        picked = [decided_s - chosen_s - waited_s for chosen_s, waited_s, decided_s in chosen if decided_s is not None]
        self._pick.seconds.child().observe_all(picked)
        phases.child("pick").observe_all(picked)
        phases.child("choose").observe_all([chosen_s for chosen_s, _, decided_s in chosen if decided_s is not None])
        phases.child("wait").observe_all([waited_s for _, waited_s, decided_s in chosen if decided_s is not None])

    def _placed(self, labels: Labels, receipts: Sequence[Receipt]) -> None:
        """Requests that go to an endpoint."""
        request, pick, target = self._request, self._pick, labels[1]
        request.routed.at(labels).inc(len(receipts))
        request.running.at(labels).inc(len(receipts))
        request.bytes.at(labels).observe_all([r.body_bytes for r in receipts])
        self._inflight.sent(receipts)
        self._demand.sent(target, receipts)
        for (full_name, address), count in Tally(map(self._where, receipts)).items():
            namespace, _, name = full_name.rpartition("/")
            port = address.rpartition(":")[2]
            pick.attempts.child("success", target, name, namespace, port).inc(count)
        hashed = [(r.cached_tokens, r.hashed_tokens) for r in receipts if r.hashed_tokens]
        pick.hit_ratio.at(PREFIX).observe_all([cached / tokens for cached, tokens in hashed])
        pick.hit_bytes.at(PREFIX).observe_all([cached * BYTES_PER_TOKEN for cached, _ in hashed])

    def _where(self, receipt: Receipt) -> tuple[str, str]:
        """The endpoint's name, and its address."""
        address = receipt.picked or ""
        endpoint = receipt.pick.endpoint if type(receipt.pick) is Pick else self._fleet.all.at(address)
        return endpoint.name if endpoint else "", address

    def _chosen(self, receipt: Receipt) -> None:
        """What a prompt was found to be about, and what followed."""
        choice, process = receipt.choice, self._process
        assert choice is not None
        if choice.reason and receipt.first is None:
            process.classified.child(choice.classification, choice.decision or "").inc()
            self._semantic.classified(choice)
            if choice.decision is not None:
                process.decisions.child(choice.decision).inc()
        for signal in choice.signals.get("matched", ()):
            process.signals.child(*signal.split(":", 1)).inc()


class Ends(_Counted):
    """Counts requests that are over."""

    def __init__(
        self,
        labelling: Labelling,
        decisions: Decisions,
        *,
        request: RequestFamilies,
        answer: AnswerFamilies,
        process: ProcessFamilies,
        semantic: SemanticFamilies,
        inflight: InflightFamilies,
        flow: FlowFamilies,
    ) -> None:
        super().__init__(labelling)
        self._decisions = decisions
        self._request, self._answer, self._process = request, answer, process
        self._semantic, self._inflight, self._flow = semantic, inflight, flow

    def _count(self, met: list[tuple[Labels, Receipt]]) -> None:
        self._decisions.settle()
        for outcome, count in Tally([receipt.outcome for _, receipt in met]).items():
            self._process.outcomes.child(outcome).inc(count)
        for labels, alike in _by_labels(met):
            for receipt in alike:
                if (receipt.status or 0) >= 400 or receipt.outcome == Reason.EVICTED.code:
                    self._failed(labels, receipt)
            placed = [r for r in alike if r.picked is not None]
            if placed:
                self._request.running.at(labels).dec(len(placed))
                self._inflight.ended(placed)
                self._answered(labels, placed)

    def _failed(self, labels: Labels, receipt: Receipt) -> None:
        status, evicted = receipt.status or 0, receipt.outcome == Reason.EVICTED.code
        if status >= 400:
            ours = not receipt.picked or evicted
            code = ERROR_CODES.get(status, "Unknown") if ours else MODEL_SERVER_ERROR
            self._request.errors.child(*labels, code).inc()
        if evicted:
            self._flow.sheds.child(receipt.outcome, *labels[2:]).inc()

    def _answered(self, labels: Labels, receipts: Sequence[Receipt]) -> None:
        answer, phases = self._answer, self._process.phases
        shown = [r.answer_bytes for r in receipts if r.answer_bytes is not None]
        if shown:
            answer.bytes.at(labels).observe_all(shown)
        for stream in (False, True):
            firsts = [r.first_answer_s for r in receipts if r.stream is stream and r.first_answer_s is not None]
            if firsts:
                answer.ttft.child(*labels, str(stream).lower()).observe_all(firsts)
        ends = [r.ended_s for r in receipts if r.ended_s is not None]
        if ends:
            answer.seconds.at(labels).observe_all(ends)
        told = [(r.decided_s, r.first_answer_s, r.ended_s) for r in receipts if r.first_answer_s is not None]
        whole = [(d, f, e) for d, f, e in told if d is not None and e is not None]
        phases.child("first_answer").observe_all([first - decided for decided, first, _ in whole])
        phases.child("answer").observe_all([ended - first for _, first, ended in whole])
        counted = [(r, r.usage) for r in receipts if r.usage is not None]
        if counted:
            self._tokens(labels, counted)

    def _tokens(self, labels: Labels, counted: Sequence[tuple[Receipt, Usage]]) -> None:
        """Answers whose tokens the server has counted; seconds a token are as the client had to wait for them."""
        answer = self._answer
        answer.input.at(labels).observe_all([usage.prompt for _, usage in counted])
        answer.output.at(labels).observe_all([usage.completion for _, usage in counted])
        answer.cached.at(labels).observe_all([usage.cached for _, usage in counted])
        some = [(r.ended_s, r.first_answer_s if r.stream else None, u.completion) for r, u in counted if u.completion]
        each = [ended / tokens for ended, _, tokens in some if ended is not None]
        if each:
            answer.ntpot.at(labels).observe_all(each)
        paced = [(e - f) / (tokens - 1) for e, f, tokens in some if e is not None and f is not None and tokens > 1]
        if paced:
            answer.tpot.at(labels).observe_all(paced)
        for receipt, usage in counted:
            if receipt.choice is not None and receipt.choice.category is not None:
                self._semantic.turn(labels[1], receipt.choice.category, usage)


def _by_labels(met: Sequence[tuple[Labels, Receipt]]) -> Iterator[tuple[Labels, list[Receipt]]]:
    """Those of the same labels together, each in its order."""
    found: dict[Labels, list[Receipt]] = {}
    for labels, receipt in met:
        alike = found.get(labels)
        if alike is None:
            found[labels] = [receipt]
        else:
            alike.append(receipt)
    yield from found.items()
