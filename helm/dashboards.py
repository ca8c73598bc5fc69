"""Grafana's dashboards, written down shortly: a panel is a title, what to see in it, a unit, and queries with legends.

    python helm/dashboards.py        writes helm/onehop/dashboards/ anew

Must stay true: every panel shows something while requests come (tests/observability runs all of them against a real
Prometheus); a panel whose series appear only with trouble has a `quiet` query that is 0 until then.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "onehop" / "dashboards"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT = 8, 8
NS = 'namespace=~"$namespace"'
ENDPOINT = f'{NS}, name=~"$pool"'
RATE = "[$__rate_interval]"
SHED = "saturated|shed|wait_too_long|queue_full|queue_timeout|displaced|evicted"
Query = tuple[str, str]


@dataclass(frozen=True)
class Panel:
    """Queries with their legends; `kind` is Grafana's."""

    title: str
    text: str
    unit: str
    queries: Sequence[Query]
    kind: str = "timeseries"


@dataclass(frozen=True)
class Row:
    """Panels under a heading, three abreast."""

    title: str
    panels: Sequence[Panel]


def rate(metric: str, by: str, where: str = "") -> str:
    """Of a counter, a second, by labels."""
    labels = f"{NS}, {where}" if where else NS
    return f"sum by ({by}) (rate({metric}{{{labels}}}{RATE}))"


def quiet(expression: str) -> str:
    """0 while there is no such series."""
    return f"({expression}) or vector(0)"


def quantiles(metric: str, by: str = "", where: str = "", parts: Sequence[float] = (0.5, 0.95, 0.99)) -> list[Query]:
    """Quantiles of a histogram, by a label if one is given."""
    grouped, named = (f"le, {by}", f"{{{{{by}}}}}, ") if by else ("le", "")
    return [
        (f"histogram_quantile({part}, {rate(f'{metric}_bucket', grouped, where)})", f"{named}p{part * 100:g}")
        for part in parts
    ]


def mean(metric: str, by: str) -> str:
    """The mean of what a histogram saw."""
    return f"{rate(f'{metric}_sum', by)} / {rate(f'{metric}_count', by)}"


TRAFFIC = [
    Row(
        "Requests",
        [
            Panel(
                "Requests by outcome",
                "Ended requests a second. Everything but completed, answered and superseded was refused or broke off.",
                "reqps",
                [(rate("onehop_request_outcome_total", "outcome"), "{{outcome}}")],
            ),
            Panel(
                "Error budget",
                "Requests that failed because of us, of all; the alerts burn a budget of 0.1 %.",
                "percentunit",
                [
                    (f"onehop:request_failures:ratio_rate5m{{{NS}}}", "{{namespace}}, 5 minutes"),
                    (f"onehop:request_failures:ratio_rate1h{{{NS}}}", "{{namespace}}, 1 hour"),
                    (f"onehop:request_failures:ratio_rate6h{{{NS}}}", "{{namespace}}, 6 hours"),
                ],
            ),
            Panel(
                "Errors",
                "Refusals by kind, and answers of 400 and above by model servers.",
                "reqps",
                [(quiet(rate("llm_d_epp_request_error_total", "error_code")), "{{error_code}}")],
            ),
        ],
    ),
    Row(
        "Latency",
        [
            Panel(
                "Time to first token",
                "From the whole request to the first answer byte we see.",
                "s",
                quantiles("llm_d_epp_request_ttft_seconds"),
            ),
            Panel(
                "Slow first tokens",
                "Of all, those that took longer than 2 s; the alerts burn a budget of 5 %.",
                "percentunit",
                [
                    (f"onehop:slow_first_tokens:ratio_rate5m{{{NS}}}", "{{namespace}}, 5 minutes"),
                    (f"onehop:slow_first_tokens:ratio_rate1h{{{NS}}}", "{{namespace}}, 1 hour"),
                ],
            ),
            Panel(
                "Duration",
                "From the whole request to the end of its answer.",
                "s",
                quantiles("llm_d_epp_request_duration_seconds"),
            ),
            Panel(
                "Seconds a token",
                "Of streams, between one token and the next, by model.",
                "s",
                quantiles("llm_model_tpot_seconds", "model", parts=(0.5, 0.95)),
            ),
            Panel(
                "Where the time of a request goes",
                "Our own steps: its body, the model, the wait for room, the endpoint.",
                "s",
                quantiles("onehop_phase_seconds", "phase", 'phase=~"gather|choose|wait|pick"', (0.99,)),
            ),
            Panel(
                "Tokens",
                "As the model servers count them, where answers are read.",
                "short",
                [
                    (f"sum(rate(llm_d_epp_request_input_tokens_sum{{{NS}}}{RATE}))", "prompt"),
                    (f"sum(rate(llm_d_epp_request_cached_tokens_sum{{{NS}}}{RATE}))", "prompt, from a prefix cache"),
                    (f"sum(rate(llm_d_epp_request_output_tokens_sum{{{NS}}}{RATE}))", "generated"),
                ],
            ),
        ],
    ),
    Row(
        "OneHop itself",
        [
            Panel(
                "Open ext_proc streams",
                "Of 40,000 by default.",
                "short",
                [(f"llm_d_epp_extproc_streams_inflight{{{NS}}}", "{{pod}}")],
            ),
            Panel(
                "ext_proc streams by end",
                "Canceled is a client that left, or a gateway that needs no more of us.",
                "reqps",
                [(rate("llm_d_epp_extproc_streams_total", "code"), "{{code}}")],
            ),
            Panel(
                "What an operator must know",
                "1 while a condition holds; /debug/pools has the words.",
                "short",
                [(f"max by (pod, condition) (onehop_condition{{{NS}}})", "{{pod}} {{condition}}")],
            ),
            Panel(
                "Defects survived",
                "In the time shown; please report them.",
                "short",
                [(quiet(f"sum by (type) (increase(onehop_surprise_total{{{NS}}}[$__range]))"), "{{type}}")],
                "stat",
            ),
            Panel(
                "Reloads",
                "Files read anew in the time shown; after a failure the one before stays.",
                "short",
                [(f"sum by (file, result) (increase(onehop_reload_total{{{NS}}}[$__range]))", "{{file}}, {{result}}")],
                "stat",
            ),
            Panel(
                "Receipts and spans",
                "What became of them.",
                "short",
                [
                    (rate("onehop_receipt_total", "fate"), "receipts, {{fate}}"),
                    (quiet(rate("onehop_span_total", "fate")), "spans, {{fate}}"),
                ],
            ),
        ],
    ),
]

MODELS = [
    Row(
        "Models",
        [
            Panel(
                "Requests by model",
                "By the model that was chosen.",
                "reqps",
                [(rate("llm_model_requests_total", "model"), "{{model}}")],
            ),
            Panel(
                "From one model to another",
                "What was asked for, and what answered.",
                "reqps",
                [
                    (
                        rate("llm_model_routing_modifications_total", "source_model, target_model"),
                        "{{source_model}} to {{target_model}}",
                    )
                ],
            ),
            Panel(
                "In flight by model",
                "Sent and not ended.",
                "short",
                [(f"sum by (model) (llm_model_inflight_requests{{{NS}}})", "{{model}}")],
            ),
            Panel(
                "Time to first token by model",
                "The 95th percentile.",
                "s",
                quantiles("llm_model_ttft_seconds", "model", parts=(0.95,)),
            ),
            Panel(
                "Tokens by model",
                "Prompt and generated, a second.",
                "short",
                [
                    (rate("llm_model_prompt_tokens_total", "model"), "{{model}}, prompt"),
                    (rate("llm_model_completion_tokens_total", "model"), "{{model}}, generated"),
                ],
            ),
            Panel(
                "Errors by model",
                "Refusals for want of it, and its servers' own.",
                "reqps",
                [(quiet(rate("llm_request_errors_total", "model, reason")), "{{model}}, {{reason}}")],
            ),
        ],
    ),
    Row(
        "Decisions",
        [
            Panel(
                "What auto meant",
                "Decisions that applied to requests for an alias.",
                "reqps",
                [(rate("llm_decision_match_total", "decision_name"), "{{decision_name}}")],
            ),
            Panel(
                "Time to choose a model",
                "Classification included.",
                "s",
                quantiles("llm_model_routing_latency_seconds"),
            ),
            Panel(
                "Requests that left their model",
                "Spill, by why; held back where there is no other model named.",
                "reqps",
                [(quiet(rate("onehop_spill_total", "from, to, reason")), "{{from}} to {{to}}, {{reason}}")],
            ),
            Panel(
                "Candidates left out",
                "By what they could not do.",
                "reqps",
                [(quiet(rate("onehop_candidate_excluded_total", "model, reason")), "{{model}}, {{reason}}")],
            ),
            Panel(
                "First tokens, predicted and seen",
                "Means: of the predictions, and of all first tokens.",
                "s",
                [
                    (mean("onehop_predicted_ttft_seconds", "target_model_name"), "{{target_model_name}}, predicted"),
                    (mean("llm_d_epp_request_ttft_seconds", "target_model_name"), "{{target_model_name}}, seen"),
                ],
            ),
            Panel(
                "First tokens, in parts of the prediction",
                "1 is what was predicted.",
                "short",
                quantiles("onehop_ttft_ratio", "target_model_name", parts=(0.5, 0.9)),
            ),
        ],
    ),
]

POOLS = [
    Row(
        "Pools",
        [
            Panel(
                "Reachable endpoints",
                "By each OneHop's own view.",
                "short",
                [(f"llm_d_epp_ready_endpoints{{{ENDPOINT}}}", "{{pod}} {{name}}")],
            ),
            Panel(
                "KV cache in use",
                "Mean over the endpoints, and spread.",
                "percentunit",
                [
                    (f"max by (name) (llm_d_epp_average_kv_cache_utilization{{{ENDPOINT}}})", "{{name}}"),
                    (f"max by (name) (llm_d_epp_std_dev_kv_cache_utilization{{{ENDPOINT}}})", "{{name}}, spread"),
                ],
            ),
            Panel(
                "Requests in engines",
                "Mean over the endpoints: running, and waiting.",
                "short",
                [
                    (f"max by (name) (llm_d_epp_average_running_requests{{{ENDPOINT}}})", "{{name}}, running"),
                    (f"max by (name) (llm_d_epp_average_queue_size{{{ENDPOINT}}})", "{{name}}, waiting"),
                ],
            ),
        ],
    ),
    Row(
        "Endpoints of $pool",
        [
            Panel(
                "In flight",
                "The ledgers: sent and not ended, added up over OneHops.",
                "short",
                [
                    (
                        "sum by (model_server_endpoint) (max by (pod, model_server_endpoint) "
                        f"(onehop_endpoint_inflight_requests{{{ENDPOINT}}}))",
                        "{{model_server_endpoint}}",
                    )
                ],
            ),
            Panel(
                "Prompt tokens in flight",
                "Sent and not yet answered.",
                "short",
                [
                    (
                        "sum by (model_server_endpoint) (max by (pod, model_server_endpoint) "
                        f"(onehop_endpoint_inflight_tokens{{{ENDPOINT}}}))",
                        "{{model_server_endpoint}}",
                    )
                ],
            ),
            Panel(
                "Waiting",
                "By the engines' own counts.",
                "short",
                [
                    (
                        f"max by (model_server_endpoint) (llm_d_epp_per_endpoint_queue_size{{{ENDPOINT}}})",
                        "{{model_server_endpoint}}",
                    )
                ],
            ),
            Panel(
                "Decisions by endpoint",
                "Where requests were sent.",
                "reqps",
                [
                    (
                        rate("llm_d_epp_scheduler_attempts_total", "endpoint_name, port", 'status="success"'),
                        "{{endpoint_name}}:{{port}}",
                    )
                ],
            ),
            Panel(
                "Ledger drift",
                "Our count less the engine's: about 0; negative where others send there, too.",
                "short",
                [
                    (
                        "avg by (model_server_endpoint) "
                        f"(avg_over_time(onehop_endpoint_ledger_drift_requests{{{ENDPOINT}}}[$__rate_interval]))",
                        "{{model_server_endpoint}}",
                    )
                ],
            ),
            Panel(
                "Reachable, and left out",
                "1 each; left out is an endpoint that failed its requests.",
                "short",
                [
                    (
                        f"min by (model_server_endpoint) (onehop_endpoint_reachable{{{ENDPOINT}}})",
                        "{{model_server_endpoint}}, reachable",
                    ),
                    (
                        f"max by (model_server_endpoint) (onehop_endpoint_ejected{{{ENDPOINT}}})",
                        "{{model_server_endpoint}}, left out",
                    ),
                ],
            ),
        ],
    ),
    Row(
        "Caches and reads",
        [
            Panel(
                "Prompts found in prefix caches",
                "Of the prompt tokens that engines counted.",
                "percentunit",
                [(f"onehop:prefix_hits:ratio_rate5m{{{NS}}}", "{{target_model_name}}")],
            ),
            Panel(
                "Tokens by endpoint",
                "Computed by each engine, whoever asked for them.",
                "short",
                [
                    (
                        "max by (model_server_endpoint) "
                        f"(rate(onehop_endpoint_engine_prompt_tokens{{{ENDPOINT}}}{RATE}))",
                        "{{model_server_endpoint}}, prompt",
                    ),
                    (
                        "max by (model_server_endpoint) "
                        f"(rate(onehop_endpoint_engine_generated_tokens{{{ENDPOINT}}}{RATE}))",
                        "{{model_server_endpoint}}, generated",
                    ),
                ],
            ),
            Panel(
                "Reads that failed",
                "Of endpoints' /metrics and /v1/models; which ones is in /debug/pools.",
                "ops",
                [
                    (quiet(rate("llm_d_epp_datalayer_poll_errors_total", "source_type")), "{{source_type}}, no answer"),
                    (
                        quiet(rate("llm_d_epp_datalayer_extract_errors_total", "source_type")),
                        "{{source_type}}, not understood",
                    ),
                ],
            ),
        ],
    ),
]

OVERLOAD = [
    Row(
        "How full",
        [
            Panel(
                "Saturation by model",
                "1 is full: the standard class finds no room.",
                "percentunit",
                [
                    (
                        f"max by (inference_pool, model) (onehop_model_saturation{{{NS}}})",
                        "{{inference_pool}} {{model}}",
                    )
                ],
            ),
            Panel(
                "Endpoints wanted",
                "For the SLO of the first token, beside those that are there.",
                "short",
                [
                    (
                        f"sum by (inference_pool, model) (onehop_replicas_wanted{{{NS}}})",
                        "{{inference_pool}} {{model}}",
                    ),
                    (f"max by (name) (llm_d_epp_ready_endpoints{{{NS}}})", "{{name}}, there"),
                ],
            ),
            Panel(
                "Prompt tokens that wait",
                "With us at the gate, and sent to endpoints and not yet computed.",
                "short",
                [(f"sum by (model, where) (onehop_queued_tokens{{{NS}}})", "{{model}}, {{where}}")],
            ),
        ],
    ),
    Row(
        "The gate",
        [
            Panel(
                "Requests at the gate",
                "What became of them.",
                "reqps",
                [(rate("llm_d_epp_flow_control_requests_total", "outcome"), "{{outcome}}")],
            ),
            Panel(
                "Time in the queue",
                "Of those that went on; 0 where they need not wait.",
                "s",
                quantiles("llm_d_epp_flow_control_request_queue_duration_seconds", where='outcome="Dispatched"'),
            ),
            Panel(
                "Requests that wait",
                "With us, and in engines.",
                "short",
                [(f"sum by (model, where) (onehop_queued_requests{{{NS}}})", "{{model}}, {{where}}")],
            ),
        ],
    ),
    Row(
        "Who is refused",
        [
            Panel(
                "Refused for want of room",
                "Of all requests; the alert begins at 5 %.",
                "percentunit",
                [
                    (
                        quiet(
                            f'sum(rate(onehop_request_outcome_total{{{NS}, outcome=~"{SHED}"}}{RATE})) / '
                            f"sum(rate(onehop_request_outcome_total{{{NS}}}{RATE}))"
                        ),
                        "all",
                    )
                ],
            ),
            Panel(
                "Sheds by reason", "A second.", "reqps", [(quiet(rate("onehop_shed_total", "reason")), "{{reason}}")]
            ),
            Panel(
                "Sheds by tenant",
                "The ten that are refused most.",
                "reqps",
                [(f"topk(10, {rate('onehop_shed_total', 'fairness_id, priority')})", "{{fairness_id}}, {{priority}}")],
            ),
            Panel(
                "Endpoints left out",
                "For a while, because they failed their requests.",
                "ops",
                [(quiet(rate("onehop_ejection_total", "reason")), "{{reason}}")],
            ),
            Panel(
                "Requests cut off",
                "Told to end so that others find room, and not ended yet.",
                "short",
                [
                    (
                        quiet(rate("llm_d_epp_flow_control_revocations_issued_total", "priority")),
                        "{{priority}} a second",
                    ),
                    (f"sum(llm_d_epp_flow_control_pending_reclaim{{{NS}}})", "not ended"),
                ],
            ),
            Panel(
                "Queue in use",
                "Of what may wait, by requests and by bytes.",
                "percentunit",
                [
                    (f"max(llm_d_epp_flow_control_global_capacity_utilization_requests{{{NS}}})", "requests"),
                    (f"max(llm_d_epp_flow_control_global_capacity_utilization_bytes{{{NS}}})", "bytes"),
                ],
            ),
        ],
    ),
]

CLASSIFICATION = [
    Row(
        "Coverage",
        [
            Panel(
                "How requests for an alias were classified",
                "Degraded went to the fallback, since the classifier was late or failed.",
                "reqps",
                [(rate("onehop_classification_total", "classification"), "{{classification}}")],
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
                        f"sum(rate(onehop_classification_coverage_ratio_sum{{{NS}}}{RATE})) / "
                        f"sum(rate(onehop_classification_coverage_ratio_count{{{NS}}}{RATE}))",
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
            Panel(
                "Requests by category",
                "A category that never comes needs no decision.",
                "reqps",
                [(rate("llm_classification_confidence_count", "category"), "{{category}}")],
            ),
        ],
    ),
    Row(
        "Signals",
        [
            Panel(
                "Signals that held",
                "By type and name.",
                "reqps",
                [(rate("llm_signal_match_total", "signal_type, signal_name"), "{{signal_type}}:{{signal_name}}")],
            ),
            Panel(
                "Time until signals are known",
                "The 95th percentile by type; those of one model are known together.",
                "s",
                quantiles("llm_signal_extraction_latency_seconds", "signal_type", parts=(0.95,)),
            ),
            Panel(
                "The encoder's texts",
                "Late, overflowed and failed ones are missing in decisions.",
                "reqps",
                [(rate("onehop_classifier_texts_total", "fate"), "{{fate}}")],
            ),
        ],
    ),
]

DASHBOARDS = {
    "onehop-traffic": ("OneHop: traffic and latency", TRAFFIC),
    "onehop-models": ("OneHop: models and decisions", MODELS),
    "onehop-pools": ("OneHop: pools and endpoints", POOLS),
    "onehop-overload": ("OneHop: overload", OVERLOAD),
    "onehop-classification": ("OneHop: classification", CLASSIFICATION),
}


def dashboard(uid: str, title: str, rows: Sequence[Row]) -> dict[str, Any]:
    """As Grafana imports it."""
    return {
        "title": title,
        "uid": uid,
        "tags": ["onehop", "inference"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"},
        "annotations": {"list": []},
        "links": [{"title": "OneHop", "type": "dashboards", "tags": ["onehop"], "asDropdown": True, "keepTime": True}],
        "templating": {"list": list(_variables())},
        "panels": list(_placed(rows)),
    }


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}}
    asked = {
        "namespace": "label_values(llm_d_epp_extproc_streams_inflight, namespace)",
        "pool": f"label_values(llm_d_epp_ready_endpoints{{{NS}}}, name)",
    }
    for name, query in asked.items():
        yield {
            "name": name,
            "label": name.capitalize(),
            "type": "query",
            "datasource": DATASOURCE,
            "query": query,
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        }


def _placed(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    number, y = 0, 0
    for row in rows:
        number += 1
        place = {"x": 0, "y": y, "w": 3 * WIDTH, "h": 1}
        yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
        y += 1
        for at, panel in enumerate(row.panels):
            number += 1
            across, down = at % 3, at // 3
            place = {"x": across * WIDTH, "y": y + down * HEIGHT, "w": WIDTH, "h": HEIGHT}
            yield {
                "id": number,
                "type": panel.kind,
                "title": panel.title,
                "description": panel.text,
                "datasource": DATASOURCE,
                "gridPos": place,
                "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
                "targets": [
                    {"refId": chr(ord("A") + n), "datasource": DATASOURCE, "expr": expr, "legendFormat": legend}
                    for n, (expr, legend) in enumerate(panel.queries)
                ],
            }
        y += -(-len(row.panels) // 3) * HEIGHT


def written() -> dict[str, str]:
    """The files by name."""
    return {
        f"{uid}.json": json.dumps(dashboard(uid, title, rows), indent=1) + "\n"
        for uid, (title, rows) in DASHBOARDS.items()
    }


if __name__ == "__main__":
    for name, text in written().items():
        (FOLDER / name).write_text(text)
