"""Models and decisions: what auto meant, who left whom, and how well first tokens were predicted."""

from __future__ import annotations

from helm.dashboards.panels import NS, Panel, Row, counted, mean, quantiles, rate, spread, troubles

ROWS = [
    Row(
        "Models",
        [
            counted("Requests by model", "By the model that was chosen.", "llm_model_requests_total", "model"),
            counted(
                "From one model to another",
                "What was asked for, and what answered.",
                "llm_model_routing_modifications_total",
                "source_model, target_model",
                legend="{{source_model}} to {{target_model}}",
            ),
            Panel(
                "In flight by model",
                "Sent and not ended.",
                "short",
                [(f"sum by (model) (llm_model_inflight_requests{{{NS}}})", "{{model}}")],
            ),
            spread(
                "Time to first token by model", "The 95th percentile.", "llm_model_ttft_seconds", "model", parts=(0.95,)
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
            troubles(
                "Errors by model",
                "Refusals for want of it, and its servers' own.",
                "llm_request_errors_total",
                "model, reason",
            ),
        ],
    ),
    Row(
        "Decisions",
        [
            counted(
                "What auto meant",
                "Decisions that applied to requests for an alias.",
                "llm_decision_match_total",
                "decision_name",
            ),
            spread("Time to choose a model", "Classification included.", "llm_model_routing_latency_seconds"),
            troubles(
                "Requests that left their model",
                "Spill, by why; held back where there is no other model named.",
                "onehop_spill_total",
                "from, to, reason",
                legend="{{from}} to {{to}}, {{reason}}",
            ),
            troubles(
                "Candidates left out", "By what they could not do.", "onehop_candidate_excluded_total", "model, reason"
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
