"""The semantic configuration of a fleet: one decision a category, its models in the order of their worth there.

A document in vSR's v0.3 format, read by the code that serves. A model's weight is its utility (`Briefing.utility`),
which orders the decision's models; its card's `quality_score` is its accuracy over all categories, by which the margin
of a model that stands in for another is measured.
"""

from __future__ import annotations

import json
from typing import Any

from benchmarks.choices.briefing import Briefing

LEAST_WEIGHT = 0.001  # of a model that is worth nothing in a category: behind all others, and still there
PRICES = {"prompt_per_1m": 1.0, "completion_per_1m": 1.0}


def document(briefing: Briefing, algorithm: str = "static") -> str:
    """JSON, which is YAML as well; `algorithm` is `static` or `multi_factor`."""
    default = max(briefing.models, key=lambda model: briefing.overall[model])
    content = {
        "version": "v0.3",
        "providers": {
            "defaults": {"default_model": default},
            "models": [{"name": m, "pricing": _prices(briefing.gpu_s[m])} for m in briefing.models],
        },
        "routing": {
            "modelCards": [{"name": m, "quality_score": round(briefing.overall[m], 4)} for m in briefing.models],
            "signals": {"domains": [{"name": c, "mmlu_categories": [c]} for c in briefing.accuracy]},
            "decisions": [_decision(briefing, category, algorithm) for category in briefing.accuracy],
        },
    }
    return json.dumps(content, indent=1)


def _decision(briefing: Briefing, category: str, algorithm: str) -> dict[str, Any]:
    weights = {m: max(LEAST_WEIGHT, round(briefing.utility(category, m), 4)) for m in briefing.models}
    return {
        "name": category.replace(" ", "_"),
        "priority": 10,
        "rules": {"operator": "OR", "conditions": [{"type": "domain", "name": category}]},
        "modelRefs": [{"model": m, "weight": w} for m, w in sorted(weights.items(), key=lambda item: -item[1])],
        "algorithm": {"type": algorithm},
    }


def _prices(gpu_s: float) -> dict[str, float]:
    """Only their order counts."""
    return {key: round(share * gpu_s, 6) for key, share in PRICES.items()}
