"""Classification: how much of prompts is read, how sure it is, how long it takes."""

from __future__ import annotations

from helm.dashboards.panels import NS, RATE, Panel, Row, counted, mean, quantiles, spread

ROWS = [
    Row(
        "Coverage",
        [
            counted(
                "How requests for an alias were classified",
                "Degraded went to the fallback, since the classifier was late or failed.",
                "onehop_classification_total",
                "classification",
            ),
            Panel(
                "Classified in full",
                "Of those that were to be; the alert begins below 90 %.",
                "percentunit",
                [(f"onehop:classified_in_full:ratio_rate5m{{{NS}}}", "{{namespace}}")],
            ),
            Panel(
                "Part of prompts that was read",
                "The mean, and what nine in ten have at least.",
                "percentunit",
                [
                    (
                        f"sum(rate(onehop_classification_coverage_ratio_sum{{{NS}}}{RATE}))"
                        f" / sum(rate(onehop_classification_coverage_ratio_count{{{NS}}}{RATE}))",
                        "mean",
                    ),
                    *quantiles("onehop_classification_coverage_ratio", parts=(0.1,)),
                ],
            ),
        ],
    ),
    Row(
        "Confidence",
        [
            Panel(
                "Confidence by category",
                "The mean of requests that were given the category.",
                "percentunit",
                [(mean("llm_classification_confidence", "category"), "{{category}}")],
            ),
            Panel(
                "Confidence, spread",
                "Of all requests that were given a category.",
                "percentunit",
                quantiles("llm_classification_confidence", parts=(0.1, 0.5, 0.9)),
            ),
            counted(
                "Requests by category",
                "A category that never comes needs no decision.",
                "llm_classification_confidence_count",
                "category",
            ),
        ],
    ),
    Row(
        "Signals",
        [
            counted(
                "Signals that held",
                "By type and name.",
                "llm_signal_match_total",
                "signal_type, signal_name",
                legend="{{signal_type}}:{{signal_name}}",
            ),
            spread(
                "Time until signals are known",
                "The 95th percentile by type; those of one model are known together.",
                "llm_signal_extraction_latency_seconds",
                "signal_type",
                parts=(0.95,),
            ),
            counted(
                "The encoder's texts",
                "Late, declined, overflowed and failed ones are missing in decisions.",
                "onehop_classifier_texts_total",
                "fate",
            ),
        ],
    ),
]
