"""What is in flight, by endpoint and tenant: the Go picker's `inflight_*`. Added up when it is scraped.

Must stay true: as many series as there are endpoints and tenants with a request in flight, and no more than `ROWS_MAX`
tenants by name.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator

from epp.domain import Receipt
from epp.scheduling.pick import Pick
from epp.scheduling.plugins.inflight_load import InflightLoadProducer
from epp.telemetry.labels import OTHER, Labels
from epp.telemetry.series import Gauge, Key, Rows

ROWS_MAX = 2000
_LABELS = ("endpoint_name", "namespace", "producer_name", "fairness_id", "priority")


class InflightFamilies:
    """`labels` are those of a request."""

    def __init__(self, labels: Callable[[Receipt], Labels]) -> None:
        self._labels = labels
        self._open: dict[str, Receipt] = {}
        text = "Requests sent and not ended, by endpoint and tenant."
        self.requests = Gauge("llm_d_epp_inflight_requests", text, _LABELS, read=lambda: self._rows(lambda r: 1))
        text = "Prompt tokens of these that were not thought to be cached there."
        self.tokens = Gauge("llm_d_epp_inflight_tokens", text, _LABELS, read=lambda: self._rows(_tokens))

    def sent(self, receipts: Iterable[Receipt]) -> None:
        """They go to endpoints."""
        self._open.update([(receipt.id, receipt) for receipt in receipts])

    def ended(self, receipts: Iterable[Receipt]) -> None:
        """They are over."""
        for receipt in receipts:
            self._open.pop(receipt.id, None)

    def families(self) -> Iterator[Gauge]:
        """Both."""
        yield from (self.requests, self.tokens)

    def _rows(self, value: Callable[[Receipt], int]) -> Rows:
        sums: Tally[Key] = Tally()
        for receipt in self._open.values():
            if not isinstance(receipt.pick, Pick):
                continue
            namespace, _, name = receipt.pick.endpoint.name.rpartition("/")
            _, _, tenant, priority = self._labels(receipt)
            key = (name, namespace, InflightLoadProducer.type, tenant, priority)
            if key not in sums and len(sums) >= ROWS_MAX:
                key = (name, namespace, InflightLoadProducer.type, OTHER, priority)
            sums[key] += value(receipt)
        return ((key, float(total)) for key, total in sums.items())


def _tokens(receipt: Receipt) -> int:
    return max(0, receipt.prompt_tokens - receipt.cached_tokens)
