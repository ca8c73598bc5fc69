"""The same requests in virtual time: policies of `bench sim`, the port of SGLang's among them, beside the original."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.rivals.parts import Routing
from benchmarks.sim import policies
from benchmarks.sim.fleet import FleetSpec, Isolated
from benchmarks.sim.runs import Job, fly
from benchmarks.sim.summary import Slo, summarize
from benchmarks.workloads.catalogue import find

BESIDE = {
    "none": "p2c",
    "native": "default",
    "sglang-router:cache_aware": "sglang-cache-aware",
    "vllm-router:cache_aware": "sglang-cache-aware",
    "sglang-router:round_robin": "round-robin",
    "vllm-router:round_robin": "round-robin",
    "sglang-router:power_of_two": "p2c",
    "vllm-router:power_of_two": "p2c",
}
"""Target of `bench live` -> the policy of `bench sim` that stands for it; Envoy alone takes the better of two."""
SCRAPE_S = 0.5  # as `onehop serve` has it; `bench sim` reads ten times as often unless told


def virtual(case: Routing, data: Path | None, requests: int) -> dict[str, dict[str, Any]]:
    """Policy -> the summary of its requests, the first tenth included, as the live run counts that, too.

    The gateway shows no answers, as in W1.
    """
    named = os.environ.get("ONEHOP_TRACES")
    workload = find(case.workload, data or (Path(named) if named else None))
    fleet = FleetSpec.parse(case.model, case.gpu, case.replicas)
    slo, isolated = Slo(), Isolated(fleet).seconds
    found = {}
    for policy in dict.fromkeys(BESIDE.values()):
        admission = policies.own_admission(policy)
        job = Job(
            workload, fleet, policy, admission, case.rate, 0, (0.0, 1.0, 0.0), SCRAPE_S, slo, requests, shown=False
        )
        found[policy] = summarize(fly(job)[1], slo, isolated)
    return found
