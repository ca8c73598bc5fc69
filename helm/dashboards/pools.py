"""Pools and endpoints: what engines say of themselves, and what we believe of them."""

from __future__ import annotations

from helm.dashboards.panels import ENDPOINT, NS, RATE, Panel, Row, counted, quiet, rate

ROWS = [
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
                        "sum by (model_server_endpoint) (max by (pod, model_server_endpoint)"
                        f" (onehop_endpoint_inflight_requests{{{ENDPOINT}}}))",
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
                        "sum by (model_server_endpoint) (max by (pod, model_server_endpoint)"
                        f" (onehop_endpoint_inflight_tokens{{{ENDPOINT}}}))",
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
            counted(
                "Decisions by endpoint",
                "Where requests were sent.",
                "llm_d_epp_scheduler_attempts_total",
                "endpoint_name, port",
                where='status="success"',
                legend="{{endpoint_name}}:{{port}}",
            ),
            Panel(
                "Ledger drift",
                "Our count less the engine's: about 0; negative where others send there, too.",
                "short",
                [
                    (
                        "avg by (model_server_endpoint) (avg_over_time("
                        f"onehop_endpoint_ledger_drift_requests{{{ENDPOINT}}}[$__rate_interval]))",
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
                        "max by (model_server_endpoint)"
                        f" (rate(onehop_endpoint_engine_prompt_tokens{{{ENDPOINT}}}{RATE}))",
                        "{{model_server_endpoint}}, prompt",
                    ),
                    (
                        "max by (model_server_endpoint)"
                        f" (rate(onehop_endpoint_engine_generated_tokens{{{ENDPOINT}}}{RATE}))",
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
