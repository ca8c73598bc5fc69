"""Overload: who waits, who is refused, what autoscalers go by."""

from __future__ import annotations

from helm.dashboards.panels import NS, RATE, SHED, Panel, Row, counted, quiet, rate, spread, troubles

ROWS = [
    Row(
        "How full",
        [
            Panel(
                "Saturation by model",
                "1 is full: the standard class finds no room.",
                "percentunit",
                [(f"max by (inference_pool, model) (onehop_model_saturation{{{NS}}})", "{{inference_pool}} {{model}}")],
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
            counted("Requests at the gate", "What became of them.", "llm_d_epp_flow_control_requests_total", "outcome"),
            spread(
                "Time in the queue",
                "Of those that went on; 0 where they need not wait.",
                "llm_d_epp_flow_control_request_queue_duration_seconds",
                where='outcome="Dispatched"',
            ),
            Panel(
                "Requests that wait",
                "With us, and in engines, of whose queues every OneHop tells.",
                "short",
                [
                    (f'sum by (model) (onehop_queued_requests{{{NS}, where="gate"}})', "{{model}}, gate"),
                    (
                        "sum by (model) (max by (namespace, inference_pool, model)"
                        f' (onehop_queued_requests{{{NS}, where="endpoint"}}))',
                        "{{model}}, engines",
                    ),
                ],
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
                            f'sum(rate(onehop_request_outcome_total{{{NS}, outcome=~"{SHED}"}}{RATE}))'
                            f" / sum(rate(onehop_request_outcome_total{{{NS}}}{RATE}))"
                        ),
                        "all",
                    )
                ],
            ),
            troubles("Sheds by reason", "A second.", "onehop_shed_total", "reason"),
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
